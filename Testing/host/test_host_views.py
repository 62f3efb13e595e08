"""The host's views: a CT with a segment, drawn by Slicer's own displayable managers."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer


def test_slice_and_3d_view_show_the_segment_on_the_patients_right(slicerHost, tmp_path):
    """A body of soft tissue with a ball of 24 mm radius, 2 x 2 x 3 mm."""
    from host.pythonqt import qt
    from host.views import SliceView, ThreeDView, savePicture

    k, j, i = np.mgrid[0:40, 0:64, 0:64]
    hu = np.where(((i - 32) / 28) ** 2 + ((j - 32) / 24) ** 2 < 1, 40, -1000).astype(np.int16)
    ball = ((i - 22) / 12) ** 2 + ((j - 30) / 12) ** 2 + ((k - 20) / 8) ** 2 < 1
    volume = slicer.util.addVolumeFromArray(hu, np.diag([-2.0, -2.0, 3.0, 1.0]))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("", "liver", (0.87, 0.51, 0.4))
    slicer.util.updateSegmentBinaryLabelmapFromArray(ball.astype(np.uint8), segmentation, segment, volume)
    segmentation.CreateClosedSurfaceRepresentation()

    view = SliceView(volume, "Axial", size=(200, 160))
    picture = view.picture()
    view.close()
    liver = reddish(picture)
    assert picture.shape == (160, 200, 3) and np.nonzero(liver)[1].mean() < 85
    mmPerPixel = 96 / np.ptp(np.nonzero((picture > 60).all(axis=2).any(axis=1))[0])
    assert liver.sum() * mmPerPixel**2 == pytest.approx(np.pi * 24**2, rel=0.08)

    view = ThreeDView(size=(150, 150))
    shown = reddish(view.picture()).mean()
    segmentation.GetDisplayNode().SetVisibility(False)
    assert shown > 0.1 and not reddish(view.picture()).any()
    view.close()

    savePicture(picture, tmp_path / "ř.png")
    color = qt.QImage(str(tmp_path / "ř.png")).pixelColor(60, 80).getRgb()[:3]
    assert color == tuple(picture[80, 60])
    with pytest.raises(OSError, match="Cannot write"):
        savePicture(picture, tmp_path / "missing" / "x.png")


def reddish(picture: np.ndarray) -> np.ndarray:
    """Where a picture has the segment's hue: neither black nor gray."""
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    return red - blue > 15
