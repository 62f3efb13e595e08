"""The student's weight file and its card: plain arrays and JSON, checked before use.

A student is `NAME.npz` (float16 arrays, batch norm folded in) beside `NAME.json` (the card). The card says how the
arrays are to be used; neither holds code. Array names and shapes: `expected_shapes`.
"""

import hashlib
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from .files import atomic_write, brief, open_zip, parse_json, read_bytes, to_json

FORMAT = "livergtan-student/1"
MODELS = Path(__file__).resolve().parents[2] / "Resources" / "Models"
SETTINGS_DIGEST = "settings_sha256"
"""Field of a card that ties its settings to the weights; cards of earlier exports have none."""

LARGEST_FILE, LARGEST_CARD = 16 * 2**20, 2 * 2**20
"""Bytes; a student of 100,000 weights has 0.2 MB, the teacher would have 2.5 MB. The bundled cards have 0.06 MB."""

MOST_PARAMETERS = 4_000_000
"""Three times those of the teacher: 16 MB in float32."""

NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>])f([248])', 'fortran_order': (True|False), "
    rb"'shape': \((\d{1,7}(?:, \d{1,7}){0,4}),?\), \}[ ]*\n",
    re.DOTALL,
)
"""What numpy writes before a plain array of floating-point numbers; nothing else is read, and nothing evaluated."""

LARGEST_NPY_HEADER = 256
"""Bytes; numpy pads those of a student's arrays to 128."""

NAME = re.compile(r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))\w(?:[\w .+-]{0,62}\w)?")
"""Names of students: they name files on every system (some name devices on Windows), and DICOM's short texts hold 64
characters."""

SPACING_RANGE_MM = (0.5, 20.0)
LARGEST_HU = 100_000.0
TEMPERATURE_RANGE = (0.01, 100.0)
"""Ranges of a card's numbers, far beyond what makes sense, in which everything computed from them is finite."""

LEVELS = range(2, 7)
"""Numbers of levels that are run. With 6 the sides of the grid are multiples of 64 cells, which can
triple the cells of a scan; more levels would fill the memory with padding."""


