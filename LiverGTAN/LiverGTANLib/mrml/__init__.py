"""The scene: nodes in, segment out, undo. Knows Slicer and VTK, but no Qt, so that it runs without a window."""
