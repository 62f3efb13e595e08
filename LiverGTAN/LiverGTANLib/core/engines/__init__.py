"""Engines: one forward pass of a student each, on numpy or on torch."""
