"""Sequences of CTs in a browser, for the tests of their segmentation."""

import numpy as np
import slicer
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray

from LiverGTANLib.core.phantom import phantom_ct

SPACING_MM = (5.0, 5.0, 5.0)


def phantomFrames(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(HU, ijk to RAS) of one phantom that moves by a voxel from frame to frame, so that its volume stays."""
    ct, _ = phantom_ct(SPACING_MM)
    return [(np.roll(ct.hu, number, axis=2).astype(np.int16), ct.ijk_to_ras) for number in range(count)]


def addVolumes(frames, className="vtkMRMLScalarVolumeNode") -> list:
    """Nodes of frames, in the scene."""
    nodes = []
    for number, (values, matrix) in enumerate(frames):
        node = slicer.mrmlScene.AddNewNodeByClass(className, f"frame {number}")
        node.SetIJKToRASMatrix(vtkMatrixFromArray(matrix))
        updateVolumeFromArray(node, values)
        nodes.append(node)
    return nodes


def addSequence(nodes, indices=None, name="CT", times=None):
    """A sequence of copies of nodes, which leave the scene, without a browser.

    indices: texts that are no numbers, else times: texts that are, by default each 1.5 s.
    """
    numbers = indices or times or [f"{1.5 * number:g}" for number in range(len(nodes))]
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    sequence.SetIndexType(sequence.TextIndex if indices else sequence.NumericIndex)
    for number, node in enumerate(nodes):
        sequence.SetDataNodeAtValue(node, numbers[number])
        slicer.mrmlScene.RemoveNode(node)
    return sequence


def addBrowser(sequence):
    """(browser, the volume in which it shows a frame)."""
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser, browser.GetProxyNode(sequence)


def addPhantomSequence(count: int = 4):
    """(browser, volume) of a sequence of moving phantoms."""
    return addBrowser(addSequence(addVolumes(phantomFrames(count))))
