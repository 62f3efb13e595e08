"""The weight file and its card: what is read is what was written, and anything else is refused with a sentence."""

import hashlib
import io
import json
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import MOST_MEMBERS
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
        del card["settings_sha256"]
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


@pytest.mark.parametrize(
    "part, change",
    [
        ("input", {"hu_window": [-1000, 1000]}),
        ("input", {"hu_window": [-160, 241]}),
        ("input", {"spacing_mm": 2.5}),
        ("architecture", {"negative_slope": 0.1}),
    ],
)
def test_settings_that_are_not_those_of_the_weights_are_refused(card_file, part, change):
    rewrite(card_file, lambda card: card[part].update(change))
    with pytest.raises(StudentError, match="was edited"):
        weight_file.load(card_file)


def test_a_card_written_anew_with_the_same_settings_is_read(card_file):
    rewrite(card_file, lambda card: card["input"].update(hu_window=[-160.0, 240], spacing_mm=3) or card.pop("gmac", 0))
    assert weight_file.load(card_file).hu_window == (-160.0, 240.0)


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

    with pytest.raises((StudentError, pickle.PicklingError), match=r"larger|plain"):
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
        (lambda c: c.update(calibration={"temperature": float("nan")}), "NaN, which is no JSON"),
        (lambda c: c.update(calibration={"temperature": "warm"}), "garbles"),
        (lambda c: c.update(calibration=[0.8]), "garbles"),
        (lambda c: c.update(calibration={"temperature": 1e300}), "finite temperature"),
        (lambda c: c["architecture"].update(widths=[2000] * 6), "parameters"),
        (lambda c: c["architecture"].update(widths=[10**18] * 6), "parameters"),
        (lambda c: c["architecture"].update(widths=[True, True]), "cannot run"),
        (lambda c: c["architecture"].update(widths="46"), "cannot run"),
        (lambda c: c["architecture"].update(stem=2.0), "cannot run"),
        (lambda c: c["architecture"].update(negative_slope="0.01"), "garbles"),
        (lambda c: c["input"].update(spacing_mm=1e-300), "cannot run"),
        (lambda c: c["input"].update(spacing_mm=True), "garbles"),
        (lambda c: c["input"].update(spacing_mm=10**30), "cannot run"),
        (lambda c: c["input"].update(hu_window=[-1e300, 1e300]), "cannot run"),
        (lambda c: c["input"].update(hu_window=[0, 1, 2]), "garbles"),
        (lambda c: c["input"].update(hu_window=[0, 1e-9]), "cannot run"),
        (lambda c: c.update(parameters=3), "as many parameters"),
        (lambda c: c.update(parameters="many"), "cannot run"),
        (lambda c: c.update(name="../../x"), "cannot name a student"),
        (lambda c: c.update(name=5), "cannot run"),
        (lambda c: c.update(sha256=None), "cannot run"),
    ],
)
def test_cards_that_describe_something_else_are_refused(card_file, change, words):
    rewrite(card_file, change_card=change)
    with pytest.raises(StudentError, match=words):
        weight_file.load(card_file)


@pytest.mark.parametrize(
    "content",
    [
        b"{ no json",
        b"",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"format": ' + b"9" * 10_000 + b"}",
        b'{"format": 1' + b"0" * 10_000 + b".0}",
        b"[Infinity]",
        b'"' + b"a" * weight_file.LARGEST_CARD + b'"',
    ],
    ids=["text", "empty", "no utf-8", "lists", "objects", "long whole", "long fraction", "infinity", "large"],
)
def test_a_card_that_is_no_json_is_refused_with_a_short_sentence(card_file, content):
    card_file.write_bytes(content)
    with pytest.raises(StudentError, match="damaged") as refused:
        weight_file.load(card_file)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "name", ["", ".", "/", "a\0b", "a" * 1000, "\ud800", "../../x", "C:\\x", "/dev/zero", "student-1"]
)
def test_a_name_of_no_student_is_refused(name):
    with pytest.raises(StudentError, match="no student file"):
        weight_file.load(name)


