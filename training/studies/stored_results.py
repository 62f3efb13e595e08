"""Results of finished runs, one `result.json` beside each checkpoint.

A checkpoint is taken again by the rules of `fit.run_record`, which names every difference of its training. Its figures
are taken again when they are those of this network on these very cases, and measured anew otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core.files import atomic_write
from training.data.cases import Case

Result = dict[str, Any]


def result_of(file: Path, network_sha256: str, cases: dict[str, str], measure: Callable[[], Result]) -> Result:
    """The result in a file if it is of this network on these cases (name -> digest); else measured, and written."""
    about = {"network_sha256": network_sha256, "cases_sha256": cases}
    found = read(file)
    if found is not None and all(found.get(name) == value for name, value in about.items()):
        return found
    if found is not None:
        print(f"{file} is of another network or of other cases; measured anew.", flush=True)
    result = measure() | about
    write_json(file, result)
    return result


def read(file: Path) -> Result | None:
    """What a file holds; None when there is none, or none that is whole."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        print(f"{file} cannot be read ({error}); measured anew.", flush=True)
        return None
    return content if isinstance(content, dict) else None


def write_json(file: Path, content: Any) -> None:
    """The content as JSON, whole or not at all."""
    with atomic_write(file) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def case_digests(cases: list[Case]) -> dict[str, str]:
    """Name -> SHA-256 of CT, grid and reference of every case."""
    return {case.name: digest(case) for case in cases}


def digest(case: Case) -> str:
    """SHA-256 of a case's voxels and where they lie; the same wherever its files are."""
    total = hashlib.sha256()
    for array in (case.ct.hu, np.asarray(case.ct.ijk_to_ras, np.float64), case.mask):
        total.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
