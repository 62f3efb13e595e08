"""What the start of a process and a first click load."""

import subprocess
import sys
from pathlib import Path

import pytest

from LiverGTANLib.core import measurements, phantom, segmenter, weight_file
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.segmentation_job import WARM_UP_SPACING_MM

ROOT = Path(__file__).resolve().parents[2]
CLICK = """
import sys
from LiverGTANLib.core import phantom
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.segmentation_job import SegmentationCache, SegmentationJob
cache = SegmentationCache(InstalledEngines())
cache.warm_up("student-30k", "numpy")
before = set(sys.modules)
result = SegmentationJob(phantom.phantom_ct((4, 4, 4))[0], 0, cache, "student-30k", "numpy").segment()
assert not result.mask.empty and result.attenuation
print(*sorted(set(sys.modules) - before), "scipy" in sys.modules)
"""
NIFTI = """
import sys
from pathlib import Path
import numpy as np
from LiverGTANLib.standalone.nifti import read_nifti_header, write_nifti
write_nifti(Path(sys.argv[1]), np.zeros((2, 3, 4), np.int16), np.eye(4))
read_nifti_header(Path(sys.argv[1]))
print("pydicom" in sys.modules)
import pydicom
"""


def printed(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    folder = ROOT / "LiverGTAN"
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_a_click_imports_nothing_after_the_warm_up_and_never_scipy():
    assert printed(CLICK) == "False"


@pytest.mark.slow
def test_nifti_files_are_read_and_written_without_pydicom_which_can_be_imported_later(tmp_path):
    pytest.importorskip("nibabel")
    assert printed(NIFTI, str(tmp_path / "mask.nii.gz")) == "False"


@pytest.mark.slow
@pytest.mark.parametrize("student", weight_file.available())
def test_the_warm_up_goes_all_the_way_to_a_liver(student):
    ct, _ = phantom.phantom_ct(WARM_UP_SPACING_MM)
    mask = segmenter.mask(segmenter.analyze(ct, InstalledEngines().create(student, "numpy")), ct)
    assert measurements.mask_ml(ct, mask) > 300
