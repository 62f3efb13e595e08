"""The real CTs that judge: nothing is trained on them, and their references are good enough.

The sample CTs' references are another network's results, the two from LIVERGTAN_DATA are human-made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from training.data import samples
from training.paths import DATA_VARIABLE, data_folder

HUMAN = ("crlm_ct_1100_8bit", "spl_abdominal_atlas")

Files = tuple[Path, Path, int | None]  # CT, mask, and which of its values is liver (None: all above 0)


def found(say: Callable[[str], None] = print) -> list[Files]:
    """The cases that can be had here; `say` gets a sentence for those that cannot."""
    return [*sample_cases(say), *human_cases(say)]


def sample_cases(say: Callable[[str], None] = print) -> Iterator[Files]:
    """The sample CT, then the sample DICOM series."""
    try:
        samples.fetch()
    except samples.SampleError as error:
        say(f"Left out: the two sample CTs. {error}")
        return
    for ct, mask in samples.CASES:
        yield ct, mask, samples.LIVER_LABEL


def human_cases(say: Callable[[str], None] = print) -> Iterator[Files]:
    """Those with human-made references, from the folder of data that are not part of the project."""
    for name in HUMAN:
        ct, mask = (data_folder() / "ct" / f"{name}{kind}.nii.gz" for kind in ("", "_liver"))
        if ct.is_file() and mask.is_file():
            yield ct, mask, None
        else:
            say(f"Left out: {name}, which is not below {data_folder()}; set {DATA_VARIABLE} to the folder that has it.")
