"""The designs that are compared under the two budgets, before a student is trained for good."""

from __future__ import annotations

from dataclasses import dataclass

from LiverGTANLib.core.volume import SPACING_MM
from training.errors import UserError
from training.model.nets import STEM, UNet3D
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS

LARGE, SMALL = 100_000, 30_000
FINE_MM, MIDDLE_MM, COARSE_MM = 2.5, 4.0, 5.0


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
    """The designs of a budget.

    eights: widths that fill the processor's vectors better. wide: wider at the top, about the time on the middle grid
    that the present one takes on the fine grid.
    """
    return (
        Design(f"present-{suffix}", budget, present),
        Design(f"eights-{suffix}", budget, eights),
        Design(f"overlap-{suffix}", budget, present, stem=3),
        Design(f"fine-{suffix}", budget, present, spacing_mm=FINE_MM),
        Design(f"middle-{suffix}", budget, present, spacing_mm=MIDDLE_MM),
        Design(f"middle-wide-{suffix}", budget, wide, spacing_mm=MIDDLE_MM),
        Design(f"middle-overlap-{suffix}", budget, present, stem=3, spacing_mm=MIDDLE_MM),
        Design(f"coarse-{suffix}", budget, present, spacing_mm=COARSE_MM),
        Design(f"coarse-wide-{suffix}", budget, wide, spacing_mm=COARSE_MM),
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
