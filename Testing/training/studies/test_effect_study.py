"""The study of effects: groups that hold every effect once, equal runs but for one group, tables of the changes."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from support.training_fixtures import makeScans, options, smallConfig
from support.volumes import write_image
from training.__main__ import main
from training.data.bank import Bank
from training.data.training_data import TrainingData
from training.evaluation.summary import mean_and_sd, mean_sd_text
from training.fit import checkpoint
from training.options import AugmentRanges, DataSettings, Effects, SynthesisConfig, ViewRanges
from training.studies import effect_study, effect_table
from training.studies.effect_groups import BASE, GROUPS, EffectGroup, chosen
from training.synthesis.build import synthesize
from training.synthesis.phantom import ct_phantom
from training.synthesis.pipeline import REAL

CPU = torch.device("cpu")
MM = 9.0
LENGTHS = {"bend_length_mm", "density_hu", "tumor_mm", "slice_mm"}
"""Ranges of effects whose probability or strength is another setting."""


@pytest.mark.parametrize(
    ("of", "settings", "others"),
    [("views", ViewRanges, LENGTHS), ("augment", AugmentRanges, set()), ("effects", Effects, set(REAL))],
)
def test_every_effect_is_in_one_group(of, settings, others):
    listed = [name for group in GROUPS for name in getattr(group, of)]
    assert sorted(listed) == sorted({field.name for field in fields(settings)} - others)


def test_a_group_switches_off_what_it_names_and_nothing_else():
    data = DataSettings(scans=None)
    for group in chosen(())[1:]:
        changed = group.without(data)
        for part in ("views", "augment"):
            before, after = getattr(data, part), getattr(changed, part)
            differing = {f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)}
            assert differing == set(getattr(group, part)), group.name
        assert bool(changed.bank) == (group.name != "synthetic volumes")
    assert chosen(())[0].without(data) == data


def test_a_group_alone_makes_the_difference_between_two_views(tmp_path):
    """All else is drawn as before: the liver has another density, and nothing else has."""
    scans = DataSettings(bank=(), scans=makeScans(tmp_path / "scans"), labelled_only=True, window=(16, 16, 24))
    ranges = replace(scans.views, densities=1.0, thick=0.0, shift_mm=1.0)
    scans = replace(scans, views=ranges, augment=replace(scans.augment, blurred=0.0, shift=(0, 0, 0)))
    [density] = [group for group in GROUPS if group.name == "views: density"]
    changed = 0
    for position in range(3):
        (with_all, label, _), (without, same, _) = (
            TrainingData(data).volume(position, 0, CPU) for data in (scans, density.without(scans))
        )
        differs = with_all != without
        assert (label == same).all() and not differs[label == 0].any()
        changed += int(differs.sum())
    assert changed


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The study of three groups after two steps: the folder and the command's arguments."""
    folder = tmp_path_factory.mktemp("effects")
    made = SynthesisConfig(
        phantom=True, output=folder / "bank", count=3, shape=(16, 16, 24), spacing_mm=MM, fine_mm=6.0, workers=1, seed=5
    )
    synthesize(replace(made, effects=Effects().without("arms")), lambda line: None)
    ct, mask = ct_phantom(9, 6.0)
    for name, values in (("ct", ct.hu), ("liver", mask.astype(np.uint8))):
        write_image(folder / f"{name}.nii.gz", values, 6.0)
    config = smallConfig(folder / "bank", steps=2)
    arguments = [
        *["effects", "--cases", f"{folder / 'ct.nii.gz'}={folder / 'liver.nii.gz'}", "--folder", str(folder / "table")],
        *["--groups", "views: tumors", "synthetic volumes", "synthetic: fluid", "--seeds", "0"],
        *["--volumes", "0", "--conditions", "head only", "--student-widths", "2", "3"],
        *["--scans", str(makeScans(folder / "scans")), "--window", "16", "16", "24", "--spacing-mm", str(MM)],
        *options(config),
    ]
    assert main(arguments) == 0
    return folder, arguments


@pytest.mark.slow
def test_each_run_lacks_one_group_and_shares_the_rest(compared):
    folder, _ = compared
    settings = {
        name: checkpoint.read(folder / "table" / name / "seed-0" / "checkpoint.pt")["settings"]["data"]
        for name in ("all-effects", "views-tumors", "synthetic-volumes", "synthetic-fluid")
    }
    assert all(data.pop("labelled_only") for data in settings.values())
    base = settings.pop("all-effects")
    assert settings.pop("views-tumors") == base | {"views": base["views"] | {"tumors": 0.0}}
    assert settings.pop("synthetic-volumes") == base | {"bank": []}
    assert settings.pop("synthetic-fluid") == base | {"bank": [str(folder / "table" / "banks" / "synthetic-fluid")]}


