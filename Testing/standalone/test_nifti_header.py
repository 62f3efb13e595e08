"""Headers as nibabel reads and writes them."""

import nibabel
import numpy as np
import pytest

from LiverGTANLib.standalone.nifti_header import TYPES, NiftiHeader, nifti1_header

KINDS = [nibabel.Nifti1Header, nibabel.Nifti2Header, nibabel.AnalyzeHeader]
COUNT = 20


def random_matrix(rng: np.random.Generator, shear: float = 0.0) -> np.ndarray:
    """A rotation or reflection with voxel sizes, and some shear."""
    matrix = np.eye(4)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ (np.eye(3) + shear * rng.normal(size=(3, 3)))
    matrix[:3, :3] = axes * rng.uniform(0.3, 5, 3)
    matrix[:3, 3] = rng.normal(0, 200, 3)
    return matrix


def random_header(kind, rng: np.random.Generator):
    header = kind(endianness=rng.choice(["<", ">"]))
    header.set_data_dtype(rng.choice([np.int16, np.uint8, np.float32, np.int32]))
    header.set_data_shape(rng.integers(1, 600, rng.integers(1, 6)))
    header["descrip"] = b"text"
    header["vox_offset"] = rng.integers(0, 2000)
    if kind is not nibabel.AnalyzeHeader:
        header.set_sform(rng.normal(size=(4, 4)), code=int(rng.integers(0, 6)))
        header.set_qform(random_matrix(rng), code=int(rng.integers(0, 6)))
        header["scl_slope"], header["scl_inter"] = rng.choice([0, 1, 2.5, np.nan]), rng.choice([0, -1024])
        header.set_xyzt_units(rng.choice(["mm", "meter", "micron"]))
    return header


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_read_as_nibabel_reads_it(kind):
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        theirs = random_header(kind, rng)
        ours = NiftiHeader(theirs.binaryblock)
        assert (ours.size, ours.shape, ours.dtype, ours.offset) == (
            theirs.sizeof_hdr,
            list(theirs.get_data_shape()),
            theirs.get_data_dtype(),
            theirs.get_data_offset(),
        )
        assert ours.scale == tuple(
            default if value is None else value for value, default in zip(theirs.get_slope_inter(), (1, 0))
        )
        assert ours["descrip"] == b"text" and (ours["pixdim"] == theirs["pixdim"]).all()
        if kind is nibabel.AnalyzeHeader:
            assert "sform_code" not in ours and not ours.single
            continue
        for name in ("sform_code", "qform_code", "xyzt_units"):
            assert ours[name] == theirs[name]
        assert ours.single == (theirs["magic"].item()[:2] == b"n+")
        np.testing.assert_array_equal(ours.sform, theirs.get_sform())
        np.testing.assert_allclose(ours.qform, theirs.get_qform(), atol=1e-5)


def test_headers_are_written_as_nibabel_writes_them():
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        matrix, shape = random_matrix(rng, shear=0.01), tuple(int(n) for n in rng.integers(1, 600, 3))
        content = nifti1_header(shape, np.dtype(np.int16), matrix, right_angles=True, text="text")
        found, expected = nibabel.Nifti1Header(content[:348]), nibabel.Nifti1Header()
        expected.set_qform(matrix, code=1)
        assert len(content) == found.get_data_offset() == 352
        assert (found.get_data_shape(), found.get_data_dtype(), found["bitpix"]) == (shape, np.dtype("<i2"), 16)
        assert found.get_slope_inter() == (1, 0) and found.get_xyzt_units()[0] == "mm"
        assert found["descrip"].item() == b"text"
        assert found["sform_code"] == found["qform_code"] == 1
        np.testing.assert_allclose(found.get_sform(), matrix, rtol=1e-6)
        np.testing.assert_allclose(found.get_qform(), expected.get_qform(), atol=1e-4)


def test_a_turn_by_half_a_circle_survives_rounding():
    for axes in np.eye(3), np.diag([-1, -1, 1]), np.diag([1, -1, -1]), np.diag([-1, 1, -1]):
        matrix = np.eye(4)
        matrix[:3, :3] = axes * [0.7, 0.8, 2.5]
        header = NiftiHeader(nifti1_header((4, 5, 6), np.dtype(np.uint8), matrix))
        np.testing.assert_allclose(header.qform, matrix, atol=1e-6)


def test_types_are_those_of_nibabel():
    known = nibabel.nifti1.data_type_codes.dtype
    for code, name in TYPES.items():
        assert known[code].itemsize == np.dtype(name).itemsize
        assert np.dtype(name).kind == "V" or known[code] == np.dtype(name)


def test_what_cannot_be_is_refused():
    header = nibabel.Nifti1Header()
    header["quatern_b"] = header["quatern_c"] = 1
    with pytest.raises(ValueError, match="quaternion of length"):
        _ = NiftiHeader(header.binaryblock).qform
    header["datatype"] = 1
    with pytest.raises(ValueError, match="data type 1"):
        _ = NiftiHeader(header.binaryblock).dtype
    header["dim"][0] = -3
    with pytest.raises(ValueError, match="-3 dimensions"):
        _ = NiftiHeader(header.binaryblock).shape
    with pytest.raises(ValueError, match="ends after 100 bytes"):
        NiftiHeader(header.binaryblock[:100])
    with pytest.raises(ValueError, match="does not begin as NIfTI does"):
        NiftiHeader(b"")
    with pytest.raises(ValueError, match="no voxels of type bool"):
        nifti1_header((4, 5, 6), np.dtype(bool), np.eye(4))
