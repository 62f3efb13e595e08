"""A card's history of training with each part stored once: the same runs, banks and CTs led to it on many ways.

In the file a list or table of more than `LONGEST_INLINE` characters is an entry of `training_parts`, and its name, "#"
and the beginning of the SHA-256 of its JSON, stands wherever it belongs. `training` names the last run, which stands
last: each part comes after those that it names. Cards that hold the history itself in `training` are read, too.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from LiverGTANLib.core.files import brief, parse_json, to_json
from training.errors import UserError

PARTS = "training_parts"
LONGEST_INLINE = 100
"""With 200 the bundled cards are larger by a quarter."""
LARGEST_HISTORY = 16 * 2**20
"""Characters of all parts written out, which may be many times what the file holds; the bundled cards' have 0.9
million."""
NAMED = re.compile('"(#[0-9a-f]{12})"')
"""A part's name in JSON."""


def stored(card: dict[str, Any]) -> dict[str, Any]:
    """A card with its history in parts, as its file holds it."""
    parts: dict[str, Any] = {}
    return card | {"training": _put(whole(card)["training"], parts), PARTS: parts}


def whole(card: dict[str, Any]) -> dict[str, Any]:
    """A card with its history in `training`, from what its file holds.

    Raises UserError for parts that are not as they were written.
    """
    if PARTS not in card and not isinstance(card.get("training"), str):
        return card
    try:
        history = parse_json(_written_out(card[PARTS])[card["training"]])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"The history of training on the card of {card.get('name')} is not as it was written ({brief(error)}); "
            "export or install the student again."
        ) from error
    return {name: value for name, value in card.items() if name != PARTS} | {"training": history}


def _put(value: Any, parts: dict[str, Any]) -> Any:
    """What stands for a value: a part's name for one that is long, after it was put there."""
    if isinstance(value, dict):
        value = {name: _put(one, parts) for name, one in value.items()}
    elif isinstance(value, list):
        value = [_put(one, parts) for one in value]
    else:
        return value
    text = to_json(value)
    if len(text) <= LONGEST_INLINE:
        return value
    parts[_name(text)] = value
    return _name(text)


def _name(text: str) -> str:
    return f"#{hashlib.sha256(text.encode('utf-8')).hexdigest()[:12]}"


def _written_out(parts: dict[str, Any]) -> dict[str, str]:
    """Name -> JSON of each part without names. Raises errors of several kinds for damaged parts."""
    texts: dict[str, str] = {}
    left = LARGEST_HISTORY
    for name, part in parts.items():
        text = to_json(part)
        named = NAMED.findall(text)
        if name != _name(text) or not texts.keys() >= set(named):
            raise ValueError(f"part {brief(name)} was edited, or one that it names is not before it")
        left -= len(text) + sum(len(texts[one]) for one in named)
        if left < 0:
            raise ValueError("its parts are together too large")
        texts[name] = NAMED.sub(lambda found: texts[found[1]], text)
    return texts
