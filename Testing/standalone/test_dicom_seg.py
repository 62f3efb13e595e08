"""DICOM SEG out: read back with highdicom, and into Slicer's libraries."""

import io
from copy import deepcopy
from types import SimpleNamespace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.core.volume import CtVolume, InputError
from LiverGTANLib.standalone.dicom import segmentation
from LiverGTANLib.standalone.dicom.reader import DicomCt, read_dicom
from LiverGTANLib.standalone.dicom.segmentation import MAY_BE_EMPTY, read_segmentation, write_segmentation
from LiverGTANLib.standalone.image_files import read_labels
from support.dicom_cases import ctSlices, enhancedCt, ijkToRas, save, smallHu

BOX = (slice(2, 6), slice(10, 20), slice(5, 30))


@pytest.fixture(scope="module")
def student():
    return weight_file.load(DEFAULT_STUDENT)


def boxMask(shape: tuple[int, int, int]) -> BoxMask:
    voxels = np.ones([part.stop - part.start for part in BOX], np.uint8)
    voxels[1, :5] = 0
    return BoxMask(voxels, tuple(part.start for part in BOX), shape)


def written(source: DicomCt, path, student) -> np.ndarray:
    mask = boxMask(source.ct.shape)
    write_segmentation(path, mask, source.images, student)
    return mask.full()


@pytest.fixture
def source(tmp_path) -> DicomCt:
    slices = ctSlices(smallHu())
    return read_dicom(save(tmp_path / "ct", [slices[k] for k in (4, 1, 0, 7, 6, 2, 3, 5)]))


@pytest.mark.slow
def test_the_mask_comes_back_with_the_place_of_the_ct(source, tmp_path, student):
    mask = written(source, tmp_path / "liver.dcm", student)
    volume = hd.seg.segread(tmp_path / "liver.dcm").get_volume(combine_segments=True)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    places = {tuple(np.round((to_ras @ [*index, 1])[:3], 3)) for index in np.argwhere(volume.array > 0)}
    expected = {tuple(np.round((ijkToRas() @ [i, j, k, 1])[:3], 3)) for k, j, i in np.argwhere(mask)}
    assert places == expected
    np.testing.assert_array_equal(read_segmentation(tmp_path / "liver.dcm", source.images), mask)


@pytest.mark.slow
def test_an_error_of_the_disk_holds_no_part_of_what_was_to_be_written(source, tmp_path, student, monkeypatch):
    """Python 3.13 prints a BufferError when it frees a stream of which the error's traceback still holds a buffer."""
    streams = []

    class Stream(io.BytesIO):
        def __init__(self):
            super().__init__()
            streams.append(self)

    monkeypatch.setattr(segmentation, "io", SimpleNamespace(BytesIO=Stream))
    with pytest.raises(OSError) as caught:
        written(source, tmp_path / "absent" / "liver.dcm", student)
    assert caught.tb is not None and len(streams) == 1
    streams[0].close()


@pytest.mark.slow
def test_it_names_liver_network_and_the_images_it_belongs_to(source, tmp_path, student):
    written(source, tmp_path / "liver.dcm", student)
    segmentation = hd.seg.segread(tmp_path / "liver.dcm")
    ct = pydicom.dcmread(source.images[0].path)
    assert (segmentation.StudyInstanceUID, segmentation.PatientID) == (ct.StudyInstanceUID, ct.PatientID)
    assert segmentation.FrameOfReferenceUID == ct.FrameOfReferenceUID
    assert segmentation.SeriesInstanceUID != ct.SeriesInstanceUID
    description = segmentation.get_segment_description(1)
    assert description.segment_label == "liver"
    assert (description.segmented_property_type.value, description.segmented_property_type.scheme_designator) == (
        "10200004",
        "SCT",
    )
    assert description.segmented_property_category.value == "123037004"
    algorithm = description.algorithm_identification
    assert (algorithm.name, algorithm.version) == (student.name, student.sha256[:16])
    referenced = segmentation.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == ct.SeriesInstanceUID
    instances = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    assert instances == {image.instance for image in source.images}


@pytest.mark.slow
def test_the_slices_of_a_tilted_gantry_keep_their_places(tmp_path, student):
    source = read_dicom(save(tmp_path / "ct", ctSlices(smallHu(), tilt=15)))
    mask = written(source, tmp_path / "liver.dcm", student)
    segmentation = pydicom.dcmread(tmp_path / "liver.dcm")
    axes = segmentation.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(np.reshape(axes, (2, 3)).astype(float), source.images[0].axes)
    places = [f.PlanePositionSequence[0].ImagePositionPatient for f in segmentation.PerFrameFunctionalGroupsSequence]
    drawn = [image.position.tolist() for image, plane in zip(source.images, mask) if plane.any()]
    np.testing.assert_allclose(sorted(map(list, places)), sorted(drawn))
    np.testing.assert_array_equal(read_segmentation(tmp_path / "liver.dcm", source.images), mask)


