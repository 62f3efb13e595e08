"""Makes a volume again, from the parameters in its line of the index."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from training.options import SynthesisConfig
from training.synthesis.effects.phase import Contrast
from training.synthesis.pipeline import ANATOMY, DISEASE, REAL, SCANNER, to_grid
from training.synthesis.placement import Placement, place
from training.synthesis.sources import Source

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Built = TypeVar("Built", bound="DataclassInstance")
EFFECTS = {**ANATOMY, "contrast": Contrast, **REAL, **DISEASE, **SCANNER}
"""All effects in the order in which they are applied."""


def replay(source: Source, config: SynthesisConfig, parameters: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Image and label (D, H, W) of a logged volume. `source` must be the one that the record names."""
    scan = place(source, restore(Placement, parameters["placement"]), config.fine_shape)
    for name, effect in EFFECTS.items():
        if name in parameters:
            restore(effect, parameters[name]).apply(scan)
    return to_grid(scan, config.hu_window)


def restore(kind: type[Built], values: dict[str, Any]) -> Built:
    """The (nested) dataclass whose `asdict` went through JSON."""
    hints = get_type_hints(kind)
    return kind(**{f.name: _value(hints[f.name], values[f.name]) for f in fields(kind)})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return restore(hint, value)
    if get_origin(hint) is types.UnionType:
        return None if value is None else _value(get_args(hint)[0], value)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        return tuple(
            _value(kinds[0] if kinds[-1] is ... else kind, item)
            for kind, item in zip(kinds * len(value) if kinds[-1] is ... else kinds, value, strict=False)
        )
    return value
