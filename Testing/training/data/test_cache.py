"""Prepared scans in the cache are as they were written, or prepared anew with a word; nothing is left half written."""

import json
import shutil

import numpy as np
import pytest

from support.full_disk import fullDisk
from support.volumes import write_image
from training.data import cache, layouts
from training.data.cache import prepare
from training.errors import UserError
from training.synthesis.phantom import ct_phantom

MM = 8.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of one pair, and a cache that holds it."""
    folder, (ct, mask) = tmp_path_factory.mktemp("data"), ct_phantom(0, MM)
    write_image(folder / "own" / "images" / "a.nii.gz", ct.hu, MM)
    write_image(folder / "own" / "labels" / "a.nii.gz", mask.astype(np.uint8), MM)
    prepared(folder)
    return folder


@pytest.fixture
def filled(data, tmp_path):
    """The same with a cache of its own."""
    shutil.copytree(data / "cache", tmp_path / "cache")
    return data, tmp_path / "cache"


def prepared(data, folder=None):
    reports = []
    [entry] = prepare(layouts.read(f"pairs={data / 'own'}"), folder or data / "cache", MM, report=reports.append)
    return entry, reports


def flip(file):
    array = np.load(file, mmap_mode="r+")
    array[0, 0, 0] ^= 1
    array.flush()


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


DAMAGE = {
    "bits of the CT": lambda folder: flip(folder / "hu.npy"),
    "bits of the label": lambda folder: flip(folder / "label.npy"),
    "bits of the tissues": lambda folder: flip(folder / "tissue.npy"),
    "another array": lambda folder: np.save(folder / "label.npy", np.zeros((2, 2, 2), np.uint8)),
    "no label": lambda folder: (folder / "label.npy").unlink(),
    "half a CT": lambda folder: (folder / "hu.npy").write_bytes((folder / "hu.npy").read_bytes()[:5000]),
    "no record": lambda folder: (folder / "entry.json").unlink(),
    "no JSON": lambda folder: (folder / "entry.json").write_text("{"),
    "a list": lambda folder: (folder / "entry.json").write_text("[]"),
    "another content": lambda folder: rewrite(folder / "entry.json", content="0" * 64),
    "another digest of the arrays": lambda folder: rewrite(folder / "entry.json", sha256="0" * 64),
    "no note": lambda folder: rewrite(folder / "entry.json", notes=["all is well"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_it_was_written_is_prepared_anew_with_a_word(filled, damage):
    data, folder = filled
    before, reports = prepared(data, folder)
    assert not reports
    kept = {file.name: file.read_bytes() for file in before.folder.iterdir()}
    damage(before.folder)
    after, reports = prepared(data, folder)
    assert reports[0].startswith("What the cache holds of a is damaged (") and reports[1].startswith("1/1 a: prepared")
    assert after == before and {file.name: file.read_bytes() for file in after.folder.iterdir()} == kept
    assert prepared(data, folder) == (before, []) and len(list(folder.iterdir())) == 1


def test_a_full_disk_leaves_nothing_in_the_cache(data, tmp_path):
    with fullDisk(5000), pytest.raises(UserError, match=r"cache cannot be written \(.*written\); make room"):
        prepared(data, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_an_interrupted_preparation_leaves_nothing_in_the_cache(data, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "coarse_tissue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(data, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_an_entry_that_another_process_wrote_meanwhile_is_kept(data, tmp_path, monkeypatch):
    """The second process finds no entry, and the first one's when it has prepared its own."""
    tissue = cache.coarse_tissue

    def overtaken(*arrays):
        shutil.copytree(data / "cache", tmp_path / "cache", dirs_exist_ok=True)
        return tissue(*arrays)

    monkeypatch.setattr(cache, "coarse_tissue", overtaken)
    entry, _ = prepared(data, tmp_path / "cache")
    assert entry.hu.max() > 0 and [one.name for one in (tmp_path / "cache").iterdir()] == [entry.folder.name]
