"""Masks of a network for CTs that have none, and how synthesis takes them in."""

import json
import shutil

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.standalone.image_files import is_as_written, read_ct, read_labels
from support.full_disk import fullDisk
from support.volumes import write_image
from training.data import samples
from training.errors import UserError
from training.options import Pseudolabel, SynthesisConfig
from training.studies import pseudolabels
from training.synthesis.phantom import ct_phantom
from training.synthesis.source_library import own_scans

pytestmark = pytest.mark.slow

LEAST_DICE = 0.9


@pytest.fixture(scope="module")
def labels(sampleFolder, tmp_path_factory):
    """The sample CT and a second name for it, outlined by the small student; a third was excluded."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "ct").mkdir()
    for name in ("one", "two", "three"):
        shutil.copy(samples.CT, folder / "ct" / f"{name}.nii.gz")
    shutil.copy(samples.CT_REFERENCE, folder / "ct" / "two_liver_pseudo.nii.gz")
    pseudolabels.pseudolabel(Pseudolabel("student-30k", (str(folder / "ct"),), ("three",), folder / "labels"))
    return folder


def test_masks_lie_on_the_grid_of_their_ct_and_overlap_with_the_liver(labels):
    ct = read_ct(samples.CT)
    reference = read_labels(samples.CT_REFERENCE, ct) == samples.LIVER_LABEL
    mask = read_labels(labels / "labels" / "one.nii.gz", ct) > 0  # refuses another grid
    assert 2 * (mask & reference).sum() / (mask.sum() + reference.sum()) > LEAST_DICE
    assert not (labels / "labels" / "three.nii.gz").exists() and is_as_written(labels / "labels" / "one.nii.gz")


def test_the_record_names_the_network_and_its_uncertainty(labels):
    record = json.loads((labels / "labels" / "labels.json").read_text(encoding="utf-8"))
    one, two = record["scans"]
    assert record["teacher"] == list(weight_file.load("student-30k").widths) and len(record["weights_sha256"]) == 64
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["ml"] > 900 and 0 < one["uncertain"] < 0.5
    assert "dice_with_older" not in one and 0 < two["dice_with_older"] < 1  # the older one holds many organs
    assert (labels / "labels" / "labels.png").stat().st_size > 10_000


def test_a_ct_that_cannot_be_read_is_left_out_and_named(labels, tmp_path, capsys):
    shutil.copy(samples.CT, tmp_path / "my_liver_scan.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    for ending in ("", "_liver"):  # labelled by people
        (tmp_path / f"labelled{ending}.nii.gz").write_bytes(b"not read")
    pseudolabels.pseudolabel(Pseudolabel("student-30k", (str(tmp_path),), output=tmp_path / "labels"))
    record = json.loads((tmp_path / "labels" / "labels.json").read_text(encoding="utf-8"))
    assert [scan["name"] for scan in record["scans"]] == ["my_liver_scan"] and list(record["left_out"]) == ["broken"]
    assert "broken: left out" in capsys.readouterr().out


def test_what_is_there_is_left_alone(labels):
    options = Pseudolabel("student-30k", (str(labels / "ct"),), ("two", "three"), labels / "labels")
    with pytest.raises(UserError, match="is there already"):
        pseudolabels.pseudolabel(options)
    assert (labels / "labels" / "two.nii.gz").exists()


def test_a_full_disk_or_an_interruption_leave_nothing(tmp_path, monkeypatch):
    write_image(tmp_path / "body.nii.gz", ct_phantom(0, 8.0)[0].hu, 8.0)
    options = Pseudolabel("student-30k", (str(tmp_path / "body.nii.gz"),), output=tmp_path / "labels")
    with fullDisk(100), pytest.raises(UserError, match=r"masks cannot be written to .*; make room"):
        pseudolabels.pseudolabel(options)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pseudolabels, "figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pseudolabels.pseudolabel(options)
    assert [one.name for one in tmp_path.iterdir()] == ["body.nii.gz"]


def test_two_cts_of_one_name_are_refused(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ct.nii.gz").touch()
    with pytest.raises(UserError, match="Two CTs are called ct"):
        pseudolabels.cts(Pseudolabel("t", tuple(str(tmp_path / folder / "ct.nii.gz") for folder in "ab")))


def test_the_average_over_shifts_is_no_shift_itself(labels):
    network = weight_file.load("student-30k")
    image = np.full((16, 32, 48), -1, np.float32)
    image[4:12, 8:24, 10:40] = 0.3
    averaged, single = pseudolabels.ShiftAveragedEngine(network, "numpy"), NumpyEngine(network)
    moved = np.roll(image, (1, 1, 1), (0, 1, 2))
    inside = (slice(2, -2),) * 3

    def drift(engine) -> float:
        answer, later = engine.forward(image), np.roll(engine.forward(moved), (-1, -1, -1), (0, 1, 2))
        return float(np.abs(answer - later)[inside].mean())

    assert drift(averaged) < 0.8 * drift(single)


def test_synthesis_takes_the_new_masks_in_place_of_the_old_ones(labels):
    config = SynthesisConfig(data=labels, labels=labels / "labels", exclude=("three",))
    scans = {scan.name: scan.mask for scan, part in own_scans(config).items() if part == "train"}
    assert scans == {name: labels / "labels" / f"{name}.nii.gz" for name in ("one", "two")}
