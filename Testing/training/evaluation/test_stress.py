"""Hard cases: alterations do what they say, simulated conditions show what they name, bundled students as they are."""

import dataclasses
import json

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.volume import CtVolume
from training.data.tissues import Tissue
from training.errors import UserError
from training.evaluation.stress import alterations, conditions, hard_cases, real, report, simulated
from training.evaluation.stress.example import Example
from training.evaluation.stress.head import head_ct
from training.evaluation.stress.record import Record
from training.options import Stress, SynthesisConfig
from training.synthesis import source_library
from training.synthesis.phantom import tissue_phantom
from training.synthesis.pipeline import make_scan
from training.synthesis.sources import tissue_source

pytestmark = pytest.mark.slow

STUDENTS = ("student-100k", "student-30k")


@pytest.fixture(scope="module")
def example():
    ct, liver = phantom_ct((3.0, 3.0, 3.0))
    return Example("phantom", ct, liver > 0)


@pytest.fixture(scope="module")
def trunks():
    """A phantom long enough above and below its liver for a chest and a pelvis."""
    return [tissue_source("phantom-1", tissue_phantom(1, 2.0), 2.0)]


def center(example):
    index = np.argwhere(example.liver).mean(axis=0)[::-1]
    return example.ct.ijk_to_ras[:3, :3] @ index + example.ct.ijk_to_ras[:3, 3]


def reversed_slices(example):
    """The same scan stored from the head to the feet."""
    matrix = example.ct.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * (len(example.ct.hu) - 1)
    matrix[:3, 2] *= -1
    return example.of(example.ct.hu[::-1], example.liver[::-1], matrix)


def heights(example):
    """S of the lowest and the highest liver slice."""
    levels = np.flatnonzero(example.liver.any(axis=(1, 2)))[[0, -1]]
    return sorted(example.ct.ijk_to_ras[2, 2] * levels + example.ct.ijk_to_ras[2, 3])


@pytest.mark.parametrize("thickness", [5.0, 8.0])
def test_thick_slices_keep_extent_place_mean_and_volume(thickness, example):
    thick = alterations.thick_slices(example, thickness)
    assert thick.ct.spacing == pytest.approx([3.0, 3.0, thickness])
    assert abs(len(thick.ct.hu) * thickness - len(example.ct.hu) * 3.0) <= thickness / 2
    assert center(thick) == pytest.approx(center(example), abs=1.0)
    assert thick.ct.hu.mean() == pytest.approx(example.ct.hu.mean(), abs=8)
    assert thick.liver.sum() * thickness == pytest.approx(example.liver.sum() * 3.0, rel=0.03)
    column = example.ct.hu[:, 40, 60].astype(float)
    assert np.ptp(thick.ct.hu[:, 40, 60]) <= np.ptp(column)


def test_slices_are_not_made_thinner(example):
    with pytest.raises(UserError, match="cannot be made"):
        alterations.thick_slices(example, 2.0)
    thick = alterations.thick_slices(example, 8.0)
    assert not list(real.altered([thick], real.ALTERED["slices of 5 mm"][1]))


def test_what_gets_too_short_to_run_is_left_out(example):
    short = example.part((slice(40, 54), slice(0, None), slice(0, None)))
    assert list(real.altered([short], real.unaltered))
    assert not list(real.altered([short], lambda e: e.part((slice(0, 5), slice(0, None), slice(0, None)))))


def test_low_dose_adds_noise_of_the_asked_strength_that_is_correlated_in_plane(example):
    noisy = alterations.low_dose(example, 40.0)
    inside = (slice(40, 60), slice(25, 60), slice(40, 80))
    added = noisy.ct.hu[inside].astype(float) - example.ct.hu[inside]
    assert added.std() == pytest.approx(40, rel=0.1) and abs(added.mean()) < 3
    beside = np.corrcoef(added[..., 1:].ravel(), added[..., :-1].ravel())[0, 1]
    above = np.corrcoef(added[1:].ravel(), added[:-1].ravel())[0, 1]
    assert beside > 0.06 and abs(above) < 0.03
    assert np.array_equal(noisy.ct.hu, alterations.low_dose(example, 40.0).ct.hu)


def test_a_round_field_leaves_a_cylinder(example):
    cropped = alterations.round_field(example, 60.0)
    kept = (cropped.ct.hu[50] != alterations.AIR_HU).sum() * 9
    assert kept == pytest.approx(np.pi * 60**2, rel=0.03)
    assert not (cropped.liver & (cropped.ct.hu == alterations.AIR_HU)).any()
    assert 0 < cropped.liver.sum() < example.liver.sum()


