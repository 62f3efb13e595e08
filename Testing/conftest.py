"""Fixtures for all tests."""

from cases import sampleCt, sampleFolder, sampleLiver, sharedData  # noqa: F401

from host.fixtures import slicerHost  # noqa: F401
