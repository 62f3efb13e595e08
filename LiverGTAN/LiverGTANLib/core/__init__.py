"""From a CT to the mask of its liver on numpy and scipy alone; knows neither Slicer nor Qt nor image files."""
