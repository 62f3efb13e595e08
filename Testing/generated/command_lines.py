"""The command line of the extension on small scans: options of all kinds, and faults at every stage of the work."""

import contextlib
import csv
import inspect
import io
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.standalone import command_line
from LiverGTANLib.standalone.image_files import image_of, open_ct
from support import band_student
from support.cases import ROOT
from support.dicom_cases import ctSlices, save
from support.full_disk import fullDisk

from .mutation import ODD_TEXTS, choice
from .outcome import READ, REFUSED, Wrong, require

LIBRARY = str(ROOT / "LiverGTAN" / "LiverGTANLib")
SPACING_MM = 6.0
FORMER = b"a former result"
MADE_BY = ("mask.nrrd", "mask.nii.gz", "mask.mha", "mask.seg.nrrd", "mask.dcm")


@cache
def volume() -> np.ndarray:
    """(K, J, I) HU: soft tissue with a bright block, in fat and air."""
    hu = np.random.default_rng(0).normal(20, 8, (20, 28, 30))
    hu[:, :4], hu[:, :, :4] = -100, -1000
    hu[5:16, 10:22, 10:24] = 110
    return hu.round().astype(np.int16)


def prepare(folder: Path) -> dict[str, Path]:
    """Inputs of all kinds by name, good ones and others."""
    matrix = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    inputs = {
        name: folder / "in" / name for name in ("ct.nii.gz", "ct.nrrd", "short.nii.gz", "text.nii", "absent.nrrd")
    }
    (folder / "in").mkdir()
    for name in ("ct.nii.gz", "ct.nrrd"):
        sitk.WriteImage(image_of(volume(), matrix), str(inputs[name]), useCompression=True)
    inputs["short.nii.gz"].write_bytes(inputs["ct.nii.gz"].read_bytes()[:3000])
    inputs["text.nii"].write_text("no image")
    inputs["series"] = save(folder / "in" / "series", ctSlices(volume()[::2], spacing=(SPACING_MM,) * 2 + (12.0,)))
    band_student.save(folder / "in", "band")
    return inputs


@cache
def expected_voxels(dicom: bool) -> int:
    """Voxels of the mask of the good inputs, from the block itself."""
    return int((volume()[::2] if dicom else volume()).max() and (11 if not dicom else 5) * 12 * 14)


def options(rng: np.random.Generator, folder: Path) -> str:
    """Inputs, outputs and options drawn together: done, or one sentence and status 2, and no file that is not whole."""
    inputs = prepare(folder)
    words = [str(choice(rng, list(inputs.values()))) for _ in range(int(choice(rng, (1, 1, 1, 2, 3))))]
    outputs = [folder / "out" / name for name in MADE_BY] + [
        folder / "out",
        folder / "new",
        Path(words[0]),
    ]
    words += ["-o", str(choice(rng, (*outputs, *ODD_TEXTS[:6])))]
    extra = {
        "--student": (folder / "in" / "band.npz", folder / "in" / "ct.nrrd", "student-1", "", "a" * 300),
        "--threshold": ("0.5", "0.3", "0", "1", "nan", "x", "1e-9"),
        "--report": (folder / "report.json", folder / "in", words[0], "out.json", ""),
        "--reference": (folder / "in" / "ct.nrrd", f"{folder / 'in' / 'ct.nii.gz'}:5", "x:1", ":"),
        "--series": ("1", "2", "-1", "x", "9" * 30),
        "--format": (".nii.gz", ".dcm", ".seg.nrrd", "x"),
        "--engine": ("numpy", "auto", "x"),
    }
    if rng.random() < 0.9:
        words += ["--student", str(folder / "in" / "band.npz")]
    for _ in range(int(choice(rng, (0, 0, 1, 2)))):
        name = choice(rng, list(extra))
        words += [name, str(choice(rng, extra[name]))]
    words += ["--overwrite"] * bool(rng.random() < 0.7)
    if rng.random() < 0.1:
        words.insert(int(rng.integers(len(words))), str(choice(rng, ODD_TEXTS))[:2000])
    former = folder / "out" / "mask.nrrd"
    former.parent.mkdir()
    former.write_bytes(FORMER)
    before = contents(folder)
    status, error = called(folder, words)
    require(status in (0, 2), f"status {status}")
    require(status == 0 or error.strip(), "status 2 and no word of what is wrong")
    try:
        require_whole(folder, before, any_mask=True)
    except (Wrong, InputError) as wrong:
        raise Wrong(f"{wrong} after {words}") from wrong
    return READ if status == 0 else REFUSED


