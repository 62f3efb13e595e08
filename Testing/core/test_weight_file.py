"""The weight file and its card: what is read is what was written, and anything else is refused with a sentence."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.weight_file import StudentError
from support.cases import randomCard, randomStudent


@pytest.fixture
def card_file(tmp_path):
    return weight_file.save(tmp_path / "random.npz", randomStudent().weights, randomCard())


def rewrite(card_file, change_card=None, change_arrays=None):
    """Change card or arrays and make the hash fit again, as a careless tool would."""
    card = json.loads(card_file.read_text())
    npz = card_file.with_suffix(".npz")
    if change_arrays:
        arrays = dict(np.load(npz))
        change_arrays(arrays)
        np.savez(npz, **arrays)
        card["sha256"] = hashlib.sha256(npz.read_bytes()).hexdigest()
    if change_card:
        change_card(card)
    card_file.write_text(json.dumps(card))


def test_what_is_loaded_is_what_was_saved(card_file):
    loaded, original = weight_file.load(card_file), randomStudent()
    assert loaded.widths == (4, 6, 11, 15)
    assert loaded.parameters == sum(array.size for array in original.weights.values())
    for name, array in original.weights.items():
        assert loaded.weights[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.weights[name], array)


def test_the_same_weights_give_the_same_bytes(card_file, tmp_path):
    again = weight_file.save(tmp_path / "other" / "random", randomStudent().weights, randomCard())
    assert again.with_suffix(".npz").read_bytes() == card_file.with_suffix(".npz").read_bytes()


def test_bundled_students_load_and_keep_their_budget():
    bundled = weight_file.available()
    assert set(bundled) == {"student-30k", "student-100k"}
    for name, budget in (("student-30k", 30_000), ("student-100k", 100_000)):
        loaded = weight_file.load(name)
        assert loaded.name == name
        assert loaded.parameters <= budget
        assert bundled[name].with_suffix(".npz").stat().st_size < 300_000


def test_a_missing_student_is_named_with_those_that_exist(tmp_path):
    with pytest.raises(StudentError, match="bundled students: student-100k"):
        weight_file.load(tmp_path / "none.npz")


def test_a_changed_weight_file_is_refused(card_file):
    npz = card_file.with_suffix(".npz")
    data = bytearray(npz.read_bytes())
    data[len(data) // 2] ^= 1
    npz.write_bytes(bytes(data))
    with pytest.raises(StudentError, match="SHA-256"):
        weight_file.load(card_file)


def test_a_truncated_archive_with_a_fitting_hash_is_refused(card_file):
    npz = card_file.with_suffix(".npz")
    npz.write_bytes(npz.read_bytes()[:500])
    rewrite(card_file, lambda card: card.update(sha256=hashlib.sha256(npz.read_bytes()).hexdigest()))
    with pytest.raises(StudentError, match="damaged"):
        weight_file.load(card_file)


def test_pickled_objects_are_not_loaded(card_file):
    class Harm:
        def __reduce__(self):
            return (print, ("this must not run",))

    def hide(arrays):
        arrays["stem.bias"] = np.array([Harm()], dtype=object)

    with pytest.raises((StudentError, pickle.PicklingError), match=r"damaged|plain"):
        rewrite(card_file, change_arrays=hide)
        weight_file.load(card_file)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: a.pop("dec0.bias"), "dec0.bias"),
        (lambda a: a.update(extra=np.zeros(3)), "extra"),
        (lambda a: a.update({"enc1.weight": np.zeros((6, 5, 3, 3, 3))}), "shape"),
        (lambda a: a.update({"enc1.bias": np.full(6, np.nan)}), "finite"),
    ],
)
def test_arrays_that_do_not_fit_the_card_are_refused(card_file, change, words):
    rewrite(card_file, change_arrays=change)
    with pytest.raises(StudentError, match=words):
        weight_file.load(card_file)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c.update(format="other/1"), "format"),
        (lambda c: c.pop("input"), "input"),
        (lambda c: c["architecture"].update(widths=[4, "six"]), "cannot run|garbles"),
        (lambda c: c["architecture"].update(type="transformer"), "cannot run"),
        (lambda c: c["architecture"].update(stem=4), "cannot run"),
        (lambda c: c["input"].update(hu_window=[240, -160]), "cannot run"),
        (lambda c: c["input"].update(spacing_mm=0), "cannot run"),
        (lambda c: c["architecture"].update(widths=[4, 6, 11, 16]), "shape"),
        (lambda c: c["architecture"].update(widths=[4]), "2 to 6 levels"),
        (lambda c: c["architecture"].update(widths=[2] * 7), "2 to 6 levels"),
        (lambda c: c.update(calibration={"temperature": 0}), "finite temperature"),
        (lambda c: c.update(calibration={"temperature": float("nan")}), "finite temperature"),
        (lambda c: c.update(calibration={"temperature": "warm"}), "garbles"),
        (lambda c: c.update(calibration=[0.8]), "garbles"),
    ],
)
def test_cards_that_describe_something_else_are_refused(card_file, change, words):
    rewrite(card_file, change_card=change)
    with pytest.raises(StudentError, match=words):
        weight_file.load(card_file)


def test_a_card_that_is_no_json_is_refused(card_file):
    card_file.write_text("{ no json")
    with pytest.raises(StudentError, match="damaged"):
        weight_file.load(card_file)


def test_weights_too_large_for_half_precision_are_not_written(tmp_path):
    weights = {name: array * 1e6 for name, array in randomStudent().weights.items()}
    with pytest.raises(StudentError, match="float16"):
        weight_file.save(tmp_path / "large.npz", weights, randomCard())
    assert not list(tmp_path.iterdir())
