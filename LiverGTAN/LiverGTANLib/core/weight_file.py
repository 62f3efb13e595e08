"""The student's weight file and its card: plain arrays and JSON, checked before use.

A student is `NAME.npz` (float16 arrays, batch norm folded in) beside `NAME.json` (the card). The card says how the
arrays are to be used; neither holds code. Array names and shapes: `expected_shapes`.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .files import atomic_write

FORMAT = "livergtan-student/1"
MODELS = Path(__file__).resolve().parents[2] / "Resources" / "Models"
DEFAULT = "student-100k"
LARGEST_FILE = 64 * 2**20
"""Bytes; a student of 100,000 weights has 0.2 MB, the teacher would have 2.5 MB."""

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
        return tuple(self.card["architecture"]["widths"])

    @cached_property
    def negative_slope(self) -> float:
        return float(self.card["architecture"]["negative_slope"])

    @cached_property
    def spacing_mm(self) -> float:
        return float(self.card["input"]["spacing_mm"])

    @cached_property
    def hu_window(self) -> tuple[float, float]:
        low, high = self.card["input"]["hu_window"]
        return float(low), float(high)

    @property
    def sha256(self) -> str:
        return self.card["sha256"]

    @property
    def parameters(self) -> int:
        return int(self.card["parameters"])

    @cached_property
    def temperature(self) -> float:
        """What to divide logits by for calibrated probabilities; 1 when the card holds no calibration."""
        return float((self.card.get("calibration") or {}).get("temperature", 1.0))

    @cached_property
    def multiple(self) -> int:
        """Grid sizes must be multiples of this: the stem's stride times that of the levels."""
        return self.card["architecture"]["stem"] * 2 ** (len(self.widths) - 1)


def available() -> dict[str, Path]:
    """The bundled students: name -> card file."""
    return {path.stem: path for path in sorted(MODELS.glob("*.json"))}


def load(name_or_path: str | Path) -> Student:
    """A bundled student by name, or any by the path of its .npz or .json file.

    Raises StudentError with a sentence when a file is missing, damaged or does not fit its card.
    """
    card_file = available().get(str(name_or_path)) or Path(name_or_path).with_suffix(".json")
    weight_file = card_file.with_suffix(".npz")
    for path in (card_file, weight_file):
        if not path.is_file():
            known = ", ".join(available()) or "none"
            raise StudentError(f"There is no student file {path}; bundled students: {known}.")
    card = _read_card(card_file)
    data = _read_weights(weight_file, card)
    return Student(card["name"], card, _arrays(data, weight_file, card))


def save(path: str | Path, weights: dict[str, np.ndarray], card: dict[str, Any]) -> Path:
    """Write `weights` as float16 to `path` (.npz) with its card beside it; returns the card's path.

    The card needs name, architecture and input; format, parameters and sha256 are filled in.
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
    _check_shapes(halves, path, complete)
    card_file = path.with_suffix(".json")
    with atomic_write(path) as weights_part, atomic_write(card_file) as card_part:
        weights_part.write_bytes(data)
        card_part.write_text(json.dumps(complete, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return card_file


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
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StudentError(f"The card {path.name} is damaged ({error}); install the student again.") from error
    _check_card(card, path)
    return card


def _check_card(card: Any, path: Path) -> None:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise StudentError(f"{path.name} is no student card of format {FORMAT}.")
    try:
        architecture, grid = card["architecture"], card["input"]
        widths = architecture["widths"]
        sound = (
            architecture["type"] == "unet3d"
            and architecture["stem"] == 2
            and len(widths) in LEVELS
            and all(isinstance(width, int) and width > 0 for width in widths)
            and 0 <= float(architecture["negative_slope"]) < 1
            and float(grid["spacing_mm"]) > 0
            and grid["hu_window"][0] < grid["hu_window"][1]
            and 0 < float((card.get("calibration") or {}).get("temperature", 1.0)) < float("inf")
            and isinstance(card["name"], str)
            and isinstance(card["sha256"], str)
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StudentError(f"The card {path.name} lacks or garbles {error}.") from error
    if not sound:
        raise StudentError(
            f"The card {path.name} describes a network that this version cannot run "
            f"(a U-Net of {LEVELS[0]} to {LEVELS[-1]} levels on a grid of positive spacing, with a finite temperature)."
        )


def _read_weights(path: Path, card: dict[str, Any]) -> bytes:
    if path.stat().st_size > LARGEST_FILE:
        raise StudentError(f"{path.name} is too large for a student; it was not read.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise StudentError(f"{path.name} is not the file that its card names (SHA-256 differs); install it again.")
    return data


def _arrays(data: bytes, path: Path, card: dict[str, Any]) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(np.float32) for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise StudentError(f"{path.name} is damaged or no archive of plain arrays ({error}).") from error
    _check_shapes(arrays, path, card)
    return arrays


def _check_shapes(arrays: dict[str, np.ndarray], path: Path, card: dict[str, Any]) -> None:
    expected = expected_shapes(tuple(card["architecture"]["widths"]))
    if set(arrays) != set(expected):
        odd = ", ".join(sorted(set(arrays) ^ set(expected)))
        raise StudentError(f"{path.name} does not hold the arrays of its card: {odd}.")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise StudentError(f"{path.name}: {name} has shape {arrays[name].shape}, the card asks for {shape}.")
        if not np.isfinite(arrays[name]).all():
            raise StudentError(f"{path.name}: {name} has values that are not finite.")


def _archive(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
