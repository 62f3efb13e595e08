"""Both engines compute the same network, whole or in tiles, and stop when asked."""

import numpy as np
import pytest

from LiverGTANLib.core import volume, weight_file
from LiverGTANLib.core.engines import numpy_engine, numpy_layers
from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine, tiles
from support.cases import randomStudent

torch = pytest.importorskip("torch")
from LiverGTANLib.core.engines.torch_engine import MOST_ROUNDING, TorchEngine


def reference(network: weight_file.Student, x: np.ndarray) -> np.ndarray:
    """The network of the student format in float64, written down plainly."""
    w = {name: torch.from_numpy(array).double() for name, array in network.weights.items()}
    f = torch.nn.functional

    def act(t):
        return f.leaky_relu(t, network.negative_slope)

    def conv(name, t, stride=1):
        return act(f.conv3d(t, w[f"{name}.weight"], w[f"{name}.bias"], stride=stride, padding=1))

    levels = len(network.widths)
    t = torch.from_numpy(x).double()[None, None]
    t = conv("enc0", act(f.conv3d(t, w["stem.weight"], w["stem.bias"], stride=2)))
    skips = [t]
    for level in range(1, levels):
        t = conv(f"enc{level}", conv(f"down{level}", t, stride=2))
        skips.append(t)
    for level in reversed(range(levels - 1)):
        up = f.conv_transpose3d(t, w[f"up{level}.weight"], w[f"up{level}.bias"], stride=2)
        t = conv(f"dec{level}", torch.cat([up, skips[level]], dim=1))
    return f.conv_transpose3d(t, w["head.weight"], w["head.bias"], stride=2)[0, 0].numpy()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def both(network: weight_file.Student) -> tuple[NumpyEngine, TorchEngine]:
    """Both engines in float32: left alone, torch measures whether bf16 is faster."""
    return NumpyEngine(network), TorchEngine(network, device="cpu", dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "widths, shape",
    [
        ((4, 6, 11, 15), (32, 48, 64)),
        ((5, 10, 20, 30), (16, 16, 16)),
        ((5, 10, 20, 30), (48, 32, 80)),
        ((3, 7), (12, 20, 28)),
        ((2, 3, 5, 6, 9), (32, 32, 64)),
        ((16, 32, 64, 128), (32, 32, 32)),
    ],
)
def test_numpy_engine_computes_the_network(widths, shape):
    network = randomStudent(widths)
    expected = reference(network, noise(*shape))
    found = NumpyEngine(network).forward(noise(*shape))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["student-100k", "student-30k"])
def test_engines_agree_on_a_real_ct(sampleCt, name):
    network = weight_file.load(name)
    x, _ = volume.to_model_grid(sampleCt, network.spacing_mm, network.hu_window)
    logits = NumpyEngine(network).forward(x)
    assert (logits > 0).any(), "the student finds no liver in the sample"
    np.testing.assert_allclose(logits, reference(network, x), atol=1e-3)
    single = TorchEngine(network, device="cpu", dtype=torch.float32)
    np.testing.assert_allclose(single.forward(x), logits, atol=1e-3)
    half = TorchEngine(network, device="cpu", dtype=torch.bfloat16)
    assert np.mean((half.forward(x) > 0) != (logits > 0)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(16, 96, 112), (96, 16, 96), (96, 112, 16), (16, 16, 96), (16, 96, 16), (16, 16, 16)]
)
def test_bf16_is_right_for_grids_that_the_deepest_level_makes_one_voxel_thin(shape):
    """Computed in bf16, these are wrong on a processor with AMX (torch 2.13.0): NaN, another mask, or a crash."""
    for widths in ((4, 6, 11, 15), (5, 10, 20, 30)):
        network = randomStudent(widths)
        engine, x = TorchEngine(network, device="cpu", dtype=torch.bfloat16), noise(*shape)
        assert engine.dtype_for(shape) is torch.float32
        np.testing.assert_allclose(engine.forward(x), NumpyEngine(network).forward(x), rtol=1e-3, atol=1e-3)
    assert engine.dtype_for((32, 32, 32)) is torch.bfloat16
    assert engine.dtype_for((32, 32, 16)) is torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 96, 112), (96, 32, 96), (96, 112, 32), (32, 32, 32), (32, 32, 96)])
def test_bf16_is_right_for_grids_two_voxels_thin_at_the_deepest_level(shape):
    for widths in ((4, 6, 11, 15), (5, 10, 20, 30)):
        network, x = randomStudent(widths), noise(*shape)
        found = TorchEngine(network, device="cpu", dtype=torch.bfloat16).forward(x)
        expected = NumpyEngine(network).forward(x)
        assert np.linalg.norm(found - expected) < MOST_ROUNDING * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize("most_planes", [144, 176, 240, 336])