def test_an_empty_mask_is_an_empty_segment(source, tmp_path, student):
    empty = BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), source.ct.shape)
    write_segmentation(tmp_path / "liver.dcm", empty, source.images, student)
    assert not read_segmentation(tmp_path / "liver.dcm", source.images).any()


def test_it_refers_to_the_frames_of_an_enhanced_file(tmp_path, student):
    enhancedCt(smallHu(), order=[3, 0, 1, 7, 6, 2, 4, 5]).save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    source = read_dicom(tmp_path / "ct.dcm")
    mask = written(source, tmp_path / "liver.dcm", student)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "liver.dcm", source.images), mask)


def test_slices_whose_class_the_header_of_the_file_alone_states_can_be_referred_to(tmp_path, student):
    folder = save(tmp_path / "ct", ctSlices(smallHu()))
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = ""
        dataset.save_as(path)
    source = read_dicom(folder)
    mask = written(source, tmp_path / "liver.dcm", student)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "liver.dcm", source.images), mask)


def test_it_is_read_onto_any_grid_of_the_same_voxels(source, tmp_path, student):
    mask = written(source, tmp_path / "liver.dcm", student)
    np.testing.assert_array_equal(read_labels(tmp_path / "liver.dcm", source.ct), mask)
    turned = source.ct.ijk_to_ras @ np.array([[-1, 0, 0, mask.shape[2] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(read_labels(tmp_path / "liver.dcm", CtVolume(source.ct.hu, turned)), mask[..., ::-1])
    found = np.argwhere(mask)
    lower = np.s_[: found[:, 0].max()]
    for hu, scale in ((source.ct.hu, 1.1), (source.ct.hu[lower], 1.0)):
        with pytest.raises(InputError, match="does not lie on the CT's grid"):
            read_labels(tmp_path / "liver.dcm", CtVolume(hu, source.ct.ijk_to_ras * scale))


def test_segments_that_overlap_are_no_labels(source, tmp_path, student):
    written(source, tmp_path / "liver.dcm", student)
    one = hd.seg.segread(tmp_path / "liver.dcm").get_segment_description(1)
    both = [deepcopy(one), deepcopy(one)]
    both[1].SegmentNumber = 2
    slices = [pydicom.dcmread(image.path) for image in source.images]
    for dataset in slices:
        for keyword in (name for name in MAY_BE_EMPTY if name not in dataset):
            setattr(dataset, keyword, "")
        dataset.SliceThickness = 3
    hd.seg.Segmentation(
        slices, np.ones((*source.ct.shape, 2), np.uint8), "BINARY", both, generate_uid(), 2, generate_uid(), 1,
        "a", "b", "c", "d",
    ).save_as(tmp_path / "both.dcm")  # fmt: skip
    with pytest.raises(InputError, match="no segmentation of one label a voxel"):
        read_labels(tmp_path / "both.dcm", source.ct)


def test_phases_of_an_enhanced_file_are_refused(tmp_path, student):
    both = np.concatenate([smallHu(), smallHu(seed=1)])
    enhancedCt(both, phases=2).save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"write \.nrrd instead"):
        written(read_dicom(tmp_path / "ct.dcm", 2), tmp_path / "liver.dcm", student)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"StudyInstanceUID": ""}, "has no StudyInstanceUID"),
        ({"FrameOfReferenceUID": ""}, "has no FrameOfReferenceUID"),
        ({"SOPInstanceUID": "1.2.3"}, "share one identifier"),
        ({"SeriesInstanceUID": None}, "a series identifier of its own"),
    ],
)
def test_what_cannot_be_referred_to_is_refused_and_another_format_named(tmp_path, student, change, words):
    slices = ctSlices(smallHu())
    for dataset in slices:
        for keyword, value in change.items():
            setattr(dataset, keyword, generate_uid() if value is None else value)
    source = read_dicom(save(tmp_path / "ct", slices))
    with pytest.raises(InputError, match=words) as error:
        written(source, tmp_path / "liver.dcm", student)
    assert "write .nrrd instead" in str(error.value)


def test_slicers_libraries_read_it_into_a_segmentation(source, tmp_path, student, slicerHost):
    import slicer
    from vtk import vtkMatrix4x4
    from vtk.util.numpy_support import vtk_to_numpy

    mask = written(source, tmp_path / "liver.dcm", student)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "liver.dcm"))
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert storage.ReadData(labels)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, segmentation)
    (segmentId,) = segmentation.GetSegmentation().GetSegmentIDs()
    image = slicer.vtkOrientedImageData()
    assert segmentation.GetBinaryLabelmapRepresentation(segmentId, image)
    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    toRas = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    first = np.array(image.GetExtent()[::2])
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    places = {tuple(np.round((toRas @ [*(first + ijk[::-1]), 1])[:3], 3)) for ijk in np.argwhere(voxels)}
    assert places == {tuple(np.round((ijkToRas() @ [i, j, k, 1])[:3], 3)) for k, j, i in np.argwhere(mask)}
