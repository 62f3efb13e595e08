"""Calibration: errors and temperatures that are known beforehand are found; cards get what helps."""

import json

import numpy as np
import pytest

from LiverGTANLib.core import segmenter, uncertainty
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.standalone import image_files
from support.cases import randomStudent
from training.data.cases import Case
from training.errors import UserError
from training.evaluation.calibration import reliability, report
from training.evaluation.calibration.calibrate import measure_calibration
from training.evaluation.calibration.reliability import BorderVoxels, best_temperature, calibration_error

pytestmark = pytest.mark.slow


def field(scale=1.0, seed=0, count=200_000):
    """Logits `scale` times those that the voxels were drawn with."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, count).astype(np.float32)
    liver = rng.random(count) < reliability.probability(logits, 1.0)
    return BorderVoxels(f"field-{seed}", np.float32(scale) * logits, liver)


def test_a_calibrated_field_has_no_error():
    assert calibration_error([field(seed=1), field(seed=2)]) < 0.005


def test_a_known_error_is_found():
    sure = BorderVoxels("sure", np.full(1000, np.log(0.9 / 0.1), np.float32), np.arange(1000) < 600)
    assert calibration_error([sure]) == pytest.approx(0.3, abs=1e-6)
    assert calibration_error([field(3.0)]) > 0.05


def test_every_case_counts_the_same_however_many_voxels_it_has():
    many, few = field(count=100_000), BorderVoxels("few", np.full(10, 8.0, np.float32), np.zeros(10, bool))
    assert calibration_error([many, few]) == pytest.approx(0.5, abs=0.01)
    assert sum(b.share for b in reliability.bins([many, few])) == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_known_scale_and_mends_the_error(scale):
    cases = [field(scale, 3), field(scale, 4)]
    temperature = best_temperature(cases)
    assert temperature == pytest.approx(scale, rel=0.03)
    assert calibration_error(cases, temperature) < 0.006


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The phantom under two names."""
    import SimpleITK as sitk

    folder = tmp_path_factory.mktemp("cases")
    ct, liver = phantom_ct((3.0, 3.0, 4.0))
    for name, array in (("first", ct.hu), ("second", ct.hu), ("liver", liver)):
        sitk.WriteImage(image_files.image_of(array, ct.ijk_to_ras), str(folder / f"{name}.nii.gz"))
    return [Case(folder / f"{name}.nii.gz", folder / "liver.nii.gz") for name in ("first", "second")]


@pytest.fixture(scope="module")
def result(cases):
    return measure_calibration(randomStudent(), cases, ["first"])


def test_only_voxels_near_the_border_count(cases):
    from scipy.ndimage import distance_transform_edt

    case = cases[0]
    analysis = segmenter.analyze(case.ct, NumpyEngine(randomStudent()))
    near = reliability.near_border(analysis, case)
    spacing = case.ct.spacing[::-1]
    inside = distance_transform_edt(case.mask, spacing)
    outside = distance_transform_edt(~case.mask, spacing)
    assert near.liver.sum() == (case.mask & (inside <= 15)).sum()
    assert (~near.liver).sum() == (~case.mask & (outside <= 15)).sum()
    shell = np.where(case.mask, inside, outside) <= 15
    assert np.sort(near.logits) == pytest.approx(np.sort(analysis.grid.up(analysis.logits)[shell]), abs=1e-4)


def test_the_result_survives_json_and_the_picture_is_drawn(result, tmp_path):
    report.write(result, tmp_path / "result.json", tmp_path / "diagram.png")
    again = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert report.card_entry(again) == report.card_entry(result)
    assert (tmp_path / "diagram.png").stat().st_size > 10_000
    assert result["fitted_on"] == ["first"] and result["measured_on"] == ["second"]
    assert result["fitted"] == result["measured"]  # one phantom, so the fit holds
    assert result["fitted"]["nll_after"] <= result["fitted"]["nll_before"]
    text = report.text(result)
    assert "first: ECE" in text and "fitted on first" in text and "mL" in text


def test_the_product_reads_the_card_entry(result, cases):
    import dataclasses

    entry = report.card_entry(result | {"helps": True, "temperature": 0.8})
    student = randomStudent()
    assert dataclasses.replace(student, card={**student.card, "calibration": entry}).temperature == 0.8
    left_out = report.card_entry(result | {"helps": False, "temperature": 0.8})
    assert dataclasses.replace(student, card={**student.card, "calibration": left_out}).temperature == 1.0


@pytest.mark.parametrize(
    ("fit", "message"), [([], "names nothing"), (["third"], "names third"), (["first", "second"], "leave one out")]
)
def test_a_split_that_proves_nothing_is_refused(fit, message, cases):
    with pytest.raises(UserError, match=message):
        measure_calibration(randomStudent(), cases, fit)
