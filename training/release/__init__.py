"""From a trained network to the bundled students and their cards."""
