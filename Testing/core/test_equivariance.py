"""However a scan is stored, whatever its size, its axes, its type and its place: the mask is the same tissue."""

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LiverGTANLib.core import segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.volume import CtVolume
from support import band_student

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]
BAND = (80.0, 140.0)

scans = st.builds(
    lambda shape, spacing, seed: scan(shape, spacing, seed),
    st.tuples(*[st.integers(20, 30)] * 3),
    st.tuples(*[st.floats(4.5, 7.0)] * 3),
    st.integers(0, 2**32 - 1),
)


def scan(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> CtVolume:
    """Fat and air, and in them a block that is bright enough for the band student; spacing along i, j, k."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(0, 15, shape)
    hu[: shape[0] // 6], hu[:, :, : shape[2] // 5] = -100, -1000
    low = [int(rng.integers(n // 5, n // 4)) for n in shape]
    high = [int(rng.integers(3 * n // 4, n)) for n in shape]
    hu[tuple(slice(a, b) for a, b in zip(low, high))] = 110
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = rng.uniform(-300, 300, 3)
    return CtVolume(hu.round().astype(np.int16), matrix)


def stored(ct: CtVolume, axes: tuple[int, ...], flips: tuple[int, ...]) -> CtVolume:
    """The same scan with its array's axes in another order and direction."""
    matrix = ct.ijk_to_ras.copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            matrix[:3, 3] += matrix[:3, 2 - axis] * (ct.shape[axis] - 1)
            matrix[:3, 2 - axis] *= -1
    matrix[:3, :3] = matrix[:3, [2 - axis for axis in axes][::-1]]
    return CtVolume(np.ascontiguousarray(turned(ct.hu, axes, flips)), matrix)


def turned(array: np.ndarray, axes: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(None, None, flip) for flip in flips)].transpose(axes)


@cache
def engine() -> NumpyEngine:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return NumpyEngine(weight_file.load(band_student.save(Path(folder), "band", *BAND)))


def mask(ct: CtVolume) -> np.ndarray:
    return segmenter.mask(segmenter.analyze(ct, engine()), ct).full()


def assertSame(found: np.ndarray, expected: np.ndarray) -> None:
    """But for voxels whose probability is the threshold itself: sums in another order round to its other side."""
    assert found.shape == expected.shape
    assert np.count_nonzero(found != expected) <= 2e-3 * max(500, np.count_nonzero(expected))


def small(test):
    return settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)(test)


@pytest.mark.slow
@small
@given(ct=scans, orientation=st.sampled_from(ORIENTATIONS))
def test_the_order_and_direction_of_the_axes_play_no_part(ct, orientation):
    expected = mask(ct)
    assert expected.any()
    assertSame(mask(stored(ct, *orientation)), turned(expected, *orientation))


@pytest.mark.slow
@small
@given(ct=scans, dtype=st.sampled_from([np.int32, np.int64, np.float32, np.float64, ">i2", ">f4"]), byte=st.booleans())
def test_the_type_of_the_voxels_and_their_order_in_memory_play_no_part(ct, dtype, byte):
    other = ct.hu.astype(dtype)
    np.testing.assert_array_equal(mask(CtVolume(np.asfortranarray(other) if byte else other, ct.ijk_to_ras)), mask(ct))


@pytest.mark.slow
@small
@given(ct=scans, shift=st.tuples(*[st.floats(-1e4, 1e4)] * 3))
def test_the_place_of_the_patient_plays_no_part(ct, shift):
    moved = ct.ijk_to_ras.copy()
    moved[:3, 3] += shift
    assertSame(mask(CtVolume(ct.hu, moved)), mask(ct))


@pytest.mark.slow
@small
@given(ct=scans, low=st.integers(-30000, -1000), high=st.integers(240, 30000))
def test_values_beyond_the_window_play_no_part(ct, low, high):
    """Air that is darker, and metal that is brighter, than what the window ends at; the noise is measured elsewhere."""
    hu = np.where(ct.hu <= -900, low, ct.hu).astype(np.int16)
    hu[0, 0, 0] = high
    before = ct.hu.copy()
    before[0, 0, 0] = 240
    assertSame(mask(CtVolume(hu, ct.ijk_to_ras)), mask(CtVolume(before, ct.ijk_to_ras)))


@pytest.mark.slow
@small
@given(ct=scans)
def test_the_mask_is_the_tissue_in_the_band_but_for_its_border(ct):
    found, truth = mask(ct).astype(bool), ct.hu == 110
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85
