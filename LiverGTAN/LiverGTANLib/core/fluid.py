"""Fluid within a mask: ascites, an effusion or the gallbladder that was taken for liver, or what a tumor or cyst holds.

A network that takes fluid for liver is often sure of it, so that no range of the volume tells; HU do.
"""

import numpy as np

from . import boxes, components, segmenter
from .guided_filter import CellNeighborhoods
from .measurements import LOOK
from .postprocess import Analysis, MaskParameters

FLUID_HU = (-15.0, 28.0)
"""Mean of 3x3x3 cells of fluid: ascites, effusions, bile, cysts, necrosis. Fat is darker, most livers are brighter."""

DARKER_HU, OTHER_SHARE = 20.0, 0.75
"""Fluid is darker by this than what only a quarter of the mask is brighter than: a fatty liver is as dark as fluid in
all of it, and a mask may hold more fluid than liver."""

FULL = 27
"""Cells of a 3x3x3 neighborhood."""

LEAST_ML = 20.0
"""Less is not spoken of. Chosen on the 35 CTs with liver of the training's data folder, with both students: they have
19 mL at most, but 25 and 34 of a pleural effusion (lidc_idri_0314), 223 and 246 of a dying tumor (msd_liver_04) and,
with student-100k, 388 of ascites (tcga_ov_09_2043)."""


def dark_ml(analysis: Analysis, parameters: MaskParameters) -> float:
    """Volume of the largest connected part of a mask on the model grid, without its rim of one cell, that is as dark as
    fluid; 0 where that is less than `LEAST_ML`."""
    found = segmenter.coarse_mask(analysis, parameters)
    if found.empty:
        return 0.0
    box = boxes.grown(found.box, 1, found.shape)
    inside = np.zeros(boxes.shape(box), bool)
    inside[boxes.relative_to(box, found.box)] = found.voxels > 0
    around = CellNeighborhoods(inside.shape)
    inner = around.cells(around.sum(around.flat(inside))) == FULL
    hu = analysis.hu(box)
    # Most masks end here: noise makes neither half of a fluid as bright as liver nor so much of a liver as dark.
    if analysis.volume_ml(inner & (hu < FLUID_HU[1]), box) < LEAST_ML / 2:
        return 0.0
    smooth = around.cells(around.mean(around.flat(hu)))
    limit = min(FLUID_HU[1], float(np.quantile(smooth[inner], OTHER_SHARE)) - DARKER_HU)
    runs = components.runs_of(inner & (smooth > FLUID_HU[0]) & (smooth < limit))
    if not len(runs.starts):
        return 0.0
    labels = runs.components()
    largest = np.bincount(labels, weights=runs.lengths).argmax()
    volume_ml = analysis.volume_ml(runs.some(labels == largest).painted(1), box)
    return volume_ml if volume_ml >= LEAST_ML else 0.0


def dark(volume_ml: float) -> str:
    """What to say of `dark_ml`; empty for 0."""
    if not volume_ml:
        return ""
    return (
        f"{volume_ml:.0f} mL are as dark as fluid, which in a cyst or tumor is liver and in ascites, an effusion or "
        f"the gallbladder is not{LOOK}"
    )
