"""Weight files and cards: altered cards, damaged and remade archives, whose hash fits all the same."""

import hashlib
import io
import json
import struct
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.weight_file import Student, StudentError
from support.cases import randomCard, randomStudent

from .mutation import ODD_TEXTS, altered, choice, damaged, reworded
from .outcome import READ, REFUSED, require, require_sentence

WIDTHS = (2, 3)
TYPES = ("f2", "f4", "f8", ">f4", "i2", "u1", "?", "c8", "U3", "S3", "f4,i2", "M8[s]", "V2", "O")


@cache
def original() -> tuple[bytes, dict]:
    """(archive, card) of a small student."""
    student = randomStudent(WIDTHS)
    data = weight_file._archive({name: array.astype(np.float16) for name, array in student.weights.items()})
    count = sum(array.size for array in student.weights.values())
    return data, randomCard(WIDTHS) | {"parameters": count, "sha256": hashlib.sha256(data).hexdigest()}


def cards(rng: np.random.Generator, folder: Path) -> str:
    """The card is altered in its values, its text or its bytes."""
    data, card = original()
    kind = choice(rng, ("values", "values", "text", "bytes"))
    if kind == "values":
        text = json.dumps(altered(rng, card)).encode("utf-8", "surrogatepass")
    elif kind == "text":
        text = reworded(rng, json.dumps(card, indent=1)).encode("utf-8", "surrogatepass")
    else:
        text = damaged(rng, json.dumps(card).encode())
    return loaded(folder, data, text)


def archives(rng: np.random.Generator, folder: Path) -> str:
    """The archive is damaged, or written anew with odd members; the card's hash is made to fit."""
    data, card = original()
    kind = choice(rng, ("damaged", "directory", "members", "members"))
    if kind == "damaged":
        data = damaged(rng, data)
    elif kind == "directory":
        data = damaged(rng, data, data.index(b"PK\x01\x02"))
    else:
        data = remade(rng, data)
    card = card | {"sha256": hashlib.sha256(data).hexdigest()}
    return loaded(folder, data, json.dumps(card).encode())


def remade(rng: np.random.Generator, data: bytes) -> bytes:
    """An archive of the same arrays, of which one to three are odd."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    for _ in range(int(rng.integers(1, 4))):
        name = choice(rng, sorted(members))
        kind = choice(rng, ("array", "array", "header", "name", "drop", "bytes", "long"))
        if kind == "array":
            members[name] = odd_array(rng)
        elif kind == "header":
            members[name] = odd_header(rng)
        elif kind == "name":
            odd = str(choice(rng, ODD_TEXTS))[:60_000].encode("utf-8", "replace").decode().strip("\0")
            members[odd or "-"] = members.pop(name)
        elif kind == "drop" and len(members) > 1:
            del members[name]
        elif kind == "bytes":
            members[name] = damaged(rng, members[name])
        else:
            members[name] += bytes(int(choice(rng, (1, 1000, 5_000_000))))
    buffer = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(buffer, "w", choice(rng, methods)) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer.getvalue()


def odd_array(rng: np.random.Generator) -> bytes:
    """An array of the shape of one of the student's, or of any, with odd values or of an odd type."""
    shape = choice(rng, list(weight_file.expected_shapes(WIDTHS).values()))
    array = np.zeros(shape if rng.random() < 0.7 else tuple(rng.integers(0, 5, int(rng.integers(0, 6)))), "f8")
    with np.errstate(all="ignore"):
        array += choice(rng, (0.0, 1.0, 6e4, 7e4, 3e38, 1e300, np.nan, -np.inf))
        buffer = io.BytesIO()
        kind = choice(rng, TYPES)
        array = array.astype(kind) if "," not in kind and "M" not in kind else np.zeros(array.shape, kind)
    np.save(buffer, np.asfortranarray(array) if rng.random() < 0.3 else array)
    return buffer.getvalue()


def odd_header(rng: np.random.Generator) -> bytes:
    shape = choice(rng, ("(2,)", "(2, 1, 2, 2, 2)", "(-2,)", "(99999999999,)", "(" * 300, "__import__('os')", "(2.5,)"))
    order, descr = choice(rng, ("False", "True", "None", "0")), choice(rng, ("'<f4'", "'|O'", "['x']", "'<f3'", "1"))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    version = choice(rng, (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\xff\xff"))
    length = len(text) if rng.random() < 0.8 else int(rng.integers(0, 2**16))
    return b"\x93NUMPY" + version + struct.pack("<H", length) + text + b"\n" + rng.bytes(int(rng.integers(0, 99)))


def loaded(folder: Path, data: bytes, card: bytes) -> str:
    """Refused with a sentence, or run: all its numbers are those that numpy reads, and its answer is an array."""
    (folder / "a.npz").write_bytes(data)
    (folder / "a.json").write_bytes(card)
    try:
        student = weight_file.load(folder / "a.npz")
    except StudentError as error:
        require_sentence(error)
        require("\n" not in str(error), "a refusal of several lines")
        return REFUSED
    with np.load(io.BytesIO(data)) as arrays:
        for name, array in student.weights.items():
            require(np.array_equal(array, arrays[name].astype(np.float32)), f"{name} has other values than in the file")
    require_answer(student)
    return READ


def require_answer(student: Student) -> None:
    """All that is asked of a student works: its numbers, and a pass of the network."""
    numbers = (student.spacing_mm, *student.hu_window, student.temperature, student.negative_slope, student.multiple)
    require(np.isfinite(numbers).all() and student.spacing_mm > 0, f"numbers that make no sense: {numbers}")
    require(isinstance(student.parameters, int) and isinstance(student.sha256, str), "no parameters or no hash")
    weight_file.require_name(student.name)
    with np.errstate(all="ignore"):  # what overflows is refused by `segmenter.analyze`
        logits = NumpyEngine(student).forward(np.ones((student.multiple,) * 3, np.float32))
    require(logits.shape == (student.multiple,) * 3, "no logits")
