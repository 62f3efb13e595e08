"""Results of finished runs, one `result.json` beside each checkpoint.

A checkpoint is taken again by the rules of `fit.run_record`, which names every difference of its training. Its figures
are taken again when they are those of this network on these very cases and nobody changed them, and measured anew
otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core.files import atomic_write, read_bytes
from training.command_line import plain
from training.data.bank import LARGEST_META
from training.data.cases import Case
from training.errors import UserError
from training.evaluation.seal import SEAL, is_sealed, seal

Result = dict[str, Any]
OF_A_RUN = {"cell", "steps", "figures", "cases", "seconds", "network_sha256", "cases_sha256"}
"""What `ablate` writes of a run."""


def result_of(
    file: Path,
    network_sha256: str,
    cases: dict[str, str],
    measure: Callable[[], Result],
    about: dict[str, Any] | None = None,
) -> Result:
    """The result in a file if it is of this network on these cases (name -> digest); else measured, and written.

    about: what else the result must say.
    """
    expected = plain((about or {}) | {"network_sha256": network_sha256, "cases_sha256": cases})
    found = read(file)
    if found is not None and not is_sealed(found):
        print(f"{file} is not as it was written; measured anew.", flush=True)
    elif found is not None and any(found.get(name) != value for name, value in expected.items()):
        print(f"{file} is of another network or of other cases; measured anew.", flush=True)
    elif found is not None:
        return found
    result = plain(measure() | expected)
    write_json(file, result | {SEAL: seal(result)})
    return result | {SEAL: seal(result)}


def read(file: Path) -> Result | None:
    """What a file holds; None when there is none, or none that is whole."""
    try:
        content = json.loads(read_bytes(file, LARGEST_META))  # figures may be NaN, which strict JSON does not have
        if not isinstance(content, dict):
            raise ValueError("it does not hold a table")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        print(f"{file} cannot be read ({error}); measured anew.", flush=True)
        return None
    return content


def read_table(file: Path) -> list[Result]:
    """The runs of a `table.json`. Raises UserError when it cannot be read, or a run in it is not as it was written."""
    try:
        content = json.loads(read_bytes(file, LARGEST_META))
        if not isinstance(content, list) or not all(
            isinstance(one, dict) and one.keys() >= OF_A_RUN for one in content
        ):
            raise ValueError("it is no list of its runs")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as a table of `ablate`: {error}.") from error
    if not all(is_sealed(one) for one in content):
        raise UserError(f"{file} is not as `ablate` wrote it; take its figures from a table that nobody changed.")
    return content


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
