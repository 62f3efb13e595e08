"""The bundled students against the real sample scans, and their cards against what they say."""

import pytest

from LiverGTANLib import student
from training import evaluate, nets
from training.data import samples
from training.data.cases import Case

LEAST_DICE = {"student-100k": 0.90, "student-30k": 0.85}
LARGEST = {"student-100k": 100_000, "student-30k": 30_000}


@pytest.fixture(scope="module")
def cases(sampleFolder):
    return [Case(samples.CT, samples.CT_REFERENCE, samples.LIVER_LABEL),
            Case(samples.DICOM, samples.DICOM_REFERENCE, samples.LIVER_LABEL)]


@pytest.mark.parametrize("name", sorted(LEAST_DICE))
def test_both_engines_reach_the_promised_dice_at_native_resolution(name, cases):
    rows = [row for row, _ in evaluate.evaluate(name, cases, ("numpy", "torch"))]
    assert len(rows) == 4
    for row in rows:
        assert row.metrics.dice >= LEAST_DICE[name], (row.case, row.engine)
    said = {(row["case"], row["engine"]): row["dice"] for row in student.load(name).card["metrics"]}
    for row in rows:
        assert row.metrics.dice == pytest.approx(said[row.case, row.engine], abs=0.003)


@pytest.mark.parametrize("name", sorted(LEAST_DICE))
def test_the_card_is_complete_and_honest(name):
    card = student.load(name).card
    assert card["parameters_before_folding"] == nets.parameters(nets.UNet3D(student.load(name).widths)) <= LARGEST[name]
    assert all(source["license"] and source["origin"] for source in card["training"]["data"])
    trained = {source["name"] for source in card["training"]["data"]}
    assert trained and not trained & {row["case"] for row in card["metrics"]}
    assert "dirty" not in card["training"]["code"] and len(card["limitations"]) >= 3
    assert "Not a medical device" in card["intended_use"] and card["date"]