def test_tiling_changes_nothing_but_rounding(most_planes):
    network, x = randomStudent(), noise(336, 32, 32)
    whole = NumpyEngine(network).forward(x)
    found = NumpyEngine(network, most_cells=most_planes * 32 * 32).forward(x)
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.slow
def test_tiles_of_a_deep_network_change_nothing_but_rounding():
    """Six levels: a tile needs 9 times 64 planes, however few cells are asked for."""
    network, x = randomStudent((2, 2, 3, 3, 4, 4)), noise(768, 64, 64)
    parts = tiles(x.shape, network.multiple, 1)
    assert len(parts) > 1 and parts[0][1].stop < len(x)
    whole = NumpyEngine(network).forward(x)
    np.testing.assert_allclose(NumpyEngine(network, most_cells=1).forward(x), whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("depth", [16, 144, 160, 320, 336, 464, 1600])
@pytest.mark.parametrize("planes", [1, 144, 208, 320])
def test_tiles_cover_every_plane_once_and_are_alike(depth, planes):
    parts = tiles((depth, 48, 32), 16, planes * 48 * 32)
    covered = np.concatenate([np.arange(depth)[core] for core, _ in parts])
    np.testing.assert_array_equal(covered, np.arange(depth))
    (size,) = {around.stop - around.start for _, around in parts}
    assert size <= min(depth, max(planes, 144))
    assert (size - 16) * len(parts) < depth + 128 * (len(parts) - 1)  # a multiple less would not do
    for core, around in parts:
        assert around.start == 0 or around.start <= core.start - 64
        assert around.stop == depth or around.stop >= core.stop + 64
        assert around.start >= 0 and around.stop <= depth


def test_buffers_are_made_once_for_all_tiles_and_scans_of_a_size(monkeypatch):
    made = []
    monkeypatch.setattr(numpy_engine, "_Pass", lambda *args, make=numpy_engine._Pass: made.append(args) or make(*args))
    engine, x = NumpyEngine(randomStudent((2, 2)), most_cells=1), noise(128, 16, 16)
    assert len(tiles(x.shape, 4, 1)) > 2
    engine.forward(x)
    engine.forward(x)
    assert len(made) == 1


def test_a_pass_is_few_calls_each_on_much(monkeypatch):
    """Threads that made many short calls of numpy would wait for each other."""
    made, matmul = [], np.matmul
    engine, x = NumpyEngine(randomStudent((5, 10, 20, 30))), noise(32, 48, 64)
    engine.forward(x)
    monkeypatch.setattr(np, "matmul", lambda a, b, out: made.append(a.shape) or matmul(a, b, out=out))
    engine.forward(x)
    planes = [16, 8, 4, 2]  # of the levels
    assert len(made) <= 16 // 4 + sum(planes) + sum(planes[1:]) + sum(planes[:3])


@pytest.mark.parametrize(("rows", "terms", "columns"), [(1280, 439, 20), (1271, 439, 20), (320, 859, 40), (6, 439, 20)])
def test_parts_of_a_product_are_even_and_those_that_openblas_does_not_reorder(rows, terms, columns):
    found = numpy_layers.rows_at_once(rows, terms, columns)
    assert rows % found == 0
    assert found == rows or found * terms * columns <= numpy_layers.MOST_AT_ONCE


def test_a_trunk_of_1500_slices_is_computed_in_one_pass():
    assert len(tiles((1312, 112, 128), 16, numpy_engine.MOST_CELLS_AT_ONCE)) == 1


def test_a_second_scan_of_another_size_leaves_no_trace_of_the_first():
    network = randomStudent()
    engine = NumpyEngine(network)
    expected = engine.forward(noise(32, 32, 48))
    engine.forward(10 * noise(48, 32, 16))
    np.testing.assert_array_equal(engine.forward(noise(32, 32, 48)), expected)


@pytest.mark.slow
def test_grids_that_the_levels_cannot_halve_are_refused():
    for engine in both(randomStudent()):
        with pytest.raises(ValueError, match="multiples of 16"):
            engine.forward(noise(32, 32, 24))


@pytest.mark.slow
def test_progress_rises_to_one_and_cancel_stops():
    for engine in both(randomStudent()):
        x, reported = noise(32, 32, 32), []
        engine.forward(x, lambda fraction, text, to=reported: to.append(fraction))
        assert reported == sorted(reported)
        assert reported[-1] == pytest.approx(1)
        with pytest.raises(Cancelled):
            engine.forward(x, cancelled=lambda: True)
        engine.forward(x)  # a canceled pass leaves the engine usable


def test_composed_upsampling_sees_zeros_outside():
    """Transposed convolution with bias, then convolution, against the composed product, at the border above all."""
    rng = np.random.default_rng(0)
    up, bias, weight = rng.normal(size=(3, 2, 2, 2, 2)), rng.normal(size=2), rng.normal(size=(4, 2, 3, 3, 3))
    coarse = rng.normal(size=(2, 3, 4, 3))
    bordered = numpy_layers.bordered(2, 3, 4, 4)
    bordered[1:-1, 1:-1, 1:-1, :3], bordered[1:-1, 1:-1, 1:-1, 3] = coarse, 1
    skip, no_skip, no_bias = numpy_layers.bordered(4, 6, 8, 1), np.zeros((4, 1, 3, 3, 3)), np.zeros(4)
    composed, found = numpy_layers.compose(up, bias, weight), numpy_layers.bordered(4, 6, 8, 4)
    layer = numpy_layers.Convolution(no_skip, no_bias, 0.1, (4, 6, 8), upsampling=composed)
    layer(slice(0, layer.steps), numpy_layers.store_in(found), skip, bordered)
    t = torch.from_numpy(coarse.transpose(3, 0, 1, 2))[None]
    fine = torch.nn.functional.conv_transpose3d(t, torch.from_numpy(up), torch.from_numpy(bias), stride=2)
    expected = torch.nn.functional.conv3d(fine, torch.from_numpy(weight), padding=1)[0].numpy().transpose(1, 2, 3, 0)
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], np.maximum(expected, 0.1 * expected), atol=1e-5)
