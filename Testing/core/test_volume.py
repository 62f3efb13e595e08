"""The CT on its way to the model grid and back: geometry and averaging."""

import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest

from LiverGTANLib.core import volume
from LiverGTANLib.core.model_grid import AlignedGrid, ModelGrid, ReslicedGrid
from LiverGTANLib.core.resample import PLANES_AT_ONCE, CellAverages, EvenBands, average, interpolation_weights
from LiverGTANLib.core.volume import CtVolume
from support.cases import smallCt


def reoriented(ct: CtVolume, axes: tuple[int, ...], flips: tuple[int, ...]) -> CtVolume:
    """The same scan stored with its axes in another order and direction."""
    hu, matrix = ct.hu, ct.ijk_to_ras.copy()
    for axis, flip in enumerate(flips):  # of the array: k, j, i
        if flip:
            hu = np.flip(hu, axis)
            matrix[:3, 3] += matrix[:3, 2 - axis] * (ct.shape[axis] - 1)
            matrix[:3, 2 - axis] *= -1
    columns = [2 - axis for axis in axes][::-1]
    matrix[:3, :3] = matrix[:3, columns]
    return CtVolume(np.ascontiguousarray(hu.transpose(axes)), matrix, ct.name)


def rotated(ct: CtVolume, degrees: float) -> CtVolume:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return CtVolume(ct.hu, turn @ ct.ijk_to_ras, ct.name)


ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((0, 1), repeat=3)]


@pytest.mark.slow
def test_all_48_orientations_give_one_model_grid(sampleCt):
    expected, frame = volume.to_model_grid(sampleCt)
    assert len(ORIENTATIONS) == 48
    for axes, flips in ORIENTATIONS:
        x, other = volume.to_model_grid(reoriented(sampleCt, axes, flips))
        np.testing.assert_allclose(x, expected, atol=1e-5)
        np.testing.assert_allclose(other.ijk_to_ras, frame.ijk_to_ras, atol=1e-6)


@pytest.mark.parametrize("spacing", [3.0000015, 2.9999985, 1.0000005, 0.60000002])
@pytest.mark.parametrize("degrees", [0, 30])
def test_a_rounded_voxel_size_does_not_move_the_cells(spacing, degrees):
    exact, rounded = (
        ModelGrid.of(
            (100, 200, 300), rotated(CtVolume(np.empty(0), np.diag([s, s, s, 1])), degrees).ijk_to_ras, 3.0, 16
        )
        for s in (round(spacing, 5), spacing)
    )
    assert rounded.shape == exact.shape
    assert [c.stop - c.start for c in rounded.inside] == [c.stop - c.start for c in exact.inside]
    np.testing.assert_allclose(rounded.ijk_to_ras, exact.ijk_to_ras, atol=1e-3)


@pytest.mark.parametrize("matrix", [np.diag([3.0, 3.0, 3.0]), np.diag([-0.8, -0.8, 5.0])])
def test_grid_cells_lie_where_their_matrix_says(matrix):
    """A bright block is found at its own RAS position on the grid."""
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3], ijk_to_ras[:3, 3] = matrix, (11, -7, 300)
    hu = np.full((30, 60, 60), -1000, np.int16)
    hu[10:16, 20:32, 36:48] = 200
    center = ijk_to_ras @ [41.5, 25.5, 12.5, 1]
    x, frame = volume.to_model_grid(CtVolume(hu, ijk_to_ras))
    weights = x - x.min()
    kji = [np.average(index, weights=weights) for index in np.indices(x.shape)]
    assert np.linalg.norm((frame.ijk_to_ras @ [*kji[::-1], 1] - center)[:3]) < 0.3


def test_axes_grow_to_superior_anterior_right(sampleCt):
    frame = ModelGrid.of(sampleCt.shape, sampleCt.ijk_to_ras, 3.0, 16)
    assert isinstance(frame, AlignedGrid)
    np.testing.assert_allclose(frame.ijk_to_ras[:3, :3], 3 * np.eye(3), atol=1e-6)


