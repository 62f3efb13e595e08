"""Banks on disk: resumable, the same whatever the number of processes, refused without data."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from support.volumes import write_image
from training.data.bank import BankError
from training.data.cache import CachedScan
from training.data.scans import Scan
from training.data.tissues import Tissue
from training.errors import UserError
from training.options import SynthesisConfig
from training.synthesis import build
from training.synthesis.build import choose_source, synthesize
from training.synthesis.heads_and_limbs import drawn_sources
from training.synthesis.phantom import ct_phantom, tissue_phantom
from training.synthesis.source_library import load_maps, own_scans
from training.synthesis.sources import Source, read_tissue_map

MM = 6.0


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A small bank of drawn bodies: no data folder is in sight."""
    monkeypatch.setenv("LIVERGTAN_DATA", str(tmp_path / "nothing"))
    return SynthesisConfig(
        phantom=True,
        output=tmp_path / "bank",
        cache=tmp_path / "cache",
        count=5,
        shape=(16, 24, 28),
        spacing_mm=9.0,
        fine_mm=6.0,
        heads_and_limbs_share=0.0,
        workers=1,
    )


@pytest.fixture
def data(tmp_path):
    """A data folder in the project's own layout: one tissue map, two CTs with pseudo-labels, one without."""
    folder = tmp_path / "data"
    write_image(folder / "tissue_maps" / "one.nii.gz", tissue_phantom(0, MM)[:, ::-1, ::-1], MM)
    for seed, name in enumerate(("a", "b", "c")):
        ct, mask = ct_phantom(seed, MM)
        write_image(folder / "ct" / f"{name}.nii.gz", ct.hu, MM)
        if name != "c":
            write_image(folder / "ct" / f"{name}_liver_pseudo.nii.gz", mask.astype(np.uint8), MM)
    return folder


def silent(text):
    pass


@pytest.mark.slow
def test_drawn_bodies_are_the_anatomy_if_asked_for(config):
    reports = []
    bank = synthesize(config, reports.append)
    assert len(bank) == 5 and all(bank.record(n)["source"].startswith("phantom-") for n in range(5))
    assert any("volumes/s" in text for text in reports)
    assert bank.meta["shape"] == [16, 24, 28] and bank.meta["config"]["seed"] == 0 and bank.meta["versions"]["numpy"]


def test_without_data_nothing_is_made_up(config):
    with pytest.raises(UserError, match="or give --phantom"):
        synthesize(replace(config, phantom=False), silent)
    with pytest.raises(UserError, match="but there is none"):
        synthesize(replace(config, phantom=False, real_share=1.0), silent)
    assert not config.output.exists()


@pytest.mark.slow
def test_it_is_reported_that_no_real_ct_takes_part(config):
    reports = []
    synthesize(replace(config, count=1), reports.append)
    assert any("all volumes are synthetic" in text for text in reports)


@pytest.mark.slow
def test_an_unfinished_bank_is_continued_and_equals_a_whole_one(config, tmp_path):
    whole = synthesize(config, silent)
    part = synthesize(replace(config, output=tmp_path / "part"), silent)
    lines = (part.path / "index.jsonl").read_text().splitlines()
    (part.path / "index.jsonl").write_text("\n".join(line for line in lines if '"i": 3' not in line) + "\n")
    kept = np.load(part.path / "images.npy", mmap_mode="r+")
    kept[3] = 0
    kept.flush()
    again = synthesize(replace(config, output=tmp_path / "part"), silent)
    assert len(again) == 5
    assert np.array_equal(again.images, whole.images) and np.array_equal(again.labels, whole.labels)


@pytest.mark.slow
def test_two_processes_make_the_same_bank(config, tmp_path):
    one = synthesize(config, silent)
    two = synthesize(replace(config, output=tmp_path / "two", workers=2), silent)
    assert np.array_equal(one.images, two.images) and np.array_equal(one.labels, two.labels)


@pytest.mark.slow
def test_a_finished_bank_is_left_alone(config):
    synthesize(config, silent)
    before = (config.output / "index.jsonl").read_text()
    synthesize(config, silent)
    assert (config.output / "index.jsonl").read_text() == before


@pytest.mark.slow
def test_another_configuration_is_refused(config):
    synthesize(config, silent)
    with pytest.raises(BankError, match="another configuration"):
        synthesize(replace(config, seed=1), silent)