@pytest.mark.parametrize("name", ["student-30k", "my liver 2.1", "játra", "a", "5-10-20+late", "x" * 64])
def test_names_of_students(name):
    weight_file.require_name(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", "../x", "a/b", "a\\b", "C:x", "a\0", "a\n", "x" * 65, ".a", "a.", "a ", "NUL", "com1.x", "a*"],
)
def test_names_that_are_paths_or_no_names_are_refused(name, tmp_path):
    with pytest.raises(StudentError, match="cannot name a student"):
        weight_file.save(tmp_path / "x.npz", randomStudent().weights, randomCard() | {"name": name})
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_half_precision_are_not_written(tmp_path):
    weights = {name: array * 1e6 for name, array in randomStudent().weights.items()}
    with pytest.raises(StudentError, match="float16"):
        weight_file.save(tmp_path / "large.npz", weights, randomCard())
    assert not list(tmp_path.iterdir())


# Archives that are made to mislead: the card's hash fits, as it would for whoever makes both.


def refused(card_file, content: bytes) -> str:
    """The sentence with which these bytes are refused in place of the archive; little memory is taken for it."""
    npz = card_file.with_suffix(".npz")
    npz.write_bytes(content)
    card = json.loads(card_file.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    card_file.write_text(json.dumps(card))
    tracemalloc.start()
    try:
        with pytest.raises(StudentError) as error:
            weight_file.load(card_file)
        assert tracemalloc.get_traced_memory()[1] < 10e6 + 3 * len(content)
    finally:
        tracemalloc.stop()
    sentence = str(error.value)
    assert sentence.startswith("random.npz") and len(sentence) < 400 and "\n" not in sentence
    return sentence


def archive(card_file, compression=zipfile.ZIP_DEFLATED, **changed: bytes) -> bytes:
    """The student's archive with other content in some members; dots in their names are written as _."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(card_file.with_suffix(".npz")) as source, zipfile.ZipFile(buffer, "w", compression) as target:
        for member in source.namelist():
            content = source.read(member)
            target.writestr(member, changed.pop(member.removesuffix(".npy").replace(".", "_"), content))
        for name, content in changed.items():
            target.writestr(name, content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


BIASES = np.zeros(4)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4, "c8"),
        np.zeros(4, "U9"),
        np.zeros(4, "S9"),
        np.zeros(4, "i8"),
        np.zeros(4, "?"),
        np.zeros(4, "f4,i4"),
        np.zeros(4, [("x", "f4", (2, 2))]),
        np.zeros(4, "M8[s]"),
        np.zeros(4, "V4"),
        np.array([None] * 4, object),
        np.zeros(4, np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_any_other_type_are_refused(card_file, array):
    assert "no plain array" in refused(card_file, archive(card_file, stem_bias=npy(array)))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_arrays_of_floating_point_numbers_are_read_in_either_order(card_file, dtype):
    before = weight_file.load(card_file).weights["enc1.weight"]
    content = archive(card_file, enc1_weight=npy(np.asfortranarray(before.astype(dtype))))
    card_file.with_suffix(".npz").write_bytes(content)
    card = json.loads(card_file.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    del card["settings_sha256"]
    card_file.write_text(json.dumps(card))
    np.testing.assert_array_equal(weight_file.load(card_file).weights["enc1.weight"], before)


@pytest.mark.parametrize(
    "value, words", [(3e38, "float16"), (-1e300, "float16"), (np.inf, "finite"), (np.nan, "finite")]
)
def test_weights_that_would_overflow_in_the_network_are_refused(card_file, value, words):
    assert words in refused(card_file, archive(card_file, stem_bias=npy(np.full(4, value))))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }".replace(b"4,", b"9" * 5000),
        b"(" * 5000,
        b"[" * 200 + b"]" * 200,
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4L,), }",
        b"{'descr': '<f4', 'shape': (4,), }",
        b"",
    ],
    ids=["digits", "brackets", "lists", "code", "negative", "Python 2", "no order", "none"],
)
def test_headers_that_make_no_sense_are_refused_and_not_evaluated(card_file, header):
    content = b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n" + bytes(16)
    sentence = refused(card_file, archive(card_file, stem_bias=content))
    assert "no plain array" in sentence or "larger than the card says" in sentence


def test_arrays_with_too_few_or_too_many_bytes_are_refused(card_file):
    for content in (npy(BIASES)[:-1], npy(BIASES) + b"x", npy(BIASES) + bytes(2_000_000)):
        assert "is cut, or larger" in refused(card_file, archive(card_file, stem_bias=content))


def test_a_member_that_unpacks_to_a_gigabyte_is_refused_unread(card_file):
    bomb = npy(BIASES) + bytes(100_000_000)
    assert "is cut, or larger" in refused(card_file, archive(card_file, stem_bias=bomb))
    content = bytearray(archive(card_file, stem_bias=npy(BIASES)))
    for signature, offset in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):  # both places claim 4 GB, packed and not
        start = content.index(signature)
        content[start + offset : start + offset + 8] = b"\xfe\xff\xff\xff" * 2
    assert "is cut, or larger" in refused(card_file, bytes(content))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(card_file, compression):
    assert "unknown compression" in refused(card_file, archive(card_file, compression))


@pytest.mark.parametrize("place, value", [(8, 1), (8, 0x41), (10, 99), (6, 200), (42, 0xFF), (28, 0xFF)])
def test_encrypted_unknown_and_misplaced_members_are_refused(card_file, place, value):
    """place: of a field in the entries of the directory: flags, compression, version, offset, length of the name."""
    content = archive(card_file)
    parts = content.split(b"PK\x01\x02")
    changed = [parts[0], *(b[: place - 4] + bytes([value]) + b[place - 3 :] for b in parts[1:])]
    sentence = refused(card_file, b"PK\x01\x02".join(changed))
    assert "damaged" in sentence or "arrays of its card" in sentence


def test_members_of_one_name_lying_over_each_other_are_refused(card_file):
    content = archive(card_file)
    directory = content.index(b"PK\x01\x02")
    entries, end = content[directory:].split(b"PK\x05\x06")
    offset = entries[42:46]
    everywhere = b"PK\x01\x02".join([b"", *(e[:38] + offset + e[42:] for e in entries.split(b"PK\x01\x02")[1:])])
    assert "damaged" in refused(card_file, content[:directory] + everywhere + b"PK\x05\x06" + end)


def test_a_directory_without_end_is_refused_before_it_is_read(card_file):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for number in range(MOST_MEMBERS + 1):
            target.writestr(f"{number}", b"")
    assert "more than 10000 members" in refused(card_file, buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(card_file):
    buffer = io.BytesIO(card_file.with_suffix(".npz").read_bytes())
    with zipfile.ZipFile(buffer, "a") as target:
        target.writestr("stem.bias.npy", npy(BIASES))
    assert "several arrays of one name" in refused(card_file, buffer.getvalue())


def test_names_of_members_are_not_repeated_at_their_length(card_file):
    assert "arrays of its card" in refused(card_file, archive(card_file, **{"a" * 60_000: b""}))


def test_any_flipped_byte_is_refused_or_changes_nothing(card_file):
    before, content = weight_file.load(card_file).weights, card_file.with_suffix(".npz").read_bytes()
    rng = np.random.default_rng(0)
    card = json.loads(card_file.read_text())
    del card["settings_sha256"]
    for place in rng.integers(0, len(content), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        card_file.with_suffix(".npz").write_bytes(changed)
        card_file.write_text(json.dumps(card | {"sha256": hashlib.sha256(changed).hexdigest()}))
        try:
            found = weight_file.load(card_file).weights
        except StudentError as error:
            assert len(str(error)) < 400
        else:  # a date or an unused field of the directory
            for name, array in before.items():
                np.testing.assert_array_equal(found[name], array)
