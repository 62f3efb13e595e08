"""The command line and its image files; knows SimpleITK and matplotlib, but not Slicer."""
