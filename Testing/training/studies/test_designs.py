"""The comparison of designs: budgets, engines, growth, and the command on a phantom."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from support.training_fixtures import makeBank, options, smallConfig
from training.__main__ import main
from training.fit import checkpoint
from training.model import folding, growth
from training.model.nets import UNet3D, gmac, parameters
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS
from training.release import export
from training.studies.design_engines import TorchDesign, numpy_engine
from training.studies.design_plan import DESIGNS, LARGE, SMALL, Design

pytestmark = pytest.mark.slow

SMALLER = (Design("plain", SMALL, (3, 4, 5)), Design("overlap", SMALL, (3, 4, 5), stem=3))


def lively(design: Design) -> UNet3D:
    """A network in eval mode whose norms have statistics, and whose logits spread over some units."""
    torch.manual_seed(3)
    net = design.network()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)
            module.bias.data.normal_(0, 0.2)
    return net.eval()


def test_every_listed_design_keeps_its_budget_and_uses_it():
    assert len({design.name for design in DESIGNS}) == len(DESIGNS) >= 10
    for budget in (LARGE, SMALL):
        group = [design for design in DESIGNS if design.budget == budget]
        assert len(group) >= 5
        for design in group:
            assert 0.85 * budget < parameters(design.network()) <= budget, design.name


def test_an_overlapping_stem_sees_beyond_its_patch():
    image = torch.zeros(1, 1, 16, 16, 16, requires_grad=True)
    for stem, voxels in ((2, 2**3), (3, 3**3)):
        features = UNet3D((2, 3), stem).eval().stem(image)
        (gradient,) = torch.autograd.grad(features[0, :, 4, 4, 4].sum(), image)
        assert features.shape[2:] == (8, 8, 8) and int((gradient != 0).sum()) == voxels


@pytest.mark.parametrize("design", SMALLER, ids=lambda design: design.name)
def test_both_engines_compute_what_the_network_does(design):
    net = lively(design)
    image = np.concatenate([export.probe(net.multiple)] * 2, axis=2)
    expected = folding.forward(net, image)
    assert expected.std() > 0.05
    np.testing.assert_allclose(TorchDesign(design, net).forward(image), expected, atol=1e-3)
    engine = numpy_engine(design, net)
    assert (engine is None) == (design.name != "plain")
    if engine:
        np.testing.assert_allclose(engine.forward(image), expected, atol=1e-3)


@pytest.mark.parametrize("design", SMALLER, ids=lambda design: design.name)
def test_a_student_grows_in_its_family(design):
    net = lively(design)
    widths = tuple(2 * width for width in design.widths)
    wide = growth.widen(net, widths, growth.draw_maps(design.widths, widths, 0))
    assert parameters(wide) > 3 * parameters(net)
    image = export.probe(net.multiple)
    np.testing.assert_allclose(folding.forward(wide, image), folding.forward(net, image), atol=1e-4)


def test_only_a_student_that_differs_in_widths_alone_grows_to_the_teacher():
    teacher = Design("teacher", LARGE, TEACHER_WIDTHS)
    for design in DESIGNS:
        alike = replace(design, name=teacher.name, budget=teacher.budget, widths=teacher.widths)
        assert (design.growth == "yes") == (alike == teacher and len(design.widths) == 4), design.name


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two designs after two steps: the folder and the command's arguments."""
    from training.synthesis.phantom import write_case

    folder = tmp_path_factory.mktemp("designs")
    config = smallConfig(makeBank(folder / "bank", (16, 16, 32), spacing_mm=3.0), steps=2)
    arguments = [
        "designs",
        "--cases",
        write_case(folder, 9),
        "--designs",
        "grid3-overlap-30k",
        "grid3-30k",
        "--folder",
        str(folder / "table"),
        "--rounds",
        "2",
        "--seeds",
        "0",
        *options(config),
    ]
    assert main(arguments) == 0
    return folder / "table", arguments


def test_the_comparison_writes_table_and_plot(compared):
    folder, _ = compared
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:4]] == ["grid3-overlap-30k", "grid3-30k"]
    assert (
        "2 steps of 2 volumes" in text
        and ", seeds 0, from random weights" in text
        and "6 volumes of 16 x 16 x 32 at 3 mm (48 x 48 x 96 mm)" in text
    )
    assert (folder / "table.png").stat().st_size > 5_000
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    for result in table["results"]:
        times = table["times"]["designs"][result["design"]["name"]]
        assert len(times["torch"]["all"]) == 2 and times["gmac"] > 0
        assert ("numpy" in times) == (result["design"]["name"] == "grid3-30k")
        assert result["seconds"]["cpu"] > 0 and set(result["cases"]) == {"phantom-9"}


def test_another_seed_is_another_run_of_the_same_row(compared):
    folder, arguments = compared
    assert main([*arguments, "--designs", "grid3-30k", "--seeds", "0", "1"]) == 0
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert [result["loop"]["seed"] for result in table["results"]] == [0, 1]
    assert table["results"][0]["network_sha256"] != table["results"][1]["network_sha256"]
    rows = [line for line in (folder / "table.md").read_text(encoding="utf-8").splitlines() if "| grid3-30k" in line]
    assert len(rows) == 1 and "seeds 0, 1" in (folder / "table.md").read_text(encoding="utf-8")


def test_what_is_finished_is_not_trained_again(compared, capsys):
    folder, arguments = compared
    before = (folder / "grid3-overlap-30k" / "seed-0" / "result.json").stat().st_mtime_ns
    (folder / "grid3-30k" / "seed-0" / "result.json").unlink()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "grid3-30k" in said and "grid3-overlap-30k" not in said
    assert (folder / "grid3-overlap-30k" / "seed-0" / "result.json").stat().st_mtime_ns == before
    assert checkpoint.read(folder / "grid3-30k" / "seed-0" / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--steps", "3"], "loop.steps: 2 -> 3"),
        (["--designs", "grid4-30k"], "needs a bank of 4.0 mm"),
        (["--designs", "grid3-30k", "huge"], "no design huge"),
    ],
)
def test_an_unequal_comparison_is_refused(compared, changes, message, capsys):
    _, arguments = compared
    assert main([*arguments, *changes]) == 2
    assert message in capsys.readouterr().err
