"""Segmentation metrics in native millimetres, for two masks on one grid.

Surface elements and distances come from MONAI; NSD, HD95 and ASSD weigh them by area, as DeepMind's surface-distance
defines them (the test compares the two).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Metrics:
    """Of one case. Distances are mm and NaN where one mask is empty; volume_error is (ours - reference) / reference."""

    dice: float
    nsd2: float
    nsd3: float
    hd95: float
    assd: float
    volume_ml: float
    reference_ml: float

    @property
    def volume_error(self) -> float:
        """Relative, signed; NaN without a reference volume."""
        return (self.volume_ml - self.reference_ml) / self.reference_ml if self.reference_ml else float("nan")


def measure(mask: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]) -> Metrics:
    """All metrics; `spacing_mm` along the arrays' axes. Two empty masks agree fully."""
    mask, reference = np.asarray(mask, bool), np.asarray(reference, bool)
    if mask.shape != reference.shape:
        raise ValueError(f"The masks differ in shape: {mask.shape} and {reference.shape}.")
    millilitres = float(np.prod(spacing_mm)) / 1000
    total = int(mask.sum()) + int(reference.sum())
    dice = 2 * int((mask & reference).sum()) / total if total else 1.0
    volumes = mask.sum() * millilitres, reference.sum() * millilitres
    if not mask.any() or not reference.any():
        agree = 1.0 if not total else 0.0
        return Metrics(dice, agree, agree, float("nan"), float("nan"), *map(float, volumes))
    distances, areas = surface(mask, reference, spacing_mm)
    return Metrics(
        dice,
        nsd(distances, areas, 2.0),
        nsd(distances, areas, 3.0),
        max(percentile(d, a, 95) for d, a in zip(distances, areas, strict=True)),
        float(sum((d * a).sum() for d, a in zip(distances, areas, strict=True)) / sum(a.sum() for a in areas)),
        *map(float, volumes),
    )


Pair = tuple[np.ndarray, np.ndarray]


def surface(mask: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[Pair, Pair]:
    """((distances from ours, from theirs), (areas of ours, of theirs)) of the surface elements."""
    from monai.metrics.utils import get_edge_surface_distance

    box = tuple(slice(max(0, i.min() - 2), i.max() + 3) for i in np.nonzero(mask | reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edges, distances, areas = get_edge_surface_distance(
            torch.from_numpy(np.ascontiguousarray(mask[box])),
            torch.from_numpy(np.ascontiguousarray(reference[box])),
            spacing=list(spacing_mm),
            use_subvoxels=True,
            symmetric=True,
        )
    ours, theirs = (d.numpy().astype(np.float64) for d in distances)
    weights = tuple(a[e].numpy().astype(np.float64) for a, e in zip(areas, edges, strict=True))
    return (ours, theirs), weights


def nsd(distances: Pair, areas: Pair, tolerance_mm: float) -> float:
    """Share of both surfaces within the tolerance of the other."""
    near = sum(a[d <= tolerance_mm].sum() for d, a in zip(distances, areas, strict=True))
    return float(near / sum(a.sum() for a in areas))


def percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    """The distance below which `percent` of the area lies."""
    order = np.argsort(distances)
    share = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order][min(np.searchsorted(share, percent / 100), len(order) - 1)])
