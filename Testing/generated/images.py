"""NIfTI, NRRD and MetaImage: geometries, types and values of every kind, whole and damaged."""

import gzip
import re
import warnings
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from LiverGTANLib.core.volume import LPS_TO_RAS, CtVolume, InputError
from LiverGTANLib.standalone.image_files import CtFile, image_of, open_ct

from .mutation import choice, damaged, reworded
from .outcome import READ, REFUSED, Wrong, require, require_sentence

NAMES = ("a.nii", "a.nii.gz", "a.hdr", "a.nrrd", "a.nhdr", "a.mha", "a.mhd")
TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")


def whole(rng: np.random.Generator, folder: Path) -> str:
    """A file that nothing is wrong with gives its values at their places."""
    path, values, matrix = written(rng, folder)
    found = open_ct(path).ct
    require(found.hu.shape == values.shape, f"{path.name}: shape {found.hu.shape}, written {values.shape}")
    require(np.array_equal(found.hu, values.astype(np.float32)), f"{path.name}: other values than written")
    require(np.allclose(found.ijk_to_ras, matrix, atol=1e-3), f"{path.name}: another place than written")
    return READ


def broken(rng: np.random.Generator, folder: Path) -> str:
    """A damaged file is refused with its name, or read as another library reads it."""
    path, *_ = written(rng, folder)
    victim = choice(rng, sorted(folder.iterdir()))
    victim.write_bytes(damage(rng, victim, victim.read_bytes()))
    try:
        found = open_ct(path)
    except InputError as error:
        require_sentence(error, path.name)
        return REFUSED
    require(found.ct.hu.ndim == 3 and found.ct.hu.dtype in (np.int16, np.int32, np.float32), "no voxels of a CT")
    require(found.ct.ijk_to_ras.shape == (4, 4), "no matrix")
    compare(path, found)
    return READ


def written(rng: np.random.Generator, folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A small image of random geometry, type and values: (its file, values, matrix)."""
    path, dtype = folder / choice(rng, NAMES), np.dtype(choice(rng, TYPES))
    shape = tuple(int(n) for n in rng.integers(1, 9, 3))
    low, high = (-2000, 3000) if dtype.kind == "f" or dtype.itemsize > 1 else (0, 100)
    values = rng.integers(0 if dtype.kind == "u" else low, high, shape).astype(dtype)
    matrix = random_matrix(rng, sheared=path.name != "a.hdr" and rng.random() < 0.3)
    compress = bool(rng.random() < 0.5)
    if path.name.startswith("a.nii") or path.name == "a.hdr":
        kind = nibabel.Nifti1Pair if path.name == "a.hdr" else choice(rng, (nibabel.Nifti1Image, nibabel.Nifti2Image))
        header = kind.header_class(endianness=choice(rng, "<>"))
        header.set_data_dtype(dtype)
        image = kind(values.transpose(2, 1, 0), matrix, header)
        image.set_sform(matrix, 1)
        nibabel.save(image, path)
    else:
        sitk.WriteImage(image_of(values, matrix), str(path), useCompression=compress)
    return path, values, matrix


def random_matrix(rng: np.random.Generator, sheared: bool) -> np.ndarray:
    """Axes in any order and direction, turned a little or much, with voxels of 0.3 to 8 mm."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] if rng.random() < 0.3 else np.eye(3)[rng.permutation(3)]
    if sheared:
        turn = turn + rng.normal(size=(3, 3)) * 0.05
    matrix = np.eye(4)
    matrix[:3, :3] = turn * rng.choice([-1, 1], 3) * rng.uniform(0.3, 8, 3)
    matrix[:3, 3] = rng.uniform(-500, 500, 3)
    return matrix


def damage(rng: np.random.Generator, victim: Path, data: bytes) -> bytes:
    """Bytes anywhere, words of a text header, or the header below the compression."""
    if victim.name == "a.nii.gz" and rng.random() < 0.6:
        return gzip.compress(damaged(rng, gzip.decompress(data), 0, choice(rng, (352, None))), 1)
    end = data.find(b"\n\n") if data[:4] == b"NRRD" else data.find(b"ElementDataFile") + 25
    if victim.suffix in (".nrrd", ".nhdr", ".mha", ".mhd") and rng.random() < 0.7:
        end = len(data) if end <= 25 else end
        text = reworded(rng, data[:end].decode("latin-1"))
        return text.encode("utf-8", "surrogatepass") + data[end:]
    return damaged(rng, data, 0, choice(rng, (352, None)))


def compare(path: Path, found: CtFile) -> None:
    """Raise Wrong where another library reads the same file without complaint and finds something else."""
    other = read_otherwise(path)
    if other is None or found.notes:  # notes: of orientations that are missing or contradict each other
        return
    require(other.shape == found.ct.shape, f"{path.name}: shape {found.ct.shape}, elsewhere {other.shape}")
    with np.errstate(all="ignore"):
        ours, theirs = found.ct.hu.astype(np.float64), other.hu.astype(np.float64)
        same = np.isclose(ours, theirs, rtol=1e-5, atol=1e-3) | ~(np.isfinite(ours) & np.isfinite(theirs))
        same |= np.abs(theirs) > 3e38
        places = np.allclose(found.ct.ijk_to_ras, other.ijk_to_ras, rtol=1e-4, atol=1e-2, equal_nan=True)
    if not np.isfinite(found.ct.ijk_to_ras).all():
        return  # refused by `input_checks`
    require(same.all(), f"{path.name}: {np.mean(~same):.0%} of the values differ from those that are read elsewhere")
    if not places and np.isfinite(other.ijk_to_ras).all():
        ours, theirs = (matrix[:3].round(4).tolist() for matrix in (found.ct.ijk_to_ras, other.ijk_to_ras))
        raise Wrong(f"{path.name} lies at {ours}, elsewhere at {theirs}")


def read_otherwise(path: Path) -> CtVolume | None:
    """With nibabel or SimpleITK; None where they refuse, or are known to read less exactly (see `voxel_data`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if path.name.startswith("a.nii") or path.name == "a.hdr":
                image = nibabel.load(path)
                if int(image.header["xyzt_units"]) & 7 not in (0, 2):
                    return None
                values = np.asanyarray(image.dataobj)
                if values.ndim != 3:
                    return None
                return CtVolume(values.transpose(2, 1, 0), image.affine)
            start = path.read_bytes()[:5000]
            if path.suffix in (".mha", ".mhd") and b"\nNDims = 3\n" not in start[:40]:
                return None  # SimpleITK 2.5 crashes where other fields come first, and at very long lines
            if b"CompressedData = True" in start and not re.search(rb"\nCompressedDataSize = \d+\r?\n", start):
                return None  # then it reads no voxels, or others, without a word
            if max(map(len, start.split(b"\n"))) > 500:
                return None
            image = sitk.ReadImage(str(path))
            matrix = np.eye(4)
            matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
            matrix[:3, 3] = image.GetOrigin()
            return CtVolume(sitk.GetArrayFromImage(image), LPS_TO_RAS @ matrix)
        except Exception:  # of many kinds: it is not this reader that is tested
            return None
