"""Fixtures for all tests."""

from host.fixtures import slicerHost
from support.cases import sampleCt, sampleFolder, sampleLiver, sharedData
