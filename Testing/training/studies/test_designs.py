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
from training.model.nets import UNet3D, parameters
from training.model.nets import gmac as gmac_of
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS
from training.release import export
from training.studies.design_engines import TorchDesign, numpy_engine
from training.studies.design_nets import DesignNet, gmac
from training.studies.design_plan import DESIGNS, LARGE, SMALL, Design

pytestmark = pytest.mark.slow

SMALLER = (
    Design("plain", SMALL, (3, 4, 5)),
    Design("stem4", SMALL, (3, 4), stem=4),
    Design("single", SMALL, (3, 4, 5), convolutions=1),
    Design("separable", SMALL, (3, 4, 5), kind="separable"),
    Design("factorized", SMALL, (3, 4, 5), kind="factorized"),
)


def lively(design: Design) -> DesignNet:
    """A network in eval mode whose norms have statistics, and whose logits spread over some units."""
    torch.manual_seed(3)
    net = DesignNet(design)
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
            assert 0.9 * budget < parameters(DesignNet(design)) <= budget, design.name


def test_the_present_design_is_the_network_of_all_roles():
    design = Design("present", LARGE, STUDENT_WIDTHS["student-100k"])
    net, plain = lively(design), UNet3D(design.widths).eval()
    plain.load_state_dict(net.state_dict())
    image = export.probe(net.multiple)
    np.testing.assert_array_equal(folding.forward(net, image), folding.forward(plain, image))
    assert gmac(design, (32, 32, 48)) == pytest.approx(gmac_of(plain, (32, 32, 48)))


@pytest.mark.parametrize("design", SMALLER, ids=lambda design: design.name)
def test_both_engines_compute_what_the_network_does(design):
    net = lively(design)
    image = np.concatenate([export.probe(net.multiple)] * 2, axis=2)
    expected = folding.forward(net, image)
    assert expected.std() > 0.05
    np.testing.assert_allclose(TorchDesign(net).forward(image), expected, atol=1e-3)
    engine = numpy_engine(net)
    assert (engine is None) == (design.name != "plain")
    if engine:
        np.testing.assert_allclose(engine.forward(image), expected, atol=1e-3)


@pytest.mark.parametrize("design", [one for one in SMALLER if one.kind == "full"], ids=lambda design: design.name)
def test_a_student_of_full_convolutions_grows_in_its_family(design):
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
    config = smallConfig(makeBank(folder / "bank", (16, 16, 32)), steps=2)
    arguments = [
        "designs",
        "--cases",
        write_case(folder, 9),
        "--designs",
        "stem4-30k",
        "present-30k",
        "--folder",
        str(folder / "table"),
        "--rounds",
        "2",
        *options(config),
    ]
    assert main(arguments) == 0
    return folder / "table", arguments


def test_the_comparison_writes_table_and_plot(compared):
    folder, _ = compared
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:4]] == ["stem4-30k", "present-30k"]
    assert "2 steps of 2 volumes" in text and "6 volumes of 16 x 16 x 32 at 3 mm (48 x 48 x 96 mm)" in text
    assert (folder / "table.png").stat().st_size > 5_000
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    for result in table["results"]:
        times = table["times"]["designs"][result["design"]["name"]]
        assert len(times["torch"]["all"]) == 2 and times["gmac"] > 0
        assert ("numpy" in times) == (result["design"]["name"] == "present-30k")
        assert result["seconds"]["cpu"] > 0 and set(result["cases"]) == {"phantom-9"}


def test_what_is_finished_is_not_trained_again(compared, capsys):
    folder, arguments = compared
    before = (folder / "stem4-30k" / "result.json").stat().st_mtime_ns
    (folder / "present-30k" / "result.json").unlink()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "present-30k" in said and "stem4-30k" not in said
    assert (folder / "stem4-30k" / "result.json").stat().st_mtime_ns == before
    assert checkpoint.read(folder / "present-30k" / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seed", "5", "--steps", "3"], "loop.steps: 2 -> 3; loop.seed: 0 -> 5"),
        (["--designs", "coarse-30k"], "needs a bank of 4.0 mm"),
        (["--designs", "present-30k", "huge"], "no design huge"),
    ],
)
def test_an_unequal_comparison_is_refused(compared, changes, message, capsys):
    _, arguments = compared
    assert main([*arguments, *changes]) == 2
    assert message in capsys.readouterr().err
