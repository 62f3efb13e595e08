"""A data set of one's own: trained on alone, every CT of it, bad ones left out; folders that hold something else."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from support.volumes import write_image
from training.__main__ import main
from training.data.bank import Bank, BankError
from training.data.cache import CachedScan, prepare
from training.data.scans import Scan
from training.errors import UserError
from training.options import WEIGHTS, Effects, SynthesisConfig
from training.synthesis import build
from training.synthesis.build import planned_sources, synthesize
from training.synthesis.phantom import ct_phantom, tissue_phantom
from training.synthesis.source_library import dataset_scans, require_names, trained_alone, with_shares
from training.synthesis.sources import Source, ct_source

MM = 6.0


@pytest.fixture(scope="module")
def bodies():
    return [ct_phantom(seed, MM) for seed in range(3)]


@pytest.fixture
def data(tmp_path, bodies):
    """A data folder with a tissue map and a CT with a pseudo-label, which nobody asked for."""
    folder, (ct, mask) = tmp_path / "data", bodies[2]
    write_image(folder / "tissue_maps" / "map.nii.gz", tissue_phantom(0, MM)[:, ::-1, ::-1], MM)
    write_image(folder / "ct" / "other.nii.gz", ct.hu, MM)
    write_image(folder / "ct" / "other_liver_pseudo.nii.gz", mask.astype(np.uint8), MM)
    return folder


@pytest.fixture
def config(tmp_path, bodies, data, monkeypatch):
    """A bank of two labelled CTs "a" and "b", beside a data folder."""
    monkeypatch.setenv("LIVERGTAN_DATA", str(data))
    for name, (ct, mask) in zip("ab", bodies):
        write_pair(tmp_path / "own", name, ct.hu, mask)
    return SynthesisConfig(
        output=tmp_path / "bank",
        cache=tmp_path / "cache",
        datasets=(f"pairs={tmp_path / 'own'}",),
        validation_share=0.0,
        count=6,
        shape=(16, 24, 28),
        spacing_mm=9.0,
        fine_mm=6.0,
        workers=1,
    )


def write_pair(folder, name, hu, mask):
    write_image(folder / "images" / f"{name}.nii.gz", hu, MM)
    write_image(folder / "labels" / f"{name}.nii.gz", mask.astype(np.uint8), MM)


def silent(text):
    pass


def used(bank):
    return {bank.record(n)["source"] for n in range(len(bank))}


@pytest.mark.slow
def test_a_labelled_data_set_is_trained_on_alone(config):
    bank = synthesize(config, silent)
    assert used(bank) == {"a", "b"} and {bank.record(n)["kind"] for n in range(6)} == {"real"}
    assert set(bank.meta["contents"]) == {"a", "b"} and bank.meta["left_out"] == {}
    again = synthesize(replace(config, count=6), silent)
    assert len(again) == 6


@pytest.mark.slow
def test_other_cts_and_maps_take_part_if_asked_for(config):
    assert used(synthesize(replace(config, real_share=0.8, count=24), silent)) >= {"a", "b", "other", "map"}


def test_unlabelled_cts_are_not_trained_on_alone(config, tmp_path):
    bare = replace(config, datasets=(f"unlabelled={tmp_path / 'own' / 'images'}",))
    assert trained_alone(config, dataset_scans(config)) and not trained_alone(bare, dataset_scans(bare))
    assert with_shares(bare, False).real_share == 0.23 and with_shares(bare, False).heads_and_limbs_share == 0.04


@pytest.mark.slow
def test_bad_scans_are_left_out_and_named_in_the_record(config, bodies, tmp_path):
    ct, mask = bodies[2]
    write_pair(tmp_path / "own", "mirrored", ct.hu, mask[:, :, ::-1])
    with pytest.raises(UserError, match="1 of 3 scans cannot be used"):
        synthesize(config, silent)
    assert not config.output.exists()
    bank = synthesize(replace(config, skip_bad=True), silent)
    assert used(bank) == {"a", "b"}
    assert "mirrored against each other" in bank.meta["left_out"]["mirrored"]
    assert set(json.loads((bank.path / "split.json").read_text())["scans"]) == {"a", "b"}


@pytest.mark.slow
def test_the_split_holds_what_validation_needs(config, tmp_path):
    synthesize(replace(config, validation_share=0.5, count=2), silent)
    scans = json.loads((config.output / "split.json").read_text())["scans"]
    assert {entry["part"] for entry in scans.values()} == {"train", "validation"}
    assert all(len(entry["content"]) == 64 and entry["ct"].startswith("/") for entry in scans.values())


@pytest.mark.slow
def test_a_bank_of_an_earlier_version_goes_on(config, data):
    config = replace(config, datasets=(), data=data, count=3)
    bank = synthesize(config, silent)
    older = {name: value for name, value in bank.meta["config"].items() if name != "skip_bad"}
    bank.add_meta({"config": older | {"real_share": 0.23, "heads_and_limbs_share": 0.04}})
    assert len(synthesize(config, silent)) == 3


@pytest.mark.slow
def test_differences_of_a_configuration_are_named_with_their_values(config):
    synthesize(replace(config, count=1), silent)
    other = replace(config, count=2, seed=3, effects=replace(Effects(), noise=0.5))
    with pytest.raises(BankError) as refused:
        synthesize(other, silent)
    for text in ("seed: 0 -> 3", "effects.noise: 0.95 -> 0.5", "count: 1 -> 2"):
        assert text in str(refused.value)
    with pytest.raises(BankError, match=r"real_share: 1\.0 -> 0\.5"):
        synthesize(replace(config, count=1, real_share=0.5), silent)


# --- every CT of a thousand ---


def entries(count, folder="none"):
    return [CachedScan(Scan(f"ct{n}", f"ct{n}", "/ct", "/mask"), folder, "", MM, "") for n in range(count)]


def test_cts_take_turns_so_that_every_one_is_seen():
    reals, config = entries(1000), with_shares(SynthesisConfig(count=3000), True)
    names = [one.name for one in planned_sources([], reals, [], config)]
    for first in (0, 1000, 2000):
        assert len(set(names[first : first + 1000])) == 1000
    assert names[:1000] != names[1000:2000] and names == [one.name for one in planned_sources([], reals, [], config)]


def test_cts_of_other_weights_are_drawn_by_them():
    first, *others = entries(4)
    reals = [replace(first, scan=replace(first.scan, weight=5.0)), *others]
    config = with_shares(SynthesisConfig(count=400), True)
    names = [one.name for one in planned_sources([], reals, [], config)]
    assert 200 < names.count("ct0") < 300


def test_cts_in_no_volume_are_named():
    reals, reports = entries(4), []
    config = with_shares(SynthesisConfig(count=3), True)
    build.report_unused(planned_sources([], reals, [], config), reals, config, reports.append)
    assert "1 of 4 CTs are in none of the 3 volumes (ct" in reports[0]


@pytest.mark.slow
def test_a_thousand_cts_take_few_open_files(bodies, tmp_path):
    write_pair(tmp_path / "own", "a", bodies[0][0].hu, bodies[0][1])
    [entry] = prepare(dataset_scans(SynthesisConfig(datasets=(f"pairs={tmp_path / 'own'}",))), tmp_path / "cache", MM)
    copies = [replace(entry, folder=shutil.copytree(entry.folder, tmp_path / f"copy{n}")) for n in range(150)]
    resource = pytest.importorskip("resource")  # absent on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # 450 arrays would be too many
    try:
        assert all(ct_source(copy).tissue.shape == entry.tissue.shape for copy in copies)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what is refused ---


def test_masks_of_a_teacher_go_to_the_unlabelled_cts_of_their_names(config, bodies, tmp_path):
    """They are trained on and never validated on; masks of other CTs are refused."""
    labels = tmp_path / "labels"
    write_image(tmp_path / "bare" / "deep" / "new.nii.gz", bodies[0][0].hu, MM)
    write_image(tmp_path / "bare" / "old.nii.gz", bodies[1][0].hu, MM)
    write_image(labels / "deep-new.nii.gz", bodies[0][1].astype(np.uint8), MM)
    given = replace(config, datasets=(f"unlabelled={tmp_path / 'bare'}",), labels=labels, validation_share=1.0)
    scans = {scan.name: scan for scan in dataset_scans(given)}
    assert scans["deep-new"].mask == labels / "deep-new.nii.gz" and scans["deep-new"].part == "train"
    assert not scans["old"].labelled
    require_names(given, set(), set(scans))
    write_image(labels / "other.nii.gz", bodies[1][1].astype(np.uint8), MM)
    with pytest.raises(UserError, match="masks of other, but there is no such CT"):
        require_names(given, set(), set(scans))


@pytest.mark.parametrize("option", ["exclude", "unlabelled"])
def test_a_name_of_no_ct_is_refused(config, option):
    with pytest.raises(UserError, match=f"--{option} names tyop, but no CT of the data folder"):
        synthesize(replace(config, **{option: ("tyop",)}), silent)


def test_a_weight_of_no_ct_is_refused(config):
    with pytest.raises(UserError, match="--weights names tyop, but no CT"):
        synthesize(replace(config, weights={"a": 2.0, "tyop": 3.0}), silent)
    assert not config.output.exists()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (WEIGHTS, {"msd_liver_02": 1.0, "msd_liver_06": 1.0}),
        (WEIGHTS | {"msd_liver_06": 3.0}, {"msd_liver_02": 1.0, "msd_liver_06": 3.0}),  # as the command line gives it
        ({"msd_liver_02": 2.0}, {"msd_liver_02": 2.0, "msd_liver_06": 1.0}),
    ],
)
def test_the_default_weights_are_not_of_cts_of_ones_own(weights, expected, tmp_path):
    for name in expected:
        for folder in ("images", "labels"):
            write_image(tmp_path / folder / f"{name}.nii.gz", np.zeros((2, 2, 2), np.int16), MM)
    scans = dataset_scans(SynthesisConfig(datasets=(f"pairs={tmp_path}",), weights=weights))
    assert {scan.name: scan.weight for scan in scans} == expected


def test_the_same_name_in_two_data_sets_is_refused(config, tmp_path, bodies):
    write_pair(tmp_path / "second", "a", bodies[2][0].hu, bodies[2][1])
    with pytest.raises(UserError, match="Two data sets have a scan a"):
        synthesize(replace(config, datasets=(*config.datasets, f"pairs={tmp_path / 'second'}")), silent)


@pytest.mark.parametrize("second", ["unlabelled={}/images", "pairs={}:2"])
def test_the_same_files_are_not_two_cts(config, tmp_path, second):
    with pytest.raises(UserError, match="Two data sets have a scan a"):
        dataset_scans(replace(config, datasets=(*config.datasets, second.format(tmp_path / "own"))))


def test_a_data_set_that_is_named_twice_counts_once(config, tmp_path):
    twice = (*config.datasets, f"pairs={tmp_path / 'own'}/")
    assert [scan.name for scan in dataset_scans(replace(config, datasets=twice))] == ["a", "b"]


def test_a_ct_that_is_called_as_one_of_the_data_folder_is_refused(config, tmp_path, bodies):
    """Where those take part, too."""
    write_pair(tmp_path / "own", "other", bodies[1][0].hu, bodies[1][1])
    with pytest.raises(UserError, match="have one name: other"):
        synthesize(replace(config, real_share=0.5), silent)
    assert not config.output.exists()


def test_a_folder_with_other_files_is_refused(config):
    config.output.mkdir()
    (config.output / "thesis.tex").write_text("years of work")
    with pytest.raises(BankError, match=r"holds other files \(thesis\.tex\); choose another --output"):
        synthesize(config, silent)
    assert [path.name for path in config.output.iterdir()] == ["thesis.tex"]


def test_a_bank_that_lost_its_description_is_not_overwritten(config):
    bank = Bank.create(config.output, 2, config.shape, {"git": "test"})
    bank.write(0, np.ones(config.shape), np.ones(config.shape), {"labelled": True})
    (config.output / "bank.json").unlink()
    with pytest.raises(BankError, match=r"lost its bank\.json"):
        synthesize(config, silent)
    assert np.load(config.output / "images.npy").any()


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_masks_without_their_record_are_refused_before_anything_starts(config, tmp_path, content, capsys):
    labels = tmp_path / "labels"
    labels.mkdir()
    if content is not None:
        (labels / "labels.json").write_text(content)
    words = ["synthesize", "--output", str(config.output), "--labels", str(labels), "--phantom"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "labels.json" in error and "pseudolabel" in error and error.count("\n") == 1
    assert not config.output.exists()


def test_maps_and_cts_of_one_name_are_no_confusion(config):
    source = Source("ct0", np.zeros((2, 2, 2), np.uint8), MM)
    config = replace(with_shares(replace(config, count=40), True), real_share=0.5)
    kinds = {type(one) for one in planned_sources([source], entries(1), [], config)}
    assert kinds == {Source, CachedScan}
