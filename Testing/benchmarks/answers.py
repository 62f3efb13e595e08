"""Every answer to a moved slider, box or point, without the scene: from logits to what is to be shown."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from LiverGTANLib.core import measurements, segmenter, uncertainty, weight_file
from LiverGTANLib.core.clicks import Click
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import MaskParameters, PostprocessSettings
from LiverGTANLib.core.region import Region
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.core.volume import CtVolume


def actions(ct: CtVolume, times: int) -> dict[str, Callable[[int], object]]:
    """What the user does -> the work of its n-th time of `times`, which is never the same."""
    analysis = segmenter.analyze(ct, NumpyEngine(weight_file.load(DEFAULT_STUDENT)))
    whole = segmenter.mask(analysis, ct)
    volume_ml = measurements.volume_ml(whole.voxels, ct.ijk_to_ras)
    rng = np.random.default_rng(0)
    voxels = rng.permutation(np.argwhere(whole.full()))[: 4 * times + 9]
    points = [tuple((ct.ijk_to_ras @ [*kji[::-1], 1])[:3]) for kji in voxels]
    nine = [Click(point, number % 2 == 0) for number, point in enumerate(points[-9:])]

    def region(n: int, degrees: float) -> Region:
        angle, matrix = np.deg2rad(degrees), np.eye(4)
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix[:3, 3] = np.array(points[0]) + n
        return Region(matrix, (120.0, 120.0, 100.0))

    ninth = replace(analysis)  # with a cache of its own, as of a user who sets point after point
    segmenter.mask(ninth, ct, MaskParameters(clicks=tuple(nine)))

    def mask(*clicks: Click, box: Region | None = None, **settings: float) -> segmenter.BoxMask:
        return segmenter.mask(analysis, ct, MaskParameters(PostprocessSettings(**settings), box, clicks))

    def interval(threshold: float) -> uncertainty.VolumeInterval:
        return uncertainty.interval(analysis, volume_ml, MaskParameters(PostprocessSettings(threshold=threshold)))

    return {
        "threshold moved": lambda n: mask(threshold=0.3 + 0.01 * n),
        "smoothness moved": lambda n: mask(smoothing_mm=2 + 0.1 * n),
        "ROI dragged, coarse": lambda n: segmenter.coarse_mask(analysis, MaskParameters(region=region(n, 0))),
        "ROI released": lambda n: mask(box=region(n, 0)),
        "ROI turned by 30 degrees, released": lambda n: mask(box=region(n, 30)),
        "first click": lambda n: mask(Click(points[n], False)),
        "tenth click": lambda n: segmenter.mask(
            ninth, ct, MaskParameters(clicks=(*nine, Click(points[times + n], False)))
        ),
        "first of ten clicks moved": lambda n: mask(Click(points[2 * times + n], False), *nine),
        "volume as an interval": lambda n: interval(0.5 + 0.001 * n),
        "uncertainty overlay": lambda n: uncertainty.overlay(analysis),
        "attenuation": lambda n: measurements.attenuation(ct, whole),
    }
