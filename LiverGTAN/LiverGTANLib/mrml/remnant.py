"""What remains of a liver: volumes, share, volume for each kg of the body, and lines that the literature draws.

The lines stand beside the figures; nothing is called safe or unsafe. On the main thread.
"""

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import NodeModify

from ..core.volume import InputError
from . import scene

logger = logging.getLogger(__name__)

CLASS = "vtkMRMLTableNode"
USUAL_KG = (1.0, 400.0)
"""A weight beyond these is taken for a mistake (grams, an empty header). A choice, from newborns to the heaviest."""

ML_OF_ONE_KG = 1000.0
"""The ratio of remnant and body weight takes 1 mL of liver for 1 g, as Truant et al. do."""

COLUMNS = ("Quantity", "mL", "% of liver", "mL/kg", "Source")
MEASURED = ("Liver", "Remnant", "Resected")
"""Quantities that are measured on the parts."""

_TEXTS = ("Quantity", "Source")

_DECIMAL = r"[0-9]{1,3}([.,][0-9]{1,2})?"
_GROUPED = r"[0-9]{1,3}([.,][0-9]{3})+"

_WEIGHT = "LiverGTAN.weightKg"
_WEIGHED_ROLE = "LiverGTAN.weighedVolume"
"""Node reference of the segmentation with the liver to the volume of the patient whose weight was set."""

_DICOM_WEIGHT = "0010,1030"


@dataclass(frozen=True)
class ReferenceLine:
    """A share of liver or body weight that a study draws a line at. of: what the study divides by."""

    share: float
    ofBodyWeight: bool
    condition: str
    of: str
    source: str

    @property
    def name(self) -> str:
        """For the user: the share, of what, and in which condition."""
        what = "body weight" if self.ofBodyWeight else "the liver"
        return f"{100 * self.share:g} % of {what}, {self.condition}"

    def ml(self, liverMl: float, weightKg: float | None) -> float | None:
        """The line as a volume; None where it needs a weight that is not known."""
        if not self.ofBodyWeight:
            return self.share * liverMl
        return None if weightKg is None else self.share * ML_OF_ONE_KG * weightKg


LINES = (
    ReferenceLine(
        0.2,
        False,
        "normal liver",
        "liver volume estimated from body surface",
        "Kishi et al., Ann Surg 250:540, 2009, doi 10.1097/SLA.0b013e3181b674df",
    ),
    ReferenceLine(
        0.3,
        False,
        "after chemotherapy of more than three months",
        "liver volume estimated from body surface",
        "Shindoh et al., Ann Surg Oncol 20:2493, 2013, doi 10.1245/s10434-012-2864-7",
    ),
    ReferenceLine(
        0.4,
        False,
        "fibrosis or cirrhosis",
        "liver without tumor on CT",
        "Azoulay et al., Ann Surg 232:665, 2000, doi 10.1097/00000658-200011000-00008",
    ),
    ReferenceLine(
        0.005,
        True,
        "liver without cirrhosis, extended resection",
        "body weight",
        "Truant et al., J Am Coll Surg 204:22, 2007, doi 10.1016/j.jamcollsurg.2006.09.007",
    ),
)
"""Lines at 20, 30 and 40 % and what they divide by are collected in J Surg Oncol 119:594, 2019, table 1,
doi 10.1002/jso.25430."""

EXPLANATION = (
    "Lines of the literature, for comparison only: each holds for the patients of its study and divides by what that "
    "measured (column Source), while the liver here is the segment with its lesions. No line says that a resection is "
    "safe or unsafe."
)


Row = tuple[str, float | None, float | None, float | None, str]
"""By `COLUMNS`; None is an empty cell."""


@dataclass(frozen=True)
class RemnantVolumes:
    """Volumes of the parts in mL. weightKg: of the body, None when it is not known. wholeMl: of the liver's segment,
    where parts that were edited may not add up to it; None for their sum."""

    remnantMl: float
    resectedMl: float
    weightKg: float | None = None
    wholeMl: float | None = None

    @property
    def liverMl(self) -> float:
        """Of the liver's segment, else the sum of the parts."""
        return self.remnantMl + self.resectedMl if self.wholeMl is None else self.wholeMl

    @property
    def percent(self) -> float:
        """Of the liver that remains."""
        return 100 * self.remnantMl / self.liverMl if self.liverMl else 0.0

    @property
    def resectedPercent(self) -> float:
        """Of the liver; 100 less `percent`, unless the parts were edited."""
        return 100 - self.percent if self.wholeMl is None else 100 * self.resectedMl / self.wholeMl

    @property
    def mlPerKg(self) -> float | None:
        """Remnant for each kg of body weight; None when that is not known."""
        return None if self.weightKg is None else self.remnantMl / self.weightKg

    def text(self) -> str:
        """For the user, in one sentence."""
        perKg = "" if self.mlPerKg is None else f", {self.mlPerKg:.1f} mL/kg"
        return (
            f"Remnant {self.remnantMl:.0f} mL ({self.percent:.0f} % of the liver{perKg}), "
            f"resected {self.resectedMl:.0f} mL ({self.resectedPercent:.0f} %)."
        )

    def linesText(self) -> str:
        """The reference lines as volumes of this liver and body, one below the other, for the user."""
        lines = ["Lines of studies, for comparison only:"]
        for line in LINES:
            ml = line.ml(self.liverMl, self.weightKg)
            volume = "needs the weight" if ml is None else f"{ml:.0f} mL"
            lines.append(f"{volume}: {line.name} ({line.source.partition(',')[0]})")
        return "\n".join(lines)

    def rows(self, remark: str = "") -> list["Row"]:
        """For the table: the liver, its parts with a remark on them, and the reference lines."""
        measured = f"the parts; {remark}" if remark else "the parts"
        figures = zip(MEASURED, (self.liverMl, self.remnantMl, self.resectedMl))
        rows = [self._row(name, ml, measured) for name, ml in figures]
        for line in LINES:
            row = self._row(line.name, line.ml(self.liverMl, self.weightKg), f"{line.source}; divides by {line.of}")
            # what the study itself says is known without a weight, too
            rows.append((*row[:3], 1000 * line.share, row[4]) if line.ofBodyWeight else row)
        return rows

    def roundedRows(self, remark: str = "") -> list[list[str | float | None]]:
        """`rows` with figures of one decimal."""
        return [[round(cell, 1) if isinstance(cell, float) else cell for cell in row] for row in self.rows(remark)]

    def _row(self, name: str, ml: float | None, source: str):
        share = 100 * ml / self.liverMl if ml is not None and self.liverMl else None
        perKg = ml / self.weightKg if ml is not None and self.weightKg else None
        return name, ml, share, perKg, source