def faults(rng: np.random.Generator, folder: Path) -> str:
    """An error in the middle of a good run, at any call, or a full disk: a sentence, and nothing half-written."""
    inputs = prepare(folder)
    name = choice(rng, ("ct.nii.gz", "ct.nrrd", "series"))
    output = folder / "out" / choice(rng, MADE_BY if name == "series" else MADE_BY[:-1])
    batch = bool(rng.random() < 0.25)
    words = [
        str(inputs[name]),
        *([str(inputs["ct.nrrd" if name == "series" else "series"])] if batch else []),
        "-o",
        str(folder / "out" if batch else output),
    ]
    words += ["--student", str(folder / "in" / "band.npz"), "--report", str(folder / "report.json")]
    words += [] if batch else ["--overwrite"]
    output.parent.mkdir()
    output.write_bytes(FORMER)
    before = contents(folder)
    error: type[BaseException] = choice(rng, (OSError, MemoryError, KeyboardInterrupt))
    if rng.random() < 0.2:
        with fullDisk(int(rng.integers(0, 4000))):
            status, told = called(folder, words)
    else:
        with failing_call(int(rng.integers(1, 2400 if batch else 1200)), error) as failed:
            status, told = called(folder, words)
        require(status == 0 or failed, "a failure that was not asked for")
        require(
            status != 0 or not failed or error is not KeyboardInterrupt, f"an interruption was not heard in {failed}"
        )
    require(status in (0, 2) or (status == "interrupted" and error is KeyboardInterrupt), f"status {status}")
    require(status != 2 or "error: " in told, f"no sentence: {told[-300:]!r}")
    require(status == 0 or output.read_bytes() == FORMER or is_mask(output), "a former result was lost")
    require(status != 0 or batch or is_mask(output), "no mask, and no word of it")
    written = [*output.parent.glob("*.seg.nrrd"), *output.parent.glob("volumes.csv")]
    require(status != 0 or not batch or len({*written} - {output}) == 3, "masks or table are missing")
    require_whole(folder, before)
    return READ if status == 0 else REFUSED


@contextlib.contextmanager
def failing_call(number: int, error: type[BaseException]) -> Iterator[list[str]]:
    """Within this block the call with this number of a function of the library raises the error instead.

    Gives a list that then holds the function's name.
    """
    failed: list[str] = []
    left = number

    def watch(frame, event, argument) -> None:
        nonlocal left
        # A generator that is dropped is called once more, where nobody can hear an error.
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if event == "call" and not generator and frame.f_code.co_filename.startswith(LIBRARY):
            left -= 1
            if left == 0:
                failed.append(frame.f_code.co_qualname)
                raise error(5, "made to fail") if error is OSError else error("made to fail")

    sys.setprofile(watch)
    try:
        yield failed
    finally:
        sys.setprofile(None)


def called(folder: Path, words: list[str]) -> tuple[int | str | None, str]:
    """(status, what was told) of one command, in an empty folder."""
    told = io.StringIO()
    (folder / "here").mkdir()
    with contextlib.chdir(folder / "here"), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            return command_line.main(["segment", *words]), told.getvalue()
        except SystemExit as left:
            return left.code, told.getvalue()
        except KeyboardInterrupt:
            return "interrupted", told.getvalue()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def require_whole(folder: Path, before: dict[Path, bytes], any_mask: bool = False) -> None:
    """Inputs are as they were, and whatever is new or changed is a whole mask, picture, report, record, page or table.

    any_mask: of any size, as other students and thresholds find.
    """
    for path, content in contents(folder).items():
        if before.get(path) == content:
            continue
        require(path not in before or folder / "in" not in path.parents, f"the input {path.name} was changed")
        require(not path.name.startswith(".partial"), f"{path.name} was left behind")
        if path.name == ".lock":  # of the run, which stays
            require(content.startswith(b"process "), "the lock names no process")
        elif path.name == "volumes.csv":
            with path.open(newline="") as stream:
                require(all(row["error"] or row["output"] for row in csv.DictReader(stream)), "an empty row")
        elif path.suffix == ".html":
            require(content.rstrip().endswith(b"</html>"), "half a page")
        elif path.suffix == ".png":
            require(content.endswith(b"IEND\xaeB`\x82"), "half a picture")
        elif path.suffix == ".json":
            json.loads(content)
        else:
            require(is_mask(path, any_mask), f"{path.name} is no whole mask")
    missing = [path.name for path in before if not path.is_file()]
    require(not missing, f"lost: {missing}")


def is_mask(path: Path, any_mask: bool = False) -> bool:
    """Whether a file holds a mask, and that of the block, give or take its border, unless any will do."""
    if path.suffix == ".dcm":
        import highdicom

        voxels, dicom = highdicom.seg.segread(path).pixel_array, True
    else:
        voxels = open_ct(path).ct.hu
        dicom = voxels.shape[0] != len(volume())
    count = int(voxels.sum())
    if not set(np.unique(voxels)) <= {0, 1}:
        raise Wrong(f"{path.name} is no mask")
    return any_mask or 0.8 * expected_voxels(dicom) < count < 1.2 * expected_voxels(dicom)
