"""The host's views: a CT with a segment, drawn by Slicer's own displayable managers."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer

COLOR = np.array([221, 130, 101])


@pytest.fixture
def scan(slicerHost):
    """A body of soft tissue with a liver-like ellipsoid on the patient's right, 2 x 2 x 3 mm."""
    k, j, i = np.mgrid[0:40, 0:64, 0:64]
    hu = np.full(k.shape, -1000, np.int16)
    hu[((i - 32) / 28) ** 2 + ((j - 32) / 24) ** 2 < 1] = 40
    inside = ((i - 22) / 12) ** 2 + ((j - 30) / 12) ** 2 + ((k - 20) / 12) ** 2 < 1
    volume = slicer.util.addVolumeFromArray(hu, np.diag([-2.0, -2.0, 3.0, 1.0]))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("", "liver", tuple(COLOR / 255))
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), segmentation, segment, volume)
    segmentation.CreateClosedSurfaceRepresentation()
    return volume, segmentation


def _reddish(picture: np.ndarray) -> np.ndarray:
    """Where a picture has the segment's hue: neither black nor gray."""
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    return red - blue > 15


def test_an_axial_slice_shows_ct_and_segment_on_the_patients_right(scan):
    from host.views import SliceView

    volume, _ = scan
    view = SliceView(volume, "Axial", size=(200, 160))
    picture = view.picture()
    view.close()
    assert picture.shape == (160, 200, 3) and picture.dtype == np.uint8
    liver = _reddish(picture)
    _, columns = np.nonzero(liver)
    assert columns.mean() < 85, "the patient's right is on the left of the picture"
    millimetersPerPixel = 48 * 2 / np.ptp(np.nonzero((picture > 60).all(axis=2).any(axis=1))[0])
    assert liver.sum() * millimetersPerPixel**2 == pytest.approx(np.pi * 24**2, rel=0.08)


def test_a_slice_beside_the_segment_shows_none(scan):
    from host.views import SliceView

    volume, _ = scan
    view = SliceView(volume, "Axial", ras=(-60, -60, 6), size=(100, 100))
    picture = view.picture()
    view.close()
    assert not _reddish(picture).any() and (picture > 60).any()


@pytest.mark.parametrize("orientation", ["Coronal", "Sagittal"])
def test_other_orientations(scan, orientation):
    from host.views import SliceView

    volume, _ = scan
    view = SliceView(volume, orientation, ras=(-44, -60, 60), size=(120, 120))
    rows, columns = np.nonzero(_reddish(view.picture()))
    view.close()
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(72 / 48, rel=0.1)


def test_the_3d_view_follows_the_segmentation(scan, tmp_path):
    from host.views import ThreeDView

    _, segmentation = scan
    view = ThreeDView(size=(150, 150))
    shown = _reddish(view.picture()).mean()
    view.save(tmp_path / "view.png")
    segmentation.GetDisplayNode().SetVisibility(False)
    hidden = _reddish(view.picture()).mean()
    view.close()
    assert 0.1 < shown < 0.6 and hidden == 0
    assert (tmp_path / "view.png").read_bytes().startswith(b"\x89PNG")


def test_four_up_shows_the_segment_in_every_view(scan):
    from host.views import fourUp

    volume, _ = scan
    picture = _reddish(fourUp(volume, ras=(-44, -60, 60), size=(100, 80)))
    assert picture.shape == (160, 200)
    assert all(0.02 < view.mean() < 0.6 for half in np.vsplit(picture, 2) for view in np.hsplit(half, 2))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLViewNode") == 0


def test_a_saved_picture_has_the_same_pixels(slicerHost, tmp_path):
    from host.qtmodule import qt
    from host.views import savePicture

    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    savePicture(pixels, tmp_path / "ř.png")
    read = qt.QImage(str(tmp_path / "ř.png"))
    colors = [[read.pixelColor(x, y).getRgb()[:3] for x in range(5)] for y in range(7)]
    assert np.array_equal(colors, pixels)
    with pytest.raises(OSError, match="Cannot write"):
        savePicture(pixels, tmp_path / "missing" / "x.png")
