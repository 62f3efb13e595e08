"""Validation on the cases that the split sets aside, opened when needed; none of them may be in a bank."""

import json
import logging
import os
import shutil

import numpy as np
import pytest

from LiverGTANLib.core.volume import CtVolume
from support.training_fixtures import logged, makeBank, options, smallConfig
from support.volumes import write_image
from training.__main__ import main
from training.data.bank import Bank
from training.data.cases import Case, on_model_grid, parse_cases
from training.data.copy_checks import sketch
from training.data.scans import ScanError, content_hash
from training.errors import UserError
from training.fit import validate
from training.fit.validate import validator
from training.model.nets import UNet3D
from training.options import DataSettings
from training.synthesis.phantom import ct_phantom

MM = 8.0


@pytest.fixture(scope="module")
def body():
    return ct_phantom(0, MM)


def write_case(folder, name, body, value=1, **where):
    ct, mask = body
    return (
        write_image(folder / f"{name}.nii.gz", ct.hu, MM, **where),
        write_image(folder / f"{name}-liver.nii.gz", mask.astype(np.uint8) * np.uint8(value), MM, **where),
    )


def bank_of(path, **meta):
    bank = Bank.open(makeBank(path), writable=True)
    bank.add_meta(meta)
    return path


def write_split(bank, entries):
    scans = {
        name: {"part": part, "patient": name, "ct": str(ct), "mask": str(mask), "liver": liver, "content": content}
        for name, (part, ct, mask, liver, content) in entries.items()
    }
    (bank / "split.json").write_text(json.dumps({"scans": scans}))


def test_the_split_that_was_recorded_is_validated_on(tmp_path, body):
    bank, (ct, mask) = bank_of(tmp_path / "bank", contents={}), write_case(tmp_path, "a", body, value=5)
    write_split(bank, {"a": ("validation", ct, mask, [5], "1"), "b": ("train", ct, mask, [5], "2")})
    words = ["fit", "student", "--run", str(tmp_path / "run"), "--student-widths", "2", "3"]
    assert main([*words, *options(smallConfig(bank, steps=2))]) == 0
    figures = {name for _, name, _ in logged(tmp_path / "run") if "/" in name}
    assert figures == {"student/a"} and (tmp_path / "run" / "best.pt").exists()


def test_files_are_opened_at_the_first_validation_and_once(tmp_path, body, monkeypatch):
    bank, (ct, mask) = bank_of(tmp_path / "bank", contents={}), write_case(tmp_path, "a", body)
    write_split(bank, {"a": ("validation", ct, mask, None, "1")})
    opened = []
    read = validate.Scan.read
    monkeypatch.setattr(validate.Scan, "read", lambda scan: (opened.append(scan.name), read(scan))[1])
    watch = validator(DataSettings((bank,)))
    assert opened == []
    net = UNet3D((2, 3)).eval()
    assert watch(net) == watch(net) and opened == ["a"]


def test_named_cases_go_before_the_split(tmp_path, body):
    bank, (ct, mask) = bank_of(tmp_path / "bank", contents={}), write_case(tmp_path, "a", body)
    write_split(bank, {"b": ("validation", ct, mask, None, "1")})
    assert list(validator(DataSettings((bank,), (f"{ct}={mask}",))).cases) == ["a"]


def test_of_many_cases_some_are_watched_and_it_is_told(tmp_path, body, caplog):
    bank, (ct, mask) = bank_of(tmp_path / "bank", contents={}), write_case(tmp_path, "a", body)
    write_split(bank, {f"case{n}": ("validation", ct, mask, None, str(n)) for n in range(50)})
    caplog.set_level(logging.INFO, "training")
    watch = validator(DataSettings((bank,)))
    assert len(watch.cases) == validate.MOST_CASES and "32 of the 50 CTs" in caplog.text
    assert list(watch.cases) == list(validator(DataSettings((bank,))).cases)


def test_a_case_whose_files_are_gone_is_left_out_and_it_is_told(tmp_path, body, caplog):
    bank, (ct, mask) = bank_of(tmp_path / "bank", contents={}), write_case(tmp_path, "a", body)
    gone = tmp_path / "gone.nii.gz"
    write_split(bank, {"a": ("validation", ct, mask, None, "1"), "b": ("validation", gone, mask, None, "2")})
    assert list(validator(DataSettings((bank,))).cases) == ["a"]
    assert "b is set aside for validation, but" in caplog.text


def test_a_case_of_the_bank_is_refused_by_its_voxels_whatever_its_name(tmp_path, body):
    ct, mask = body
    bank = bank_of(tmp_path / "bank", contents={"trained": content_hash(ct)})
    turned = write_case(
        tmp_path, "renamed", (type(ct)(ct.hu[:, ::-1, ::-1], ct.ijk_to_ras), mask[:, ::-1, ::-1]), flipped=True
    )
    with pytest.raises(UserError, match=r"renamed \(there as trained\) is in the training data"):
        validator(DataSettings((bank,), ("=".join(map(str, turned)),)))


