"""The commit of the code that is running."""

from __future__ import annotations

import functools
import subprocess

from training.paths import ROOT

CODE = ("training", *(f"LiverGTAN/LiverGTANLib/core/{name}.py" for name in ("volume", "model_grid", "resample")))
"""What decides training data and training: a difference elsewhere does not mark a commit as changed."""


@functools.cache
def commit() -> str:
    """The commit as the process began (12 digits), with "-dirty" where `CODE` differs from it; "unknown" without git.

    Ask once as a long run begins: its code may change on disk while it goes on.
    """

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", *CODE)
    except OSError:
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changed.returncode else "") if head.returncode == 0 else "unknown"