def parseWeight(text: str) -> float | None:
    """kg as typed, with point or comma and at most two decimals; None for an empty text.

    Raises InputError when that is no weight, or could be two: 1.000 is one kilogram in some countries, a thousand in
    others.
    """
    typed = text.strip()
    typed = (typed[:-2] if typed.lower().endswith("kg") else typed).strip()
    if not typed:
        return None
    if re.fullmatch(_GROUPED, typed):
        raise InputError(
            f"'{typed}' could be {float(re.split('[.,]', typed)[0]):g} or a thousand times as much; type the weight in "
            "kg with at most two decimals."
        )
    return requireWeight(float(typed.replace(",", ".")) if re.fullmatch(_DECIMAL, typed) else math.nan, typed)


def readWeight(text: str) -> float | None:
    """kg as a file holds it (DICOM's decimal string, an attribute); None when it is empty. Raises InputError."""
    try:
        return requireWeight(float(text), text) if text.strip() else None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        return requireWeight(math.nan, text)


def requireWeight(kg: Any, text: str = "") -> float:
    """The weight itself. Raises InputError when no body weighs that."""
    isNumber = isinstance(kg, (int, float, np.number)) and not isinstance(kg, bool)
    if not isNumber or not USUAL_KG[0] <= kg <= USUAL_KG[1]:
        raise InputError(
            f"'{text or kg}' is no body weight in kg; type a number from {USUAL_KG[0]:g} to {USUAL_KG[1]:g}, or leave "
            "it empty."
        )
    return float(kg)


def typedWeight(liverNode) -> float | None:
    """The weight that the user set for the patient of this liver; saved with the scene.

    None where the liver is another volume's by now.
    """
    try:
        kg = readWeight(liverNode.GetAttribute(_WEIGHT) or "")
        return kg if (liverNode.GetNodeReferenceID(_WEIGHED_ROLE) or "") == patient(liverNode) else None
    except InputError:
        logger.exception("The weight that was saved with '%s' is left out.", liverNode.GetName())
        return None


def setWeight(liverNode, kg: float | None) -> None:
    """None: not known, or what the DICOM header says."""
    liverNode.RemoveNodeReferenceIDs(_WEIGHED_ROLE)
    if kg is not None and patient(liverNode):
        liverNode.SetNodeReferenceID(_WEIGHED_ROLE, patient(liverNode))
    liverNode.SetAttribute(_WEIGHT, None if kg is None else repr(float(kg)))


def patient(liverNode) -> str:
    """ID of the volume whose liver this is, also when it was removed; empty when it is not known."""
    roles = (scene.LIVER_ROLE, liverNode.GetReferenceImageGeometryReferenceRole())
    return next(filter(None, map(liverNode.GetNodeReferenceID, roles)), "")


def dicomWeight(volumeNode) -> float | None:
    """Of the patient, from the header of the volume's first slice in Slicer's DICOM database; None if not known."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split() if volumeNode is not None else []
    if not uids or database is None or not database.isOpen:
        return None
    try:
        return readWeight(database.instanceValue(uids[0], _DICOM_WEIGHT) or "")
    except (InputError, RuntimeError):  # RuntimeError: the file is no longer there
        logger.warning("The weight in the DICOM header of '%s' is left out.", volumeNode.GetName(), exc_info=True)
        return None


def createTable(liverNode):
    """A new table with its columns."""
    mrmlScene = liverNode.GetScene()
    tableNode = mrmlScene.AddNewNodeByClass(CLASS, mrmlScene.GenerateUniqueName(f"{liverNode.GetName()} remnant"))
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    return tableNode


def tabulate(tableNode, volumes: RemnantVolumes | None, remark: str = "") -> None:
    """Replace the rows of the table. volumes: None where nothing is known, for what the remark says."""
    nothing: list[list[str | float | None]] = [[name, None, None, None, remark] for name in MEASURED]
    rows = nothing if volumes is None else volumes.roundedRows(remark)
    table = vtk.vtkTable()
    for title in COLUMNS:
        array = vtk.vtkStringArray() if title in _TEXTS else vtk.vtkDoubleArray()
        array.SetName(title)
        table.AddColumn(array)
    table.SetNumberOfRows(len(rows))
    for index, (name, *figures, source) in enumerate(rows):
        cells = [name, *(math.nan if figure is None else figure for figure in figures), source]
        for column, cell in enumerate(cells):
            table.GetColumn(column).SetValue(index, cell)
    with NodeModify(tableNode):
        tableNode.SetAndObserveTable(table)
        tableNode.SetColumnDescription(COLUMNS[0], EXPLANATION)
