"""Fixtures for all tests."""
from host.fixtures import slicerHost  # noqa: F401