def test_a_case_that_another_bank_was_made_of_is_refused(tmp_path, body):
    first = bank_of(tmp_path / "first", contents={})
    second = bank_of(tmp_path / "second", contents={"there": "same"})
    ct, mask = write_case(tmp_path, "a", body)
    write_split(first, {"a": ("validation", ct, mask, None, "same")})
    with pytest.raises(UserError, match=r"a \(there as there\) is in the training data"):
        validator(DataSettings((first, second)))


def test_a_bank_without_a_record_of_its_contents_is_told(tmp_path, body, caplog):
    bank = Bank.create(tmp_path / "bank", 1, (16, 16, 24), {"git": "test"})
    bank.write(0, np.zeros(bank.shape), np.zeros(bank.shape), {"source": "x", "kind": "real", "labelled": True})
    validator(DataSettings((bank.path,), ("=".join(map(str, write_case(tmp_path, "a", body))),)))
    assert "by name alone" in caplog.text


@pytest.mark.parametrize("widths", [(2, 3), (2, 3, 4, 5, 6), (2, 2, 2, 2, 2, 2)])
def test_a_case_fits_every_network(tmp_path, body, widths):
    bank = bank_of(tmp_path / "bank", contents={})
    watch = validator(DataSettings((bank,), ("=".join(map(str, write_case(tmp_path, "a", body))),)))
    assert 0 <= watch(UNet3D(widths).eval())["a"] <= 1
    image, liver = on_model_grid(*body, 3.0, (-160.0, 240.0), 64)
    assert image.shape == liver.shape and not any(n % 64 for n in image.shape)


def test_two_cases_of_one_name_are_refused(tmp_path, body):
    texts = ["=".join(map(str, write_case(tmp_path / folder, "ct", body))) for folder in ("a", "b")]
    with pytest.raises(UserError, match="Two of the cases are called ct"):
        parse_cases(texts)


@pytest.mark.parametrize("way", ["copy", "link"])
def test_one_ct_under_two_names_is_refused(tmp_path, body, way):
    ct, mask = write_case(tmp_path, "a", body)
    other = tmp_path / "b.nii.gz"
    if way == "copy":
        shutil.copy(ct, other)
    else:
        os.link(ct, other)
    with pytest.raises(UserError, match="are the same CT, which would count twice"):
        parse_cases([f"{ct}={mask}", f"{other}={mask}"])


def test_a_reference_of_several_organs_needs_the_name_of_one(tmp_path, body, caplog):
    ct, mask = body
    organs = mask.astype(np.uint8) * np.uint8(5)
    organs[0] = 7
    files = write_image(tmp_path / "a.nii.gz", ct.hu, MM), write_image(tmp_path / "a-organs.nii.gz", organs, MM)
    with pytest.raises(ScanError, match="nothing says which is the liver"):
        Case.parse("=".join(map(str, files))).read()
    assert np.array_equal(Case.parse("=".join(map(str, files)) + ":5").mask, mask)
    assert not Case.parse("=".join(map(str, files)) + ":6").mask.any() and "label 6 does not occur" in caplog.text


def test_a_part_of_a_trained_ct_is_known_though_another_bank_has_a_ct_of_that_name(tmp_path, body):
    ct, mask = body
    hu = [np.random.default_rng(seed).normal(50, 15, ct.shape).astype(np.int16) for seed in range(2)]
    banks = tuple(
        bank_of(tmp_path / str(n), contents={"one": f"{n}"}, sketches={"one": sketch(CtVolume(one, ct.ijk_to_ras))})
        for n, one in enumerate(hu)
    )
    case = "=".join(map(str, write_case(tmp_path, "mine", (CtVolume(hu[0][1:-2], ct.ijk_to_ras), mask[1:-2]))))
    with pytest.raises(UserError, match=r"mine \(there as one\) is in the training data"):
        validator(DataSettings(banks, (case,)))


@pytest.mark.parametrize("change", ["cropped", "one voxel changed"])
def test_a_case_that_is_a_part_of_a_trained_ct_is_refused(tmp_path, body, change):
    ct, mask = body
    hu = np.random.default_rng(0).normal(50, 15, ct.shape).astype(np.int16)
    bank = bank_of(tmp_path / "bank", contents={}, sketches={"trained": sketch(CtVolume(hu, ct.ijk_to_ras))})
    if change == "cropped":
        part, mask = CtVolume(hu[1:-2], ct.ijk_to_ras), mask[1:-2]
    else:
        hu[0, 0, 0] += 1
        part = CtVolume(hu, ct.ijk_to_ras)
    case = "=".join(map(str, write_case(tmp_path, "renamed", (part, mask))))
    with pytest.raises(UserError, match=r"renamed \(there as trained\) is in the training data"):
        validator(DataSettings((bank,), (case,)))