def test_a_narrow_crop_has_the_asked_width_and_keeps_its_place(example):
    cropped = alterations.narrow(example, 90.0)
    assert cropped.ct.shape == (*example.ct.shape[:2], 30)
    first = round(np.flatnonzero(example.liver.any(axis=(0, 1)))[[0, -1]].mean() - 15)
    assert np.array_equal(cropped.ct.hu, example.ct.hu[..., first : first + 30])
    assert cropped.ct.ijk_to_ras[:3, 3] == pytest.approx(example.ct.ijk_to_ras[:3] @ [first, 0, 0, 1])


@pytest.mark.parametrize("turn", [lambda e: e, reversed_slices])
def test_cuts_take_a_third_of_the_liver_from_the_right_end(turn, example):
    whole, turned = heights(example), turn(example)
    lost = (whole[1] - whole[0] + 3) / 3
    assert heights(alterations.cut(turned, 1 / 3, top=True)) == pytest.approx([whole[0], whole[1] - lost], abs=1.6)
    assert heights(alterations.cut(turned, 1 / 3, top=False)) == pytest.approx([whole[0] + lost, whole[1]], abs=1.6)


@pytest.mark.parametrize("turn", [lambda e: e, reversed_slices])
def test_chest_and_pelvis_lie_beyond_the_margin(turn, example):
    middle = np.zeros_like(example.liver)
    middle[42:48] = example.liver[42:48]
    turned = turn(dataclasses.replace(example, liver=middle))
    chest, pelvis = (alterations.beside_liver(turned, above, 30.0) for above in (True, False))
    ends = [
        sorted(part.ct.ijk_to_ras[2, 2] * np.array([0, len(part.ct.hu) - 1]) + part.ct.ijk_to_ras[2, 3])
        for part in (pelvis, chest)
    ]
    low, high = heights(turned)
    assert ends[0][1] < low - 30 and high + 30 < ends[1][0]
    assert not chest.liver.any() and not pelvis.liver.any()
    assert alterations.beside_liver(example, False, 80.0) is None


def test_a_cut_at_the_liver_needs_one(example):
    with pytest.raises(UserError, match="no liver"):
        alterations.cut(dataclasses.replace(example, liver=np.zeros_like(example.liver)), 0.3, top=True)


@pytest.fixture(scope="module")
def scan(trunks):
    """A function from the name of a condition to its first scan; each is made once."""
    made = {}

    def of(condition):
        if condition not in made:
            setup = simulated.SETUPS[condition]
            config = SynthesisConfig(effects=setup.effects, no_liver_share=0.0)
            made[condition], _ = make_scan(
                trunks[0], config, simulated.FIRST_SEED, setup.overrides(trunks[0], config.fine_shape)
            )
        return made[condition]

    return of


def density(scan, code):
    return scan.hu[scan.tissue == code].mean()


def test_simulated_conditions_show_what_they_name(scan):
    ordinary = scan("none")
    spleen = scan("splenomegaly").tissue == Tissue.SPLEEN
    assert spleen.sum() > 1.5 * (ordinary.tissue == Tissue.SPLEEN).sum()
    fatty = scan("fatty liver")
    assert fatty.hu[fatty.label > 0.5].mean() < density(fatty, Tissue.SPLEEN) - 10
    effusion = scan("pleural effusion on non-contrast CT")
    assert (effusion.tissue == Tissue.FLUID).sum() > 10_000
    assert density(effusion, Tissue.LIVER) < density(ordinary, Tissue.LIVER) - 15


def test_conditions_are_tried_on_the_same_bodies(scan):
    for condition in ("splenomegaly", "fatty liver", "pleural effusion on non-contrast CT"):
        assert np.array_equal(scan("none").label, scan(condition).label)


@pytest.mark.parametrize(("window", "end"), [("top", -1), ("bottom", 0)])
def test_a_cut_liver_reaches_the_end_of_the_scan(window, end, scan):
    cut = scan(f"liver cut at the {window}").label
    assert cut[end].any() and not scan("none").label[end].any()
    assert 0.3 < cut.sum() / scan("none").label.sum() < 0.95


@pytest.mark.parametrize("condition", ["chest only", "pelvis only"])
def test_windows_without_liver_show_a_body_without_liver(condition, trunks):
    setup = simulated.SETUPS[condition]
    shown = list(simulated.volumes(setup, trunks, 2))
    for example in shown:
        assert not example.liver.any() and (example.ct.hu > 0).mean() > 0.02
    assert shown or condition == "chest only"  # the phantom ends soon above its liver


