"""Figures taken from a mask: volume, attenuation, share in a region, overlap with a reference."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from . import boxes, components
from .guided_filter import CellNeighborhoods
from .postprocess import Analysis, MaskParameters, postprocess_logits
from .segmenter import USUAL_LIVER_ML, BoxMask
from .volume import HU_WINDOW, CtVolume, fill_values, sampled

RIM_MM = 6.0
"""Width of the rim left out of the mean HU: partial volume, and an outline that is one cell off. Chosen: two cells."""

SAMPLE_MM = 2.0
"""HU are read at about this distance, which is enough: on example_ct the mean of the sample lies within 1 HU of that of
all inner voxels, the standard deviation within 10 % (Testing/core/test_measurements.py)."""

FATTY_HU = 40.0
"""On non-contrast CT a liver of at most 40 HU shows moderate to severe steatosis (Boyce et al., AJR 194:623, 2010).
With contrast medium the figure says nothing."""

CUT_SHARES = {"lower": 0.08, "upper": 0.3}
OTHER_CUT_SHARE = 0.08
"""A liver whose outermost plane in the scan is larger than this part of its largest is cut by that end. Chosen on the
35 CTs with liver of the training's data folder and the two samples, with student-100k: where a liver is complete its
lowest slice had 0.05 at most and its uppermost, through the flat dome, 0.20; at the 12 ends that cut one they had 0.11
and 0.51 at least. Of complete livers shortened slice by slice, less than 1.5 % (below) or 4 % (above) are lost without
a word."""

ENDS = (("left", "right"), ("back", "front"), ("lower", "upper"))
"""Names of the ends of a scan toward the negative and the positive side of the axes R, A, S."""


FIELD_OF_VIEW = "field of view"
HIGHEST_PADDING_HU = -900.0
PADDING_REACH_MM = 1.5
LEAST_PADDED_SURFACE = 0.02
"""A liver beside whose surface, within the next voxel and this distance, so large a part is padding is cut by it. On 25
CTs of the training's data folder with student-100k 0.001 at most was. When a third, all outside of a circle, or the
upper slices of two of them were set to -1024, it was 0.08 and more where 5 % of the liver was lost or more, and 0.004
at most where less than 1 % was. Padding is not told from clipped air, which no liver touches, but from lung: it is
below -900 HU, or above what is lowest in the scan and so not clipped."""

FLUID_HU = (-15.0, 28.0)
"""Mean of 3x3x3 cells of fluid: ascites, effusions, bile, cysts, necrosis. Fat is darker, most livers are brighter."""

DARKER_HU, OTHER_SHARE = 20.0, 0.9
"""Fluid is darker by this than what only a tenth of the mask is brighter than: a fatty liver is as dark as fluid in all
of it but vessels, and a mask may hold more fluid than liver."""

WHOLE_NEIGHBORHOOD = 27
"""Cells of a 3x3x3 neighborhood."""

LEAST_FLUID_ML = 20.0
"""Less is not spoken of. Chosen on the 35 CTs with liver of the training's data folder, with both students: they have
19 mL at most, but 25 and 34 of a pleural effusion (lidc_idri_0314), 223 and 246 of a dying tumor (msd_liver_04), 388
and 1750 of ascites (tcga_ov_09_2043). Of six simulated fatty livers of -11 to 26 HU none has any."""

LOOK = ", look at the mask"
"""Ends a remark on a mask that is probably wrong."""


@dataclass(frozen=True)
class Attenuation:
    """Mean and standard deviation in HU, and the number of voxels that they were computed from."""

    mean_hu: float
    sd_hu: float
    voxels: int


@dataclass(frozen=True)
class MeasurementRow:
    """One segmentation in the table; None is an empty cell."""

    name: str
    volume_ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    mean_hu: float | None = None
    sd_hu: float | None = None
    share_in_region: float | None = None
    hint: str = ""


TITLES = {
    "name": "Volume",
    "volume_ml": "Liver [mL]",
    "low_ml": "From [mL]",
    "high_ml": "To [mL]",
    "mean_hu": "Mean [HU]",
    "sd_hu": "SD [HU]",
    "share_in_region": "Share in ROI",
    "hint": "Hint",
}
"""Field of `MeasurementRow` -> heading of its column, in the order of the columns."""


def voxel_ml(ijk_to_ras: np.ndarray) -> float:
    """Volume of one voxel in mL; right for sheared grids too."""
    return float(abs(np.linalg.det(np.asarray(ijk_to_ras, float)[:3, :3])) / 1000)


def volume_ml(mask: np.ndarray, ijk_to_ras: np.ndarray) -> float:
    """Volume in mL of the voxels that are not zero."""
    return int(np.count_nonzero(mask)) * voxel_ml(ijk_to_ras)


def mask_ml(ct: CtVolume, mask: BoxMask) -> float:
    """Volume in mL of a mask on the scan's grid."""
    if ct.voxel_volumes is None:
        return volume_ml(mask.voxels, ct.ijk_to_ras)
    return ct.voxel_volumes.sum_ml(mask.voxels, mask.start)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two masks of one shape; 1 when both are empty."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0