class StudentError(ValueError):
    """The weight file or its card cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Student:
    """A network's weights (float32, torch layout) and what its card says of them."""

    name: str
    card: dict[str, Any]
    weights: dict[str, np.ndarray]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the finest first."""
        return tuple(self.card["architecture"]["widths"])

    @cached_property
    def negative_slope(self) -> float:
        """Of the leaky ReLU."""
        return float(self.card["architecture"]["negative_slope"])

    @cached_property
    def spacing_mm(self) -> float:
        """Edge of the cells of the model grid."""
        return float(self.card["input"]["spacing_mm"])

    @cached_property
    def hu_window(self) -> tuple[float, float]:
        """(lowest, highest) HU, which become -1 and 1."""
        low, high = self.card["input"]["hu_window"]
        return float(low), float(high)

    @property
    def sha256(self) -> str:
        """Of the weights, as the card says and `load` has checked."""
        return self.card["sha256"]

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return int(self.card["parameters"])

    @cached_property
    def temperature(self) -> float:
        """What to divide logits by for calibrated probabilities; 1 when the card holds no calibration."""
        return float((self.card.get("calibration") or {}).get("temperature", 1.0))

    @cached_property
    def multiple(self) -> int:
        """Grid sizes must be multiples of this: the stem and each level below it halve them."""
        return 2 ** len(self.widths)


def available() -> dict[str, Path]:
    """The bundled students: name -> card file."""
    return {path.stem: path for path in sorted(MODELS.glob("*.json"))}


def load(name_or_path: str | Path) -> Student:
    """A bundled student by name, or any by the path of its .npz or .json file.

    Raises StudentError with a sentence when a file is missing, damaged or does not fit its card.
    """
    try:
        card_file = available().get(str(name_or_path)) or Path(name_or_path).with_suffix(".json")
        missing = [path for path in (card_file, card_file.with_suffix(".npz")) if not path.is_file()]
    except (ValueError, OSError) as error:  # an empty name, one of a thousand characters, one with a zero byte
        raise StudentError(f"{str(name_or_path)[:80]!r} names no student file ({error}).") from error
    if missing:
        known = ", ".join(available()) or "none"
        raise StudentError(f"There is no student file {missing[0]}; bundled students: {known}.")
    card = _read_card(card_file)
    data = _read_weights(card_file.with_suffix(".npz"), card)
    arrays = _arrays(data, card_file.with_suffix(".npz"), card)
    if card.get(SETTINGS_DIGEST, _settings_digest(card)) != _settings_digest(card):
        raise StudentError(
            f"The card {card_file.name} was edited: its widths, spacing or HU window are not those that its weights "
            "were trained with; install the student again."
        )
    return Student(card["name"], card, arrays)


def require_name(name: str) -> None:
    """Raise StudentError for a name that cannot name a file on every system."""
    if not NAME.fullmatch(name):
        raise StudentError(
            f"{name[:80]!r} cannot name a student; give up to 64 letters, digits, spaces, dots, hyphens and plus "
            "signs, with a letter or digit at both ends."
        )


def save(path: str | Path, weights: dict[str, np.ndarray], card: dict[str, Any]) -> Path:
    """Write `weights` as float16 to `path` (.npz) with its card beside it; returns the card's path.

    The card needs name, architecture and input; format, parameters and the two digests are filled in.
    The same weights give the same bytes: the archive holds no dates.
    """
    path = Path(path).with_suffix(".npz")
    with np.errstate(over="ignore"):  # found and refused below
        halves = {name: np.asarray(array, np.float16) for name, array in weights.items()}
    if not all(np.isfinite(array).all() for array in halves.values()):
        raise StudentError("A weight is not finite or too large for float16; this network cannot be exported.")
    data = _archive(halves)
    complete = {
        "format": FORMAT,
        **card,
        "parameters": int(sum(array.size for array in halves.values())),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    _check_card(complete, path)
    complete[SETTINGS_DIGEST] = _settings_digest(complete)
    _check_shapes(halves, path, complete)
    card_file = path.with_suffix(".json")
    with atomic_write(path) as weights_part, atomic_write(card_file) as card_part:
        weights_part.write_bytes(data)
        card_part.write_text(card_text(complete), encoding="utf-8")
    return card_file


def card_text(card: dict[str, Any]) -> str:
    """A card as its file holds it."""
    return to_json(card, indent=1) + "\n"


def expected_shapes(widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of a U-Net: convolutions (out, in, 3, 3, 3), transposed ones (in, out, 2, 2, 2)."""
    k3, k2 = (3, 3, 3), (2, 2, 2)
    shapes: dict[str, tuple[int, ...]] = {
        "stem.weight": (widths[0], 1, *k2),
        "enc0.weight": (widths[0], widths[0], *k3),
    }
    for level in range(1, len(widths)):
        above, here = widths[level - 1], widths[level]
        shapes[f"down{level}.weight"] = (here, above, *k3)
        shapes[f"enc{level}.weight"] = (here, here, *k3)
        shapes[f"up{level - 1}.weight"] = (here, above, *k2)
        shapes[f"dec{level - 1}.weight"] = (above, 2 * above, *k3)
    shapes["head.weight"] = (widths[0], 1, *k2)
    for name in list(shapes):
        transposed = name.startswith(("up", "head"))
        shapes[name.replace("weight", "bias")] = (shapes[name][1 if transposed else 0],)
    return shapes


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = parse_json(read_bytes(path, LARGEST_CARD).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise StudentError(f"The card {path.name} is damaged ({brief(error)}); install the student again.") from error
    _check_card(card, path)
    return card


def _check_card(card: Any, path: Path) -> None:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise StudentError(f"{path.name} is no student card of format {FORMAT}.")
    try:
        sound = _can_be_run(card)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise StudentError(f"The card {path.name} lacks or garbles {brief(error)}.") from error
    if not sound:
        raise StudentError(
            f"The card {path.name} describes a network that this version cannot run "
            f"(a U-Net of {LEVELS[0]} to {LEVELS[-1]} levels and at most {MOST_PARAMETERS:,} parameters on a grid of "
            "positive spacing, with a finite temperature)."
        )
    require_name(card["name"])


def _can_be_run(card: dict[str, Any]) -> bool:
    """Whether all that `Student` reads from a card makes sense. Raises errors of many kinds if not."""
    architecture, grid, calibration = card["architecture"], card["input"], card.get("calibration") or {}
    widths, (low, high) = architecture["widths"], map(_number, grid["hu_window"])
    return (
        architecture["type"] == "unet3d"
        and architecture["stem"] == 2
        and type(architecture["stem"]) is int
        and isinstance(widths, list)
        and len(widths) in LEVELS
        and all(type(width) is int and 0 < width <= MOST_PARAMETERS for width in widths)
        and sum(map(prod, expected_shapes(tuple(widths)).values())) <= MOST_PARAMETERS
        and 0 <= _number(architecture["negative_slope"]) < 1
        and SPACING_RANGE_MM[0] <= _number(grid["spacing_mm"]) <= SPACING_RANGE_MM[1]
        and -LARGEST_HU <= low <= high - 1 <= LARGEST_HU
        and TEMPERATURE_RANGE[0] <= _number(calibration.get("temperature", 1.0)) <= TEMPERATURE_RANGE[1]
        and type(card["parameters"]) is int
        and isinstance(card["name"], str)
        and isinstance(card["sha256"], str)
    )


def _number(value: Any) -> float:
    """A finite number; neither a text nor true or false stands for one. Raises TypeError."""
    if type(value) not in (int, float) or not isfinite(value):
        raise TypeError(f"a number ({brief(value)!r})")
    return float(value)


def _settings_digest(card: dict[str, Any]) -> str:
    """SHA-256 of all that weights cannot be used without, which ties it to them."""
    architecture, grid = card["architecture"], card["input"]
    numbers = (architecture["negative_slope"], grid["spacing_mm"], *grid["hu_window"])
    settings = [card["sha256"], architecture["stem"], list(architecture["widths"]), [float(n) for n in numbers]]
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def _read_weights(path: Path, card: dict[str, Any]) -> bytes:
    try:
        data = read_bytes(path, LARGEST_FILE)
    except ValueError as error:
        raise StudentError(f"{path.name} is too large for a student ({error}); it was not read.") from error
    except OSError as error:
        raise StudentError(f"{path.name} cannot be read ({error}).") from error
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise StudentError(f"{path.name} is not the file that its card names (SHA-256 differs); install it again.")
    return data


def _arrays(data: bytes, path: Path, card: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of an archive, float32. Nothing is unpacked before its name, its size and its type are known."""
    expected = expected_shapes(tuple(card["architecture"]["widths"]))
    try:
        with open_zip(data) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            _require_names(members, expected, path)
            if len(archive.infolist()) > len(members):
                raise StudentError(f"{path.name} holds several arrays of one name; it is damaged.")
            arrays = {name: _array(archive, members[name], shape, path) for name, shape in expected.items()}
    except StudentError:
        raise
    # Whatever zipfile raises for archives that are cut, encrypted, packed in other ways, or made to mislead.
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError, OverflowError) as error:
        raise StudentError(f"{path.name} is damaged or no archive of plain arrays ({brief(error)}).") from error
    if sum(map(np.size, arrays.values())) != card["parameters"]:
        raise StudentError(f"{path.name} does not hold as many parameters as its card says ({card['parameters']}).")
    return arrays


def _require_names(arrays: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    if set(arrays) != set(expected):
        odd = ", ".join(sorted(set(arrays) ^ set(expected)))
        raise StudentError(f"{path.name} does not hold the arrays of its card: {brief(odd)}.")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """One array as float32. Raises StudentError unless it is one of floating-point numbers with this shape."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise StudentError(f"{path.name} is damaged or no archive of plain arrays (an unknown compression).")
    if member.file_size > 8 * prod(shape) + LARGEST_NPY_HEADER:
        raise StudentError(f"{path.name}: {member.filename} is cut, or larger than the card says.")
    with archive.open(member) as stream:
        raw = stream.read(member.file_size + 1)  # also checks the checksum, at the end
    header = NPY_HEADER.match(raw, 0, LARGEST_NPY_HEADER)
    if header is None or int.from_bytes(header[1], "little") != header.end() - 10:
        raise StudentError(f"{path.name}: {member.filename[:80]} is no plain array of floating-point numbers.")
    dtype, found = np.dtype(f"{header[2].decode()}f{header[3].decode()}"), tuple(map(int, header[5].split(b", ")))
    if found != shape:
        raise StudentError(f"{path.name}: {member.filename} has shape {found}, the card asks for {shape}.")
    if len(raw) != header.end() + prod(shape) * dtype.itemsize:
        raise StudentError(f"{path.name}: {member.filename} is cut, or larger than the card says.")
    array = np.frombuffer(raw, dtype, offset=header.end()).reshape(shape, order="F" if header[4] == b"True" else "C")
    _require_in_range(member.filename, array, path)
    return np.ascontiguousarray(array, np.float32)


def _require_in_range(name: str, array: np.ndarray, path: Path) -> None:
    if not np.isfinite(array).all():
        raise StudentError(f"{path.name}: {name} has values that are not finite.")
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise StudentError(f"{path.name}: {name} has values larger than float16 holds; no student has such weights.")


def _check_shapes(arrays: dict[str, np.ndarray], path: Path, card: dict[str, Any]) -> None:
    expected = expected_shapes(tuple(card["architecture"]["widths"]))
    _require_names(arrays, expected, path)
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise StudentError(f"{path.name}: {name} has shape {arrays[name].shape}, the card asks for {shape}.")


def _archive(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