@pytest.mark.slow
def test_a_bank_is_made_again_of_the_same_bodies_without_the_effects_of_its_group(compared):
    folder, _ = compared
    given, made = Bank.open(folder / "bank"), Bank.open(folder / "table" / "banks" / "synthetic-fluid")
    before, after = given.meta["config"], made.meta["config"]
    off = dict.fromkeys(("ascites", "effusion", "consolidation"), 0.0)
    assert after == before | {"effects": before["effects"] | off} and before["effects"]["arms"] == 0.0
    for number in range(3):
        one, other = given.record(number), made.record(number)
        assert (one["seed"], one["source"]) == (other["seed"], other["source"])
        kept = {name: value for name, value in one["parameters"].items() if name not in off}
        assert list(kept) == list(other["parameters"])


@pytest.mark.slow
def test_the_study_writes_tables_and_a_plot_and_takes_runs_again(compared, monkeypatch, capsys):
    folder, arguments = compared
    text = (folder / "table" / "table.md").read_text(encoding="utf-8")
    assert "| nothing (all effects) |" in text and "head only, drawn" in text and "2 steps of 2 volumes" in text
    assert "views of 3 CTs, the others of 3 synthetic volumes" in text
    assert (folder / "table" / "table.png").stat().st_size > 5_000
    results = json.loads((folder / "table" / "table.json").read_text(encoding="utf-8"))
    assert effect_table.markdown(results) == text
    assert [one["cell"]["arm"] for one in results] == [BASE, "views: tumors", "synthetic volumes", "synthetic: fluid"]
    monkeypatch.setattr(effect_study, "measured", lambda *_: 1 / 0)  # nothing is measured again
    assert main(arguments) == 0 and text in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--groups", "views: weather"], "must name different ones of 'views: movement'"),
        (["--groups", "views: cut", "views: cut"], "must name different ones"),
        (["--bank"], "one --bank"),
        (["--conditions", "rain"], "There is no condition rain; choose among"),
        (["--seeds", "0", "0"], "each once"),
        (["--rate", "0.1"], "belongs to another run (loop.rate: 0.004 -> 0.1)"),
    ],
)
def test_what_cannot_be_compared_is_refused(compared, capsys, changes, message):
    folder, arguments = compared
    before = (folder / "table" / "table.json").read_bytes()
    assert main([*arguments, *changes]) == 2
    assert message in capsys.readouterr().err
    assert (folder / "table" / "table.json").read_bytes() == before


def run(arm: str, seed: int, dice: list[float], hard: float, found: float) -> dict:
    """What the table needs of a result."""
    hard_cases = [
        {"condition": "ascites", "source": "simulated", "kind": "reference", "figures": {"dice": hard}},
        {"condition": "pelvis only", "source": "real", "kind": "empty", "figures": {"found_ml": found}},
        {"condition": "effusion", "source": "real", "kind": "unlabelled", "figures": {"found_ml": 9, "fluid_ml": 3}},
    ]
    figures = {"nsd2": 0.8, "hd95": 5.0, "volume_error": -0.02}
    return {
        "cell": {"arm": arm, "student": "2-3", "seed": seed},
        "steps": 2,
        "loop": {"steps": 2, "batch": 2, "rate": 0.004},
        "data": {"scan_share": 0.65, "spacing_mm": 4.0, "window": [8, 8, 8]},
        "conditions": {"names": ["ascites"], "volumes": 2},
        "volumes": [{"name": "bank", "volumes": 3}, {"name": "scans", "volumes": 5}],
        "cases": {name: figures | {"dice": value} for name, value in zip("ab", dice)},
        "hard": hard_cases,
        "seconds": {"cpu": 60.0, "wall": 60.0},
    }


def test_changes_are_paired_by_seed():
    results = [
        run(BASE, 0, [0.90, 0.92], 0.80, 0.0),
        run("views: cut", 0, [0.89, 0.90], 0.83, 12.0),
        run(BASE, 1, [0.92, 0.94], 0.70, 4.0),
        run("views: cut", 1, [0.92, 0.93], 0.72, 4.0),
    ]
    text = effect_table.markdown(results)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    [gain] = [row for row in rows if row[:2] == ["2-3", "views: cut"]]
    assert gain[2:4] + gain[5:] == ["2", "-1.00", "-1.50 -0.50", "0 of 4"]
    assert ["views: cut", "+2.5 (+3.0 +2.0)"] in rows and ["nothing (all effects)", "75.0"] in rows
    assert ["views: cut", "+6.0 (+12.0 +0.0)", "+0.0 (+0.0 +0.0)"] in rows
    assert "the seeds differ by 2.00 Dice points" in text
    assert mean_sd_text(mean_and_sd([0.5]), 2) == "0.50"


def test_the_first_run_alone_makes_a_table(tmp_path):
    effect_table.write(tmp_path, [run(BASE, 0, [0.90, 0.92], 0.80, 0.0)])
    assert "seeds differ" not in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert EffectGroup(BASE) == chosen(())[0]
