"""A scan whose slices lie nearer to each other or farther apart than it says is told, one that is right is not."""

import numpy as np
import pytest

from LiverGTANLib.core import proportion_check, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.proportion_check import body_ratio, check_proportions, lengthened_and_shortened
from LiverGTANLib.core.volume import AIR, CtVolume
from LiverGTANLib.standalone.image_files import read_ct


@pytest.fixture(scope="module", params=weight_file.available())
def engine(request):
    return NumpyEngine(weight_file.load(request.param))


@pytest.mark.slow
@pytest.mark.parametrize(
    "factor, words",
    [(1, ""), (2, "times too long from head to feet"), (1 / 3, "times too short from head to feet")],
)
def test_a_body_that_is_too_long_is_told(sampleCt, engine, factor, words):
    ct = CtVolume(sampleCt.hu, np.diag([1, 1, factor, 1.0]) @ sampleCt.ijk_to_ras)
    reasons = [finding.reason for finding in check_proportions(segmenter.analyze(ct, engine), engine)]
    assert len(reasons) == bool(words)
    assert all(words in reason for reason in reasons)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sides, words", [((1, 1, 1), ""), ((1, 1, 0.5), "times too short"), ((0.6, 0.6, 1), "times too long")]
)
def test_a_slice_distance_or_a_pixel_size_that_is_wrong_is_told(engine, sharedData, sides, words):
    ct = read_ct(sharedData / "ct" / "hcc_tace_seg_048.nii.gz")
    scaled = CtVolume(ct.hu, np.diag([*sides, 1.0]) @ ct.ijk_to_ras)
    reasons = [finding.reason for finding in check_proportions(segmenter.analyze(scaled, engine), engine)]
    assert len(reasons) == bool(words)
    assert all(words in reason for reason in reasons)


@pytest.mark.slow
def test_half_a_dome_says_nothing_of_its_length(engine, sharedData):
    ct = read_ct(sharedData / "ct" / "rider_pilot_0117.nii.gz")
    assert check_proportions(segmenter.analyze(ct, engine), engine) == []


@pytest.mark.slow
def test_it_is_the_body_that_counts_not_the_order_of_the_voxels(sampleCt, engine):
    coronal = CtVolume(sampleCt.hu.transpose(1, 0, 2), sampleCt.ijk_to_ras[:, [0, 2, 1, 3]])
    assert check_proportions(segmenter.analyze(coronal, engine), engine) == []


def test_without_a_liver_or_a_body_there_is_nothing_to_go_by(engine, sharedData):
    ct = read_ct(sharedData / "ct" / "totalsegmentator_s0002_no_liver.nii.gz")
    drawnOut = CtVolume(ct.hu, np.diag([1, 1, 2.0, 1]) @ ct.ijk_to_ras)
    assert check_proportions(segmenter.analyze(drawnOut, engine), engine) == []
    assert body_ratio(np.full((32, 32, 32), AIR, np.float32), 2.5) is None


def test_copies_hold_the_same_body_at_twice_and_half_the_length(sampleCt, engine, monkeypatch):
    analysis = segmenter.analyze(sampleCt, engine)
    monkeypatch.setattr(proportion_check, "AROUND_LIVER_MM", 1e4)
    longer, shorter = lengthened_and_shortened(analysis, engine.student.multiple)
    assert not any(side % engine.student.multiple for copy in (longer, shorter) for side in copy.shape)
    image = analysis.image.astype(float)
    np.testing.assert_allclose(longer.sum((0, 1)), 2 * image.sum((0, 1)), rtol=1e-3, atol=0.5)
    half = len(image) // 2
    np.testing.assert_allclose(shorter[:half], (image[::2] + image[1::2]) / 2, atol=1e-6)
    assert (shorter[half:] == AIR).all()
