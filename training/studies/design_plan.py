"""The designs that are compared under the two budgets, before a student is trained for good."""

from __future__ import annotations

from dataclasses import dataclass

from LiverGTANLib.core.volume import SPACING_MM
from training.errors import UserError
from training.model.nets import STEM, UNet3D
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS

LARGE, SMALL = 100_000, 30_000


@dataclass(frozen=True)
class Design:
    """A student on trial. stem: see `nets.STEM`. spacing_mm: of the model grid's cells."""

    name: str
    budget: int
    widths: tuple[int, ...]
    stem: int = STEM
    spacing_mm: float = SPACING_MM

    def network(self) -> UNet3D:
        """A fresh one."""
        return UNet3D(self.widths, self.stem)

    @property
    def growth(self) -> str:
        """Whether an assistant can grow from this student to the teacher, from which it may differ in widths alone."""
        if self.stem != STEM or len(self.widths) != len(TEACHER_WIDTHS):
            return "with a teacher of its own build"
        return "yes" if self.spacing_mm == SPACING_MM else "with a teacher on its own grid"


def of_budget(
    budget: int, suffix: str, present: tuple[int, ...], eights: tuple[int, ...], wide: tuple[int, ...]
) -> tuple[Design, ...]:
    """The designs of a budget: the present one, its widths on coarser grids, and others there.

    eights: widths that fill the processor's vectors better. wide: wider at the top, where a coarser grid leaves time.
    """

    def design(name: str, widths: tuple[int, ...], spacing_mm: float, stem: int = STEM) -> Design:
        return Design(f"{name}-{suffix}", budget, widths, stem, spacing_mm)

    return (
        design("present", present, SPACING_MM),
        design("grid3", present, 3.0),
        design("grid3-overlap", present, 3.0, stem=3),
        design("grid3-eights", eights, 3.0),
        design("grid4", present, 4.0),
        design("grid4-wide", wide, 4.0),
        design("grid5", present, 5.0),
        design("grid5-wide", wide, 5.0),
    )


DESIGNS = (
    *of_budget(LARGE, "100k", STUDENT_WIDTHS["student-100k"], eights=(8, 16, 16, 24), wide=(8, 12, 18, 28)),
    *of_budget(SMALL, "30k", STUDENT_WIDTHS["student-30k"], eights=(4, 8, 8, 16), wide=(6, 8, 10, 12)),
)


def chosen(names: tuple[str, ...]) -> list[Design]:
    """The designs of these names, all for none. Raises UserError for an unknown name."""
    known = {design.name: design for design in DESIGNS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"There is no design {', '.join(unknown)}; choose among {', '.join(known)}.")
    return [known[name] for name in names or known]
