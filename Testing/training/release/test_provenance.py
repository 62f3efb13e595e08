"""Where training data come from, for runs on one bank or on several."""

import json
from pathlib import Path

import pytest

from support.training_fixtures import makeBank, makeScans
from training.errors import UserError
from training.evaluation import training_history
from training.release import model_card, provenance, reproduce

LABELING = "python -m training pseudolabel runs/teacher/checkpoint.pt --output runs/labels"


@pytest.fixture
def banks(tmp_path):
    """A bank of phantoms, and one of a real CT whose label a teacher made."""
    real = tmp_path / "real"
    real.mkdir()
    labels = {
        "teacher": [16, 32],
        "weights_sha256": "ab" * 32,
        "scans": [{"name": "lidc_idri_0001"}],
        "command": LABELING,
    }
    meta = {"spacing_mm": 3.0, "hu_window": [-160, 240], "git": "c" * 40, "labels": labels, "config": {"seed": 3}}
    (real / "bank.json").write_text(json.dumps(meta), encoding="utf-8")
    (real / "index.jsonl").write_text('{"i": 0, "source": "lidc_idri_0001", "kind": "real"}\n', encoding="utf-8")
    return [makeBank(tmp_path / "drawn"), real]


def test_a_label_is_attributed_to_whoever_made_the_one_that_was_used(banks, tmp_path):
    _, real = banks
    made = {source["name"]: source["label"] for source in provenance.sources(banks)}
    assert made["lidc_idri_0001"] == provenance.ANEW and made["phantom"] == "exact"
    older = tmp_path / "older"
    older.mkdir()
    (older / "bank.json").write_text("{}", encoding="utf-8")
    (older / "index.jsonl").write_text((real / "index.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    [both] = provenance.sources([older, real])
    assert both["label"] == f"{provenance.origin('lidc_idri_0001')['label']}; {provenance.ANEW}"


@pytest.mark.parametrize(
    ("data", "folders"),
    [
        ({"bank": "runs/a"}, ["runs/a"]),
        ({"bank": ["runs/a", "runs/b"], "scans": None}, ["runs/a", "runs/b"]),
        ({"bank": ["runs/a"], "scans": "runs/scans"}, ["runs/a", "runs/scans"]),
        ({"bank": [], "scans": "runs/scans"}, ["runs/scans"]),
    ],
)
def test_settings_name_banks_and_scans(data, folders):
    assert provenance.folders({"data": data}) == list(map(Path, folders))


def test_every_bank_is_described(banks):
    drawn, real = map(provenance.describe_bank, banks)
    assert (drawn["name"], drawn["volumes"], drawn["synthetic"], drawn["real"]) == ("drawn", 6, 6, 0)
    assert drawn["git"] == "test" and "labels" not in drawn
    assert (real["volumes"], real["real"], real["labels"]["teacher"]) == (1, 1, [16, 32])
    assert real["command"] == "python -m training synthesize --output runs/real --count 1 --seed 3"
    assert "by a teacher of widths 16-32 (weights abababababab)" in model_card.bank_line(real)
    assert reproduce.bank_commands(real) == [LABELING, real["command"]]


def test_the_sources_of_all_banks_are_listed_once(banks):
    found = provenance.sources([*banks, banks[0]])
    assert [one["name"] for one in found] == ["lidc_idri_0001", "phantom"]
    assert all(one["license"] and one["origin"] and one["label"] for one in found)


def test_a_ct_is_known_by_its_content_not_by_its_name():
    entry = provenance.known()["msd_liver_02"]
    assert provenance.origin("msd_liver_02", content=entry["content"] + 48 * "0")["label"] == "expert"
    other = provenance.origin("msd_liver_02", content=64 * "0")
    assert set(other.values()) == {provenance.NOT_STATED}
    renamed = provenance.origin("mine", content=entry["content"] + 48 * "0")
    assert renamed == {"origin": entry["origin"], "license": entry["license"], "label": provenance.NOT_STATED}
    assert provenance.origin("icrp110_male", "synthetic")["origin"] != provenance.NOT_STATED
    assert provenance.origin("icrp110_male", "real")["origin"] == provenance.NOT_STATED  # a CT that is called so


def test_every_ct_in_the_list_has_its_content():
    lacking = {name for name, entry in provenance.known().items() if "content" not in entry}
    assert lacking == {
        *("icrp110_male", "icrp110_female", "totalsegmentator_s0327", "totalsegmentator_s0328"),
        *("phantom", "drawn-head", "drawn-limb"),
    }


def test_a_bank_that_is_gone_is_reported(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        provenance.describe_bank(tmp_path / "gone")


@pytest.fixture
def softenedScans(tmp_path):
    """Packed scans with the record that `soften` leaves; one scan kept its label."""
    folder = makeScans(tmp_path / "scans-soft")
    index = folder / "scans.json"
    about = json.loads(index.read_text(encoding="utf-8"))
    teachers = [
        {"widths": [2, 3], "weights_sha256": 64 * "c"},
        {"widths": [2, 3], "weights_sha256": 64 * "d"} | TEACHER,
    ]
    command = "python -m training soften runs/old/checkpoint.pt runs/fine/checkpoint.pt --scans runs/fine-scans"
    soft = {"teachers": teachers, "share": 0.5, "unsure": ["two"], "scans_sha256": 64 * "e", "command": command}
    index.write_text(json.dumps(about | {"soft_labels": soft}), encoding="utf-8")
    return folder


TEACHER = {"run": "runs/fine", "command": "python -m training fit teacher --run runs/fine", "banks": []} | {
    "data": [{"name": "four"}]
}


def test_scans_with_soft_labels_are_made_by_pack_and_soften(softenedScans):
    bank = provenance.describe_bank(softenedScans)
    packing, softening = reproduce.bank_commands(bank)
    assert packing == "python -m training pack --output runs/fine-scans"
    assert softening.startswith("python -m training soften runs/old/")
    shown = model_card.bank_line(bank)
    assert "mixed with 50% of the mean answer of teachers on this grid (cccccccccccc, dddddddddddd)" in shown
    assert shown.endswith("not used, as wrong: two")


def test_the_card_says_whose_labels_were_mixed(softenedScans, monkeypatch):
    known = {name: {"origin": "o", "license": "l", "label": label, "content": content} for name, label, content in MADE}
    monkeypatch.setattr(provenance, "known", lambda: known)
    found = {one["name"]: one["label"] for one in provenance.sources([softenedScans])}
    assert found == {"one": f"expert, mixed with {provenance.SOFT}", "two": "expert", "three": provenance.SOFT}


MADE = (
    ("one", "expert", "one"),
    ("two", "expert", "two"),
    ("three", f"{provenance.NO_LABEL}: distillation only", "three"),
)


def test_what_the_teachers_of_soft_labels_were_trained_on_counts_and_they_are_trained_first(softenedScans):
    bank = provenance.describe_bank(softenedScans)
    run = {"run": "runs/student", "command": "python -m training fit student --run runs/student", "banks": [bank]}
    assert training_history.sources({"training": run | {"data": [{"name": "one"}]}}) == {"one", "four"}
    lines = reproduce.commands({"student": {"training": run}}, reproduce.Folders())
    teacher = next(n for n, line in enumerate(lines) if line == TEACHER["command"])
    softening = next(n for n, line in enumerate(lines) if " soften " in line)
    packing = next(n for n, line in enumerate(lines) if " pack " in line)
    assert teacher < softening and packing < softening < lines.index(run["command"])
    assert "runs/fine/checkpoint.pt" in lines[softening]
