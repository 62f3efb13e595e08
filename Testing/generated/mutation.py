"""Small damages of bytes, texts and trees, as disks, networks, editors and ill will make them."""

import copy
from typing import Any

import numpy as np

ODD_TEXTS = (
    *(
        "",
        "0",
        "-1",
        "1",
        "3",
        "nan",
        "inf",
        "-inf",
        "1e308",
        "1e-308",
        "999999999999",
        "9" * 5000,
        "9" * 30,
        "9" * 4000,
        "1e99999",
    ),
    *(
        "2147483648",
        "a",
        "../../x",
        "%s%n",
        "\0",
        "\ud800",
        "(((",
        "[" * 2000,
        "True",
        "LIST",
        "x" * 70_000,
        "1 1",
        "1,2,3",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 0.5, 1e308, -1e308, 1e-308, 10**30, float("nan"), float("inf"), 2**31, 2**63),
    *("", "x", "1", "../../x", "x" * 10_000, "\0", [], {}, [1], [1, 2], [[1]], {"a": 1}, [True, True], [2, 2, 2, 2]),
)


def choice(rng: np.random.Generator, values: Any) -> Any:
    """One of the values, which numpy would turn into an array first."""
    return values[int(rng.integers(len(values)))]


def damaged(rng: np.random.Generator, data: bytes, start: int = 0, stop: int | None = None) -> bytes:
    """One to three changes between two places: bits and bytes changed, parts cut out, doubled, inserted or zeroed."""
    for _ in range(int(rng.integers(1, 4))):
        end = min(len(data), len(data) if stop is None else stop)
        first = int(rng.integers(start, max(start + 1, end)))
        length = int(choice(rng, (1, 1, 2, 4, 16, 100, 1000)))
        part = data[first : first + length]
        kind = choice(rng, ("bit", "bit", "byte", "random", "zero", "full", "cut out", "double", "insert", "end"))
        if kind == "bit" and part:
            new = bytes([part[0] ^ (1 << int(rng.integers(8)))]) + part[1:]
        elif kind == "byte" and part:
            new = bytes([int(rng.integers(256))]) + part[1:]
        elif kind == "end":
            return data[:first]
        else:
            made = {"random": rng.bytes(len(part)), "zero": bytes(len(part)), "full": b"\xff" * len(part)}
            new = made | {"cut out": b"", "double": part + part, "insert": rng.bytes(length) + part}
            new = new.get(kind, part)
        data = data[:first] + new + data[first + length :]
    return data


def reworded(rng: np.random.Generator, text: str) -> str:
    """One to three words, values or lines of a text header changed, dropped or doubled."""
    for _ in range(int(rng.integers(1, 4))):
        lines = text.splitlines(keepends=True)
        if not lines:
            break
        place = int(rng.integers(len(lines)))
        words = lines[place].split(" ")
        kind = choice(rng, ("word", "word", "word", "number", "drop", "double", "swap"))
        if kind in ("word", "number"):
            at = int(rng.integers(len(words)))
            ending = "\n" if words[at].endswith("\n") else ""
            odd = str(choice(rng, ODD_TEXTS)) if kind == "word" else str(int(rng.integers(-9, 99)))
            words[at] = odd + ending
            lines[place] = " ".join(words)
        elif kind == "drop":
            del lines[place]
        elif kind == "double":
            lines.insert(place, lines[place])
        else:
            other = int(rng.integers(len(lines)))
            lines[place], lines[other] = lines[other], lines[place]
        text = "".join(lines)
    return text


def altered(rng: np.random.Generator, tree: Any) -> Any:
    """A copy of nested dicts and lists with one to three values replaced, dropped or doubled somewhere in it."""
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = choice(rng, keys)
            if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.8:
                place = place[key]
                continue
            kind = choice(rng, ("replace", "replace", "replace", "drop", "add"))
            if kind == "replace":
                place[key] = copy.deepcopy(choice(rng, ODD_VALUES))
            elif kind == "drop":
                del place[key]
            elif isinstance(place, dict):
                place[str(choice(rng, ODD_TEXTS))[:100]] = copy.deepcopy(choice(rng, ODD_VALUES))
            else:
                place.insert(key, copy.deepcopy(choice(rng, ODD_VALUES)))
            break
    return tree
