"""The scenarios of `LiverGTANTest`: what a user does first, checked on a generated CT in a running Slicer."""

import tempfile
from pathlib import Path

import numpy as np
import slicer
from slicer.util import arrayFromSegmentBinaryLabelmap, arrayFromVolume, updateVolumeFromArray, vtkMatrixFromArray

from ..core import measurements
from ..core.phantom import phantom_ct
from ..core.volume import InputError
from . import points, roi, scene


def addPhantom(name: str = "Phantom", spacingMm: tuple[float, float, float] = (2.0, 2.0, 3.0)):
    """Add the generated CT to the scene; returns (volume node, its liver as (K, J, I) uint8).

    spacingMm: voxel size along i, j, k.
    """
    ct, liver = phantom_ct(spacingMm)
    volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    volumeNode.SetIJKToRASMatrix(vtkMatrixFromArray(ct.ijk_to_ras))
    updateVolumeFromArray(volumeNode, ct.hu)
    volumeNode.CreateDefaultDisplayNodes()
    return volumeNode, liver


def segmentPhantom(test, logic) -> None:
    """Segment a generated CT."""
    volumeNode, liver = addPhantom()
    result = logic.process(volumeNode)
    segment = result.segmentation.GetSegmentation().GetSegment(result.segmentId)
    mask = arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, volumeNode)
    test.assertGreater(measurements.dice(mask, liver), 0.8)
    test.assertAlmostEqual(
        result.volumeMl, np.count_nonzero(mask) * measurements.voxel_ml(scene.ijkToWorld(volumeNode)), places=3
    )
    test.assertEqual(segment.GetName(), "liver")
    test.assertEqual(scene.referenceVolume(result.segmentation), volumeNode)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [hierarchy.GetItemByDataNode(node) for node in (volumeNode, result.segmentation)]
    if all(items):  # made by the application's own subject hierarchy plugins
        test.assertEqual(*[hierarchy.GetItemParent(item) for item in items])


def segmentTwiceAndUndo(test, logic) -> None:
    """Segment again beside a user's own segment, then undo."""
    volumeNode, _ = addPhantom()
    result = logic.process(volumeNode)
    segmentation = result.segmentation.GetSegmentation()
    segmentation.AddEmptySegment("tumor", "tumor")
    again = logic.process(volumeNode, result.segmentation)
    test.assertEqual(again.segmentId, result.segmentId)
    test.assertEqual(segmentation.GetNumberOfSegments(), 2)
    test.assertNotIn("network", again.seconds)  # the analysis of the same image was cached
    test.assertEqual(logic.session.undoObstacle(again.segmentation), "")
    logic.session.undo()
    logic.session.undo()
    test.assertIsNone(segmentation.GetSegment(result.segmentId))


def refuseWhatIsNoCt(test, logic) -> None:
    """An image without negative values is refused with a sentence."""
    volumeNode, _ = addPhantom("MR")
    updateVolumeFromArray(volumeNode, (arrayFromVolume(volumeNode) // 8 + 130).astype(np.uint8))
    with test.assertRaises(InputError):
        logic.process(volumeNode)
    test.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)


def restrictAndCorrect(test, logic) -> None:
    """Restrict the mask to an ROI, take a place out by a point, and measure."""
    volumeNode, _ = addPhantom()
    whole = logic.process(volumeNode)
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(roiNode, volumeNode, whole.segmentation)
    roiNode.SetCenterWorld(np.array(roiNode.GetCenterWorld()) + [0, 0, roiNode.GetSize()[2] / 2])
    half = logic.process(volumeNode, whole.segmentation, region=roiNode)
    test.assertLess(half.volumeMl, 0.8 * whole.volumeMl)
    test.assertAlmostEqual(half.share, half.volumeMl / whole.volumeMl, delta=0.05)
    mask = arrayFromSegmentBinaryLabelmap(half.segmentation, half.segmentId, volumeNode)
    kji = np.argwhere(mask)[np.count_nonzero(mask) // 2]
    pointsNode = points.create(volumeNode, False)
    pointsNode.AddControlPointWorld((scene.ijkToWorld(volumeNode) @ [*kji[::-1], 1])[:3])
    logic.process(volumeNode, whole.segmentation, region=roiNode, notLiverPoints=pointsNode)
    mask = arrayFromSegmentBinaryLabelmap(half.segmentation, half.segmentId, volumeNode)
    test.assertFalse(mask[tuple(kji)])
    test.assertEqual(logic.table().GetNumberOfRows(), 1)


def exportForPrinting(test, logic) -> None:
    """Split the liver and write both parts as surfaces, in a folder that is removed again."""
    result = logic.process(addPhantom()[0])
    plan = logic.splitLiver(result.segmentation)
    with tempfile.TemporaryDirectory() as folder:
        parts = logic.exportParts(result.segmentation, Path(folder) / "plan.stl")
        for part, volumeMl in zip(parts, (plan.volumes.remnantMl, plan.volumes.resectedMl)):
            test.assertEqual(part.openEdges, 0)
            test.assertAlmostEqual(part.volumeMl / volumeMl, 1, delta=0.05)
            test.assertTrue(part.path.is_file())


def reviewByUncertainty(test, logic) -> None:
    """Go to the most uncertain slice and to the next, which counts the first as reviewed."""
    result = logic.process(addPhantom()[0])
    review = logic.review(result.segmentation)
    first, second = review.next(), review.next()
    test.assertGreaterEqual(first.areaCm2, second.areaCm2)
    test.assertIn(first.number, review.reviewed)
    test.assertTrue(0 < review.share < 1)
    review.undo()
    test.assertEqual(review.share, 0)


def segmentFrames(test, logic) -> None:
    """Segment a sequence of two CTs in a browser, look at both frames, and undo."""
    volumeNode, _ = addPhantom()
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "CT sequence")
    for index in ("0", "1"):
        sequence.SetDataNodeAtValue(volumeNode, index)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "CT browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    result = logic.segmentSequence(browser)
    test.assertEqual(len(result.points), 2)
    for number in (1, 0):
        browser.SetSelectedItemNumber(number)
        segment = result.segmentation.GetSegmentation().GetSegment(scene.liverSegmentId(result.segmentation))
        test.assertEqual(scene.segmentVoxels(segment), result.points[number].voxels)
    result.undo()
    test.assertEqual(browser.GetNumberOfSynchronizedSequenceNodes(True), 1)


SCENARIOS = (
    segmentPhantom,
    segmentTwiceAndUndo,
    refuseWhatIsNoCt,
    restrictAndCorrect,
    exportForPrinting,
    reviewByUncertainty,
    segmentFrames,
)