def attenuation(ct: CtVolume, mask: BoxMask) -> Attenuation | None:
    """HU inside the mask but for its rim; None when nothing is that far inside."""
    steps = [max(1, round(SAMPLE_MM / s)) for s in ct.spacing[::-1]]
    sample = tuple(slice(None, None, step) for step in steps)
    inner = mask.voxels[sample]  # of the box, as is the sample of the HU below
    if inner.size == 0:
        return None
    for axis, (step, spacing) in enumerate(zip(steps, ct.spacing[::-1])):
        inner = _eroded(inner, int(np.ceil(RIM_MM / (step * spacing))), axis)
    hu = np.asarray(ct.hu[mask.box][sample][inner > 0], np.float64)
    if hu.size == 0:
        return None
    weights = None
    if ct.voxel_volumes is not None:
        indices = (first + step * index for first, step, index in zip(mask.start, steps, np.nonzero(inner)))
        weights = ct.voxel_volumes.at(*indices)
    mean = np.average(hu, weights=weights)
    return Attenuation(float(mean), float(np.sqrt(np.average((hu - mean) ** 2, weights=weights))), hu.size)


def _eroded(mask: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """(k, j, i) uint8, 1 where all voxels up to `reach` to either side along an axis are; none is beyond the array."""
    along, result = np.moveaxis(mask, axis, 0), np.zeros_like(mask)
    done, width = 1, 2 * reach + 1
    while done < width:
        step = min(done, width - done)
        along = along[:-step] & along[step:] if len(along) > step else along[:0]
        done += step
    np.moveaxis(result, axis, 0)[reach : reach + len(along)] = along
    return result


def share(ct: CtVolume, part: BoxMask, whole: BoxMask) -> float | None:
    """Part of a mask's volume that is in another, 0 to 1, both on the scan's grid; None of an empty one."""
    whole_ml = mask_ml(ct, whole)
    return mask_ml(ct, part) / whole_ml if whole_ml else None


def unusual_size(liver_ml: float) -> str:
    """What to say of a whole liver that is smaller or larger than livers are; empty when it is not."""
    smallest, largest = USUAL_LIVER_ML
    if smallest <= liver_ml <= largest:
        return ""
    return f"unusually {'small' if liver_ml < smallest else 'large'}{LOOK}"


def apart(apart_ml: float, is_exact: bool = True) -> str:
    """What to say of a volume that points added apart from the liver (`segmenter.added_apart`), without the figure
    where the segment holds another one; empty when it rounds to 0."""
    if apart_ml < 0.05:
        return ""
    what = f"{apart_ml:.1f} mL that points added lie" if is_exact else "some of what points added lies"
    return f"{what} apart from the liver{LOOK}"


def dark_ml(analysis: Analysis, parameters: MaskParameters) -> float:
    """Volume of the largest connected part of a mask on the model grid, without its rim of one cell, that is as dark as
    fluid; 0 where that is less than `LEAST_FLUID_ML`.

    A network that takes fluid for liver is often sure of it, so that no range of the volume tells; HU do. What is dark
    is told by the whole liver, also where only a region of it is asked for.
    """
    liver, region = postprocess_logits(analysis, parameters), parameters.region
    if liver.cells is None:
        return 0.0
    box = boxes.grown(liver.cells, 1, analysis.grid.shape)
    around = CellNeighborhoods(boxes.shape(box))
    inner = around.cells(around.sum(around.flat(liver.liver(box)))) == WHOLE_NEIGHBORHOOD
    hu = analysis.hu(box)
    # Most masks end here: noise makes neither half of a fluid as bright as liver nor so much of a liver as dark.
    if analysis.volume_ml(inner & (hu < FLUID_HU[1]), box) < LEAST_FLUID_ML / 2:
        return 0.0
    smooth = around.cells(around.sum(around.flat(hu))) * np.float32(1 / WHOLE_NEIGHBORHOOD)
    limit = min(FLUID_HU[1], float(np.quantile(smooth[inner][::8], OTHER_SHARE)) - DARKER_HU)
    fluid = (inner & (smooth > FLUID_HU[0]) & (smooth < limit)).view(np.uint8)
    if region is not None:
        region.clear_outside(fluid, box, analysis.grid.ijk_to_ras)
    runs = components.runs_of(fluid)
    if not len(runs.starts):
        return 0.0
    labels = runs.components()
    largest = np.bincount(labels, weights=runs.lengths).argmax()
    volume_ml = analysis.volume_ml(runs.some(labels == largest).painted(1), box)
    return volume_ml if volume_ml >= LEAST_FLUID_ML else 0.0


def dark(volume_ml: float) -> str:
    """What to say of `dark_ml`; empty for 0."""
    if not volume_ml:
        return ""
    return (
        f"{volume_ml:.0f} mL are as dark as fluid, which in a cyst or tumor is liver and in ascites, an effusion or "
        f"the gallbladder is not{LOOK}"
    )


def asking_once(remarks: Iterable[str]) -> list[str]:
    """The remarks that are not empty, of which only the last one says that the mask is to be looked at."""
    found = list(filter(None, remarks))
    asking = [index for index, remark in enumerate(found) if remark.endswith(LOOK)]
    return [remark.removesuffix(LOOK) if index in asking[:-1] else remark for index, remark in enumerate(found)]


def cut_ends(mask: BoxMask, ct: CtVolume) -> list[str]:
    """Names (`ENDS`) of the ends of the scan that cut through the liver, so that a part of it is not in view;
    `FIELD_OF_VIEW` where padding inside the scan does."""
    found: list[str] = []
    if mask.voxels.size == 0:
        return found
    for axis, (part, count) in enumerate(zip(mask.box, mask.shape)):
        column = np.asarray(ct.ijk_to_ras, float)[:3, 2 - axis]
        world = int(np.abs(column).argmax())
        names = ENDS[world] if column[world] > 0 else ENDS[world][::-1]
        for name, touches, end in zip(names, (part.start == 0, part.stop == count), (0, -1)):
            if touches and mask.voxels.take(end, axis).any():
                areas = np.count_nonzero(mask.voxels, axis=tuple(other for other in range(3) if other != axis))
                if areas[end] > CUT_SHARES.get(name, OTHER_CUT_SHARE) * areas.max():
                    found.append(name)
    if surface_at_padding(mask, ct) > LEAST_PADDED_SURFACE:
        found.append(FIELD_OF_VIEW)
    return found


def surface_at_padding(mask: BoxMask, ct: CtVolume) -> float:
    """Part of the mask's surface, 0 to 1, beside which the scan holds padding: one value, lower than that of air."""
    values = fill_values(ct.hu)
    values = values[values < HU_WINDOW[0]]
    if len(values):
        values = values[(values < HIGHEST_PADDING_HU) | (values > sampled(ct.hu).min())]
    if not len(values):
        return 0.0
    reaches = [1 + round(PADDING_REACH_MM / spacing) for spacing in ct.spacing[::-1]]
    around = _Surroundings(mask, max(reaches), ct.hu, values)
    total = padded = 0.0
    for axis, (spacing, reach) in enumerate(zip(ct.spacing[::-1], reaches) if around.low.any() else ()):
        count, beside = around.faces(axis, reach)
        total += (count - _voxels_at_ends(mask, axis)) / spacing
        padded += beside / spacing
    return padded / total if total else 0.0


class _Surroundings:
    """A mask's box with a margin around it, and the scan there. low: bool, of its shape; padding is nowhere else."""

    def __init__(self, mask: BoxMask, margin: int, hu: np.ndarray, values: np.ndarray) -> None:
        """values: those of padding."""
        self._inside, self._hu, self._values = np.pad(mask.voxels.view(bool), margin), hu, values
        self._first = [first - margin for first in mask.start]
        box = boxes.grown(mask.box, margin, mask.shape)
        self.low: np.ndarray = np.zeros(self._inside.shape, bool)
        here = tuple(slice(part.start - first, part.stop - first) for part, first in zip(box, self._first))
        np.less_equal(hu[box], values.max(), out=self.low[here])

    def faces(self, axis: int, reach: int) -> tuple[int, int]:
        """Numbers of the mask's faces across an axis, and of those with padding within `reach` voxels outward."""
        inside, low, step = self._inside.reshape(-1), self.low.reshape(-1), self._inside.strides[axis]
        places = np.flatnonzero(inside[:-step] != inside[step:])
        outward = np.where(inside[places], step, -step)
        places -= np.minimum(outward, 0)
        beside = np.zeros(len(places), bool)
        for _ in range(reach):
            places += outward
            near = np.flatnonzero(low[places])
            beside[near] |= self._is_padding(places[near])
        return len(places), int(np.count_nonzero(beside))

    def _is_padding(self, places: np.ndarray) -> np.ndarray:
        kji = (index + first for index, first in zip(np.unravel_index(places, self.low.shape), self._first))
        return np.isin(self._hu[tuple(kji)], self._values)


def _voxels_at_ends(mask: BoxMask, axis: int) -> int:
    """Number of voxels of a mask at the ends of its grid along an axis, beyond which nothing is known."""
    touches = (0, mask.start[axis] == 0), (-1, mask.box[axis].stop == mask.shape[axis])
    return sum(int(np.count_nonzero(mask.voxels.take(end, axis))) for end, is_end in touches if is_end)


def incomplete(ends: Sequence[str]) -> str:
    """What to say of a liver that these ends of the scan cut; empty when there is none."""
    names = [end for end in ends if end != FIELD_OF_VIEW]
    by = [f"the {' and the '.join(names)} end of the scan"] if names else []
    if FIELD_OF_VIEW in ends:
        by.append("the edge of the field of view")
    return f"cut by {' and by '.join(by)}, volume of the part in view" if ends else ""


def hint(found: Attenuation | None) -> str:
    """What the attenuation may point to, worded as no more than a hint; empty when there is nothing."""
    if found is None or found.mean_hu > FATTY_HU:
        return ""
    return f"hint: at most {FATTY_HU:.0f} HU; on a non-contrast CT this can mean a fatty liver"
