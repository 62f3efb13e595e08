"""Fixtures for all tests."""

import os

# Before torch is loaded: its threads, while they wait, would take the processors from what runs beside the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from host.fixtures import slicerHost
from support.cases import sampleCt, sampleFolder, sampleLiver, sharedData
from support.module_fixtures import studentFiles
