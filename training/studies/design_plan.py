"""The designs that are compared under the two budgets, before a student is trained for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from LiverGTANLib.core.volume import SPACING_MM
from training.errors import UserError
from training.model.nets import STEM
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS

LARGE, SMALL = 100_000, 30_000
Kind = Literal["full", "separable", "factorized"]


@dataclass(frozen=True)
class Design:
    """A student on trial. `stem` is the side of the stem's patches, `spacing_mm` that of the model grid's cells."""

    name: str
    budget: int
    widths: tuple[int, ...]
    stem: int = STEM
    convolutions: int = 2
    """A level on the way down: two, or only the one that changes the resolution."""
    kind: Kind = "full"
    spacing_mm: float = SPACING_MM

    @property
    def growth(self) -> str:
        """Whether an assistant can grow from this student to the teacher, from which it may differ in widths alone."""
        if self.kind != "full":
            return "needs growth written for its convolutions"
        if (len(self.widths), self.stem, self.convolutions) != (len(TEACHER_WIDTHS), STEM, 2):
            return "with a teacher of its own build"
        return "yes" if self.spacing_mm == SPACING_MM else "with a teacher on its own grid"


def of_budget(budget: int, suffix: str, present: tuple[int, ...], **widths: tuple[int, ...]) -> tuple[Design, ...]:
    """The ten designs of a budget: the present one, those whose widths are given, and the present one on two grids."""

    def design(name: str, of: tuple[int, ...], **changes) -> Design:
        return Design(f"{name}-{suffix}", budget, of, **changes)

    return (
        design("present", present),
        design("bottom", widths["bottom"]),
        design("top", widths["top"]),
        design("three-levels", widths["shallow"]),
        design("stem4", widths["stem4"], stem=4),
        design("single", widths["single"], convolutions=1),
        design("separable", widths["separable"], kind="separable"),
        design("factorized", widths["factorized"], kind="factorized"),
        design("fine", present, spacing_mm=2.5),
        design("coarse", present, spacing_mm=4.0),
    )


DESIGNS = (
    *of_budget(
        LARGE,
        "100k",
        STUDENT_WIDTHS["student-100k"],
        bottom=(4, 8, 16, 39),
        top=(8, 12, 18, 28),
        shallow=(8, 20, 34),
        stem4=(12, 20, 30),
        single=(7, 14, 26, 37),
        separable=(16, 40, 80, 144),
        factorized=(9, 18, 36, 52),
    ),
    *of_budget(
        SMALL,
        "30k",
        STUDENT_WIDTHS["student-30k"],
        bottom=(3, 5, 8, 22),
        top=(6, 8, 10, 12),
        shallow=(6, 11, 17),
        stem4=(8, 11, 14),
        single=(4, 8, 14, 20),
        separable=(12, 24, 40, 60),
        factorized=(6, 12, 18, 28),
    ),
)


def chosen(names: tuple[str, ...]) -> list[Design]:
    """The designs of these names, all for none. Raises UserError for an unknown name."""
    known = {design.name: design for design in DESIGNS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"There is no design {', '.join(unknown)}; choose among {', '.join(known)}.")
    return [known[name] for name in names or known]