def test_averaging_keeps_the_mean_of_all_voxels():
    """Every voxel counts with its own share: an isolated bright one is never stepped over."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-100, 200, (40, 128, 128)).astype(np.int16)
    frame = ModelGrid.of(hu.shape, np.diag([0.75, 0.75, 1.5, 1]), 3.0, 16)
    down = frame.down(hu, fill=np.nan)
    assert np.nanmean(down) == pytest.approx(hu.mean(), abs=0.05)
    for index in ((3, 64, 64), (20, 5, 127)):
        spike = np.zeros(hu.shape, np.int16)
        spike[index] = 1000
        assert np.nansum(frame.down(spike)) == pytest.approx(1000 * 0.75 * 0.75 * 1.5 / 27, rel=1e-3)


def test_voxels_of_cell_size_are_weighed_alike_by_averaging_and_interpolation():
    below, above = (averaging_matrix(CellAverages(31, 30, spacing, 3.0)) for spacing in (2.9999, 3.0001))
    np.testing.assert_allclose(below, above, atol=1e-3)


def averaging_matrix(axis: CellAverages, size: int = 7) -> np.ndarray:
    """(cells, voxels), of its bands."""
    matrix = np.zeros((axis.cells, axis.count), np.float32)
    for band in axis.bands(size):
        matrix[band.rows, band.columns] = band.weights
    return matrix


@pytest.mark.parametrize(
    "count, cells, spacing", [(512, 98, 0.57), (20, 34, 5.0), (3, 41, 40.0), (31, 31, 3.0), (1, 1, 3.0), (1, 4, 11.0)]
)
def test_bands_hold_all_that_counts(count, cells, spacing):
    axis = CellAverages(count, cells, spacing, 3.0)
    _, whole = axis.weights(slice(0, cells))
    for size in (1, 4, 32):
        np.testing.assert_allclose(averaging_matrix(axis, size), whole, atol=1e-6)
    blocks, array = EvenBands.of(axis.matrix), np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    found = blocks.weights @ blocks.windows(np.pad(array, [(blocks.before, blocks.after), (0, 0)]))
    np.testing.assert_allclose(found.reshape(blocks.rows, 3)[:cells], axis.matrix @ array, atol=1e-5)
    assert not found.reshape(blocks.rows, 3)[cells:].any()


def test_the_products_and_arrays_of_averaging_grow_with_the_slices(monkeypatch):
    """Ten times the slices, ten times the multiplications and hardly more memory beside the result: linear in voxels.

    A slice takes two calls: threads that made many short ones would wait for each other. Few slices are averaged twice.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # how many threads hold their arrays at one time is left to chance
    multiplied, matmul = [], np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda a, b, out: multiplied.append(a.size * b.shape[-1]) or matmul(a, b, out=out)
    )

    def work(slices: int) -> tuple[int, int, int]:
        multiplied.clear()
        axes = [CellAverages(n, c, s, 3.0) for n, c, s in ((slices, slices // 3, 1.0), (96, 32, 1.0), (120, 40, 1.0))]
        array = np.zeros((slices, 96, 120), np.int16)
        tracemalloc.start()
        result = average(array, axes, (-160, 240))
        peak = tracemalloc.get_traced_memory()[1] - result.nbytes
        tracemalloc.stop()
        return sum(multiplied), peak, len(multiplied)

    short, long = work(300), work(3000)
    assert long[0] == pytest.approx(10 * short[0], rel=0.05)
    assert long[1] < 4 * short[1]  # the weights of the slices grow with them; all else stays
    assert 1 <= long[2] / (2 * 3000 + 1000 // PLANES_AT_ONCE) < 1.02


def test_matrices_are_weights():
    for count, cells, spacing in ((512, 98, 0.57), (20, 34, 5.0), (1, 1, 3.0)):
        down = averaging_matrix(CellAverages(count, cells, spacing, 3.0))
        used, up = interpolation_weights(slice(0, count), count, cells, spacing, 3.0)
        assert down.shape == (cells, count)
        assert used == slice(0, cells)
        assert up.shape == (count, cells)
        for matrix in (down, up):
            assert matrix.min() >= 0
            np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "degrees, kind",
    [
        (0, AlignedGrid),
        (14, AlignedGrid),
        (16, ReslicedGrid),
        (30, ReslicedGrid),
    ],
)
def test_obliquity_decides_on_reslicing(degrees, kind):
    ct = rotated(smallCt(), degrees)
    assert type(ModelGrid.of(ct.shape, ct.ijk_to_ras, 3.0, 16)) is kind


def test_gantry_tilt_is_resliced():
    sheared = smallCt().ijk_to_ras.copy()
    sheared[1, 2] = np.tan(np.deg2rad(12)) * sheared[2, 2]
    assert type(ModelGrid.of((24, 40, 48), sheared, 3.0, 16)) is ReslicedGrid


@pytest.mark.parametrize("degrees", [0, 30])
def test_a_smooth_field_survives_the_way_there_and_back(degrees):
    """Up and down in one frame cancel for what the grid can hold, at any place of the scan but its rim."""
    ct = rotated(CtVolume(np.zeros((40, 70, 80), np.int16), np.diag([1.5, 1.5, 2.5, 1])), degrees)
    k, j, i = np.indices(ct.shape)
    field = (np.sin(i / 12) + np.cos(j / 15) + np.sin(k / 8)).astype(np.float32)
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, 3.0, 16)
    back = frame.up(frame.down(field))
    inner = (slice(4, -4),) * 3
    assert np.abs(back - field)[inner].max() < 0.12


@pytest.mark.parametrize("degrees", [0, 30])
def test_a_box_is_the_same_part_of_the_whole(degrees):
    ct = rotated(smallCt(), degrees)
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, 3.0, 16)
    grid = np.random.default_rng(1).normal(size=frame.shape).astype(np.float32)
    box = (slice(3, 21), slice(7, 30), slice(11, 12))
    np.testing.assert_allclose(frame.up(grid, box), frame.up(grid)[box], atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 10, 30])