def test_records_hold_figures_and_expectations_for_the_card(trunks, example, tmp_path):
    library = real.Library(None, ())
    wanted = ("none", "low dose")
    tried = [c for c in conditions.all_conditions(trunks, library, 1) if c.name in wanted and c.source == "simulated"]
    result = hard_cases.measure_conditions(weight_file.load("student-30k"), tried, report=lambda line: None)
    beside = report.write(result, tmp_path / "stress.json")
    again = json.loads((tmp_path / "stress.json").read_text(encoding="utf-8"))
    assert report.card_entries(again) == report.card_entries(result)
    baseline, entry = report.card_entries(again)
    assert baseline["condition"] == "none of these (simulated)" and "lost" in entry["result"]
    assert entry["condition"] == "low dose (simulated)" and "Dice 0." in entry["result"] and entry["setup"]
    assert entry["expectation"] and "dice_loss" in again["records"][1]["figures"]
    lines = [line.replace(" ", "") for line in beside.read_text(encoding="utf-8").splitlines()]
    assert any(line.startswith("|lowdose|simulated|") for line in lines)


@pytest.mark.parametrize(
    "dice, worst, lost, words",
    [
        (0.964, 0.949, None, "Expect little to correct. Look there."),
        (0.9496, 0.93, 0.0012, "Expect little to correct. The same scans without this condition come out no better."),
        (0.951, 0.941, 0.014, "Expect little to correct. The same scans without this condition come out better."),
        (0.93, 0.90, -0.002, "Expect to correct the border here and there. The same scans without this condition come "
         "out no better."),
        (0.953, 0.80, 0.012, "Expect parts of the outline to be wrong and to need correction. The same scans without"),
        (0.84, 0.80, 0.1, "Expect a mask that is wrong in large parts"),
    ],
)  # fmt: skip
def test_what_to_expect_goes_by_the_outline_and_by_the_same_scans_without_the_condition(dice, worst, lost, words):
    figures = {"dice": dice, "dice_worst": worst, "volume_error_size": 0.01} | ({"dice_loss": lost} if lost else {})
    assert report.expectation(Record("", "", "reference", "", [], figures, "Look there.")).startswith(words)


@pytest.mark.parametrize("volumes", [0, 1])
def test_the_command_simulates_as_many_volumes_as_are_asked_for(volumes, tmp_path, monkeypatch):
    def simulated_alone(*arguments):
        return [one for one in conditions.all_conditions(*arguments) if (one.name, one.source) == ("none", "simulated")]

    monkeypatch.setattr(source_library, "PHANTOMS", 1)
    monkeypatch.setattr(hard_cases, "all_conditions", simulated_alone)
    hard_cases.stress(Stress("student-30k", phantom=True, volumes=volumes, output=tmp_path / "stress.json"))
    records = json.loads((tmp_path / "stress.json").read_text(encoding="utf-8"))["records"]
    assert [len(record["cases"]) for record in records] == [1] * volumes


def empty_record(name, condition):
    return hard_cases.measure_conditions(weight_file.load(name), [condition], report=lambda line: None)["records"][0]


@pytest.mark.parametrize("name", STUDENTS)
def test_the_pelvis_of_the_phantom_is_left_empty_and_the_user_is_told(name, trunks):
    tried = conditions.all_conditions(trunks, real.Library(None, ()), 1)
    pelvis = next(c for c in tried if (c.name, c.source) == ("pelvis only", "simulated"))
    record = empty_record(name, pelvis)
    for case in record["cases"]:
        assert case["found_ml"] > 0 or "liver is in view" in case["message"]


@pytest.mark.parametrize("name", STUDENTS)
def test_real_cts_without_a_liver_are_left_empty_and_the_user_is_told(name, sharedData):
    library = real.Library(sharedData, ())
    for condition in (*conditions._trunks(library), conditions._absent(library)):
        record = empty_record(name, condition)
        assert record["cases"] and record["figures"]["not_empty"] == 0
        assert all("liver is in view" in case["message"] for case in record["cases"])


@pytest.mark.parametrize("name", STUDENTS)
def test_no_liver_is_found_in_heads_and_the_user_is_told(name):
    record = empty_record(name, conditions._heads())
    assert len(record["cases"]) == 4 and all(case["found_ml"] == 0 for case in record["cases"])
    assert all("liver is in view" in case["message"] for case in record["cases"])


def test_a_head_looks_like_one():
    ct = head_ct(1)
    assert isinstance(ct, CtVolume) and ct.hu.dtype == np.int16
    middle = ct.hu[tuple(n // 2 for n in ct.shape)]
    assert -60 < middle < 120 and (ct.hu > 500).mean() > 0.02 and (ct.hu < -900).mean() > 0.3