@pytest.mark.slow
def test_a_bank_is_not_continued_from_other_sources(config, data):
    config = replace(config, data=data, phantom=False, real_share=0.5)
    bank = synthesize(config, silent)
    lines = (bank.path / "index.jsonl").read_text().splitlines()
    (bank.path / "index.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    (data / "ct" / "a.nii.gz").rename(data / "ct" / "d.nii.gz")
    (data / "ct" / "a_liver_pseudo.nii.gz").rename(data / "ct" / "d_liver_pseudo.nii.gz")
    with pytest.raises(BankError, match="other sources \\(a, d differ, are new or gone\\)"):
        synthesize(config, silent)


@pytest.mark.slow
def test_a_bank_continued_by_other_code_says_so(config, monkeypatch):
    bank = synthesize(config, silent)
    (bank.path / "index.jsonl").write_text("".join((bank.path / "index.jsonl").read_text().splitlines(True)[:-1]))
    monkeypatch.setattr(build, "commit", lambda: "another")
    reports = []
    again = synthesize(config, reports.append)
    assert again.meta["git"] == f"{bank.meta['git']}, another" and any(
        "goes on with another" in text for text in reports
    )


@pytest.mark.slow
def test_the_contact_sheet_is_a_picture(config, tmp_path):
    synthesize(replace(config, picture=tmp_path / "sheet.png"), silent)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_real_cts_take_part_and_excluded_ones_do_not(config, data):
    config = replace(config, data=data, phantom=False, count=16, real_share=0.5, exclude=("b",))
    bank = synthesize(config, silent)
    sources = {bank.record(n)["source"] for n in range(16)}
    assert sources == {"one", "a"}
    kinds = [bank.record(n)["kind"] for n in range(16)]
    assert {"real", "synthetic"} == set(kinds) and all(bank[n][2] for n in range(16))


def test_own_scans_are_those_with_a_pseudo_label_and_the_excluded(config, data):
    parts = {
        scan.name: part
        for scan, part in own_scans(replace(config, data=data, phantom=False, exclude=("b", "c"))).items()
    }
    assert parts == {"a": "train", "b": "validation", "c": "validation"}


def test_an_uncertain_label_can_be_left_aside(config, data):
    scans = own_scans(replace(config, data=data, phantom=False, exclude=(), unlabelled=("b", "c")))
    assert {scan.name: scan.labelled for scan in scans} == {"a": True, "b": False, "c": False}
    assert set(scans.values()) == {"train"}


@pytest.mark.slow
def test_a_data_set_that_holds_an_excluded_scan_is_refused(config, data, tmp_path):
    ct, mask = ct_phantom(1, MM)  # the scan "b" of the data folder, under another name
    write_image(tmp_path / "more" / "images" / "new.nii.gz", ct.hu, MM)
    write_image(tmp_path / "more" / "labels" / "new.nii.gz", mask.astype(np.uint8), MM)
    config = replace(
        config, data=data, phantom=False, exclude=("b",), datasets=(f"pairs={tmp_path / 'more'}",), validation_share=0.0
    )
    with pytest.raises(UserError, match="same scan"):
        synthesize(config, silent)


@pytest.mark.slow
def test_a_data_set_feeds_the_bank_without_its_validation_patients(config, tmp_path):
    for seed in range(4):
        ct, mask = ct_phantom(seed, MM)
        write_image(tmp_path / "lits" / f"volume-{seed}.nii", ct.hu, MM)
        write_image(tmp_path / "lits" / f"segmentation-{seed}.nii", mask.astype(np.uint8), MM)
    config = replace(config, datasets=(f"lits={tmp_path / 'lits'}",), validation_share=0.5, real_share=1.0, count=12)
    bank = synthesize(config, silent)
    parts = {name: scan["part"] for name, scan in json.loads((bank.path / "split.json").read_text())["scans"].items()}
    assert set(parts.values()) == {"train", "validation"}
    used = {bank.record(n)["source"] for n in range(12)}
    assert used == {name for name, part in parts.items() if part == "train"}


def test_unlabelled_scans_are_marked(config, tmp_path):
    ct, _ = ct_phantom(0, MM)
    write_image(tmp_path / "bare" / "x.nii.gz", ct.hu, MM)
    bank = synthesize(replace(config, datasets=(f"unlabelled={tmp_path / 'bare'}",), real_share=1.0), silent)
    assert not any(bank[n][2] for n in range(5)) and not bank.labels.any()


@pytest.mark.slow
def test_a_killed_worker_is_explained_and_its_work_stays(config, monkeypatch):
    """The worker kills itself in place of the system's memory guard."""
    monkeypatch.setattr(build, "_make", _die)
    with pytest.raises(BankError, match="start the same command again"):
        synthesize(replace(config, workers=2), silent)
    monkeypatch.undo()
    assert len(synthesize(config, silent)) == 5


def _die(numbers):
    os.kill(os.getpid(), signal.SIGKILL)


def test_weights_say_how_often_a_ct_is_drawn(config, tmp_path):
    scans = [Scan(name, name, tmp_path, weight=weight) for name, weight in (("a", 9.0), ("b", 1.0))]
    reals = [CachedScan(scan, tmp_path, "", MM, "") for scan in scans]
    config = replace(config, real_share=1.0)
    drawn = [choose_source([], reals, [], config, seed).name for seed in range(200)]
    assert 160 < drawn.count("a") < 198


@pytest.mark.slow
def test_heads_and_limbs_take_their_share_and_hold_no_liver(config):
    from training.release.provenance import sources

    bank = synthesize(replace(config, heads_and_limbs_share=0.5, count=8))
    drawn = [n for n in range(8) if bank.record(n)["source"].startswith("drawn-")]
    assert 2 <= len(drawn) <= 6
    assert all(bank[n][1].max() == 0 and bank[n][2] for n in drawn)
    assert any((bank[n][0] > 0.9).any() for n in drawn)  # bone is in view
    named = {source["name"]: source["license"] for source in sources([config.output])}
    assert named.keys() <= {"drawn-head", "drawn-limb", "phantom"} and all(named.values())


@pytest.mark.parametrize("source", drawn_sources(6.0), ids=lambda source: source.name)
def test_drawn_bodies_hold_soft_tissue_and_bone_inside_a_skin(source):
    codes = np.bincount(source.tissue.ravel(), minlength=32)
    assert codes[Tissue.LIVER] == 0 and codes[Tissue.AIR] > 0.3 * source.tissue.size
    assert codes[Tissue.CORTICAL_BONE] > 50 and codes[Tissue.SKIN] + codes[Tissue.FAT] > 50
    assert codes[[Tissue.MUSCLE, Tissue.CORD, Tissue.OTHER]].sum() > 500
    assert len(source.liver_voxels) == 0


def test_a_missing_or_empty_data_folder_is_reported(config, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_maps(replace(config, data=tmp_path / "typo", phantom=False))
    (tmp_path / "empty" / "tissue_maps").mkdir(parents=True)
    with pytest.raises(UserError, match="no tissue maps to synthesize from"):
        load_maps(replace(config, data=tmp_path / "empty", phantom=False))


def test_tissue_maps_are_turned_to_the_patient_axes(tmp_path):
    codes = tissue_phantom(0, MM)
    write_image(tmp_path / "lps.nii.gz", codes[:, ::-1, ::-1], MM)
    write_image(tmp_path / "ras.nii.gz", codes, MM, flipped=True)
    expected = read_tissue_map(tmp_path / "lps.nii.gz", MM).tissue
    assert np.array_equal(read_tissue_map(tmp_path / "ras.nii.gz", MM).tissue, expected)
    assert np.array_equal(expected == Tissue.SPLEEN, codes == Tissue.SPLEEN)


def test_a_map_with_unknown_codes_is_refused(tmp_path):
    write_image(tmp_path / "odd.nii.gz", np.full((4, 4, 4), 99, np.uint8), MM)
    with pytest.raises(ValueError, match="99 is not a tissue"):
        read_tissue_map(tmp_path / "odd.nii.gz", MM)


def test_the_shared_tissue_maps_make_livers(sharedData):
    maps = load_maps(SynthesisConfig(data=sharedData, fine_mm=6.0, spacing_mm=9.0))
    assert len(maps) == 4
    for source in maps:
        assert 1000 < (source.tissue == Tissue.LIVER).sum() * 6**3 / 1000 < 2600
        assert (source.tissue == Tissue.CAVITY_FAT).any()