def test_native_box_holds_all_that_a_cell_touches(degrees):
    ct = rotated(smallCt(), degrees)
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, 3.0, 16)
    for cell in ((8, 20, 22), tuple(n // 2 for n in frame.shape)):
        grid = np.zeros(frame.shape, np.float32)
        grid[cell] = 1
        touched = frame.up(grid) > 0
        box = frame.native_box(np.array(cell), np.array(cell))
        outside = touched.copy()
        outside[box] = False
        assert not outside.any()


def test_clipping_comes_before_averaging():
    """Half a cell of lung beside half a cell of liver is half way through the window."""
    hu = np.full((24, 40, 48), 60, np.int16)
    hu[:, ::2] = -900
    x, _ = volume.to_model_grid(CtVolume(hu, np.diag([3.0, 1.5, 3.0, 1])), hu_window=(-160, 240))
    core = x[x > -1]
    assert np.median(core) == pytest.approx((-160 + 60) / 2 / 200 - 40 / 200, abs=1e-4)


def test_integers_and_floats_are_averaged_alike():
    ct = smallCt()
    for dtype in (np.int32, np.float64, np.float32):
        other, _ = volume.to_model_grid(CtVolume(ct.hu.astype(dtype), ct.ijk_to_ras))
        np.testing.assert_allclose(other, volume.to_model_grid(ct)[0], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
@pytest.mark.parametrize("missing", [0, 1])
def test_the_median_is_that_of_numpy_with_and_without_missing_numbers(count, missing):
    values = np.random.default_rng(count).permutation(5.0 * np.arange(3 * (count + missing))).reshape(3, -1)
    values[:2, :missing] = np.nan
    np.testing.assert_array_equal(volume.median(values), np.nanmedian(values, axis=-1))
    np.testing.assert_array_equal(volume.median(values[2].astype(int)), np.median(values[2]))


@pytest.mark.parametrize("degrees", [0, 40])
def test_averages_are_scaled_in_parts_as_they_would_be_at_once(degrees):
    ct = rotated(smallCt(), degrees)
    image, grid = volume.to_model_grid(ct)
    assert type(grid) is (ReslicedGrid if degrees else AlignedGrid)
    averaged = grid.down(ct.hu, volume.HU_WINDOW, volume.HU_WINDOW[0])
    np.testing.assert_array_equal(image, volume.scale_hu(averaged, volume.HU_WINDOW))
