"""CTs that are followed: loaded ones, one whose voxels change, files of a folder; from the panel and from a script."""

import os
import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import arrayFromVolume, updateVolumeFromArray

from LiverGTANLib.core import measurements
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.segmentation_job import SegmentationJob
from LiverGTANLib.mrml import follow, scene, self_test
from LiverGTANLib.standalone.nifti import write_nifti
from support.interactive_cases import letTimersFire, previews
from support.module_fixtures import gate, logic, students
from support.panel_cases import mask, panel, phantom, segmentations, workers
from support.sequence_cases import addBrowser, addSequence, addVolumes, phantomFrames

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ctFile(tmp_path_factory):
    """The phantom as a file."""
    ct, _ = phantom_ct()
    path = tmp_path_factory.mktemp("scans") / "ct.nii"
    write_nifti(path, ct.hu, ct.ijk_to_ras)
    return path


def load(path, name="CT"):
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name)


@pytest.fixture
def follower(logic, slicerHost):
    """What a script gets, following nothing yet."""
    follower = logic.follow(loaded=True)
    follower.followLoaded(False)
    follower.host = slicerHost
    yield follower
    follower.stop()
    assert not previews() and not workers()


def settle(follower) -> None:
    follower.host.wait(lambda: not follower.isRunning and not follower._waiting and not follower._gather.active)


def roll(volumeNode, voxels: int = 5) -> None:
    """New voxels, as a connection writes them: the body is moved."""
    updateVolumeFromArray(volumeNode, np.roll(arrayFromVolume(volumeNode), voxels, axis=2))


def livers() -> list:
    return [node for node in segmentations() if not node.GetHideFromEditors()]


# A CT is loaded


def test_a_loaded_ct_is_previewed_and_becomes_a_segment_on_accept_alone(follower, ctFile):
    follower.followLoaded()
    assert "loaded" in follower.state
    volumeNode = load(ctFile)
    settle(follower)
    assert follower.hasPreview and len(previews()) == 1 and not livers() and follower.latency > 0
    assert follower.state.startswith("Preview of 'CT': liver ")
    volumeNode.SetName("CT of today")
    assert follower.state.startswith("Preview of 'CT of today': liver ")
    result = follower.accept()
    assert measurements.dice(mask(result.segmentation, volumeNode), phantom_ct()[1]) > 0.8
    assert livers() == [result.segmentation] and not previews() and not follower.hasPreview


def test_accepting_never_replaces_a_liver_that_is_there(follower, ctFile, logic):
    follower.followLoaded()
    volumeNode = load(ctFile)
    settle(follower)
    first = logic.process(volumeNode).segmentation
    before = mask(first, volumeNode)
    second = follower.accept().segmentation
    assert second is not first and len(livers()) == 2
    np.testing.assert_array_equal(mask(first, volumeNode), before)


def test_of_several_that_are_loaded_the_newest_counts_and_the_others_are_named(follower, ctFile):
    follower.followLoaded()
    load(ctFile, "first")
    follower.host.wait(lambda: follower.isRunning)
    load(ctFile, "second")
    load(ctFile, "third")
    settle(follower)
    assert (
        follower.state.startswith("Preview of 'third'") and "Left for newer ones: 'second', 'first'" in follower.state
    )
    follower.discard()
    assert "first" not in follower.state


def test_a_localizer_that_is_loaded_with_a_ct_does_not_take_its_place(follower, ctFile, tmp_path):
    ct, _ = phantom_ct()
    write_nifti(tmp_path / "localizer.nii", ct.hu[:2], ct.ijk_to_ras)
    follower.followLoaded()
    load(ctFile, "CT")
    load(tmp_path / "localizer.nii", "localizer")
    settle(follower)
    assert "Preview of 'CT'" in follower.state and "'localizer' was not segmented: " in follower.state
    load(tmp_path / "localizer.nii", "second")
    settle(follower)
    assert "Preview of 'CT'" in follower.state and "'second' was not segmented: " in follower.state


def test_a_localizer_that_is_loaded_while_a_ct_is_segmented_does_not_stop_it(follower, ctFile, tmp_path, gate):
    ct, _ = phantom_ct()
    write_nifti(tmp_path / "localizer.nii", ct.hu[:2], ct.ijk_to_ras)
    follower.followLoaded()
    load(ctFile, "CT")
    follower.host.wait(lambda: follower.isRunning)
    load(tmp_path / "localizer.nii", "localizer")
    follower.host.wait(lambda: not follower._waiting)
    gate.set()
    settle(follower)
    assert "Preview of 'CT'" in follower.state and "'localizer' was not segmented: " in follower.state


def test_a_script_that_asks_for_something_wrong_leaves_nothing_on(logic, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    with pytest.raises(ValueError, match="'labels'"):
        logic.follow(loaded=True, folder=tmp_path, volume=node)
    assert not workers()


@pytest.mark.parametrize("nothing", [{}, {"folder": ""}, {"loaded": False, "volume": None, "folder": None}])
def test_a_script_that_names_nothing_to_follow_is_told(logic, nothing):
    with pytest.raises(ValueError, match="nothing to follow: give loaded=True, a volume or a folder"):
        logic.follow(**nothing)


def test_nothing_is_followed_before_it_is_asked_for(follower, ctFile):
    load(ctFile)
    settle(follower)
    assert not previews() and follower.state == "" and not follower.isOn


def test_what_is_no_loaded_ct_is_left(follower, ctFile, tmp_path):
    volumeNode = load(ctFile)
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    follower.followLoaded()
    self_test.addPhantom("made by a module")
    slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volumeNode, "clone")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.modules.volumes.logic().CreateLabelVolumeFromVolume(slicer.mrmlScene, labels, volumeNode)
    settle(follower)
    assert not previews() and follower.state == "Waiting for a CT to be loaded."


def test_a_scene_that_is_loaded_is_left(follower, ctFile, tmp_path):
    load(ctFile)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear()
    follower.followLoaded()
    assert slicer.mrmlScene.ReadFromMRB(path)
    settle(follower)
    assert not previews() and follower.loaded


@pytest.mark.parametrize("kind", ["MR", "no liver", "large"])
def test_what_is_no_ct_of_an_abdomen_is_refused_with_the_reason(follower, tmp_path, monkeypatch, kind):
    from LiverGTANLib.core import input_checks

    ct, _ = phantom_ct()
    hu = {"MR": (ct.hu // 8 + 130).astype(np.uint8), "no liver": np.where(ct.hu > 60, 40, ct.hu).astype(np.int16)}
    write_nifti(tmp_path / "scan.nii", hu.get(kind, ct.hu), ct.ijk_to_ras)
    if kind == "large":
        monkeypatch.setattr(input_checks, "MOST_CELLS_UNASKED", 1000)
    follower.followLoaded()
    load(tmp_path / "scan.nii", "scan")
    settle(follower)
    assert follower.state.startswith("'scan' was not segmented: ") and not follower.hasPreview and not previews()
    expected = {"MR": "CT", "no liver": "liver", "large": "large"}[kind]
    assert expected in follower.state and follower.state.endswith("Waiting for a CT to be loaded.")


def test_voxels_that_come_after_the_node_are_waited_for(follower, ctFile):
    follower.followLoaded()
    volumeNode = load(ctFile)
    image = volumeNode.GetImageData()
    volumeNode.SetAndObserveImageData(None)
    settle(follower)
    assert not follower.hasPreview
    volumeNode.SetAndObserveImageData(image)
    follower.host.wait(lambda: follower.hasPreview)


# A volume that changes


@pytest.fixture
def stream(follower):
    """A volume from a connection, followed."""
    volumeNode, _ = self_test.addPhantom("stream")
    follower.followVolume(volumeNode)
    settle(follower)
    assert follower.hasPreview
    return volumeNode


def previewCenter() -> float:
    (node,) = previews()
    return node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0))[0]


def test_new_voxels_are_segmented_again(follower, stream):
    before = previewCenter()
    roll(stream)
    assert "new voxels in 'stream'" in follower.state
    settle(follower)
    assert len(previews()) == 1 and before - previewCenter() == pytest.approx(5 * stream.GetSpacing()[0], abs=2)
    result = follower.accept()
    assert mask(result.segmentation, stream).any()


def test_every_way_to_tell_of_new_voxels_counts_and_a_new_name_does_not(follower, stream):
    arrayFromVolume(stream)[:8] += 1
    slicer.util.arrayFromVolumeModified(stream)
    assert follower._gather.active
    settle(follower)
    stream.GetImageData().Modified()
    assert follower._gather.active
    settle(follower)
    stream.SetName("renamed")
    assert not follower._gather.active


def test_the_newest_wins_and_nothing_queues(follower, stream, gate, logic, monkeypatch):
    logic.session._cache._engines.clear()  # the next engine waits for the gate
    jobs, segment = [], SegmentationJob.segment

    def noted(job, *arguments):
        jobs.append(job.image_key)
        return segment(job, *arguments)

    monkeypatch.setattr(SegmentationJob, "segment", noted)
    roll(stream)
    follower.host.wait(lambda: follower.isRunning)
    for _ in range(10):
        roll(stream, 1)
        follower.host.processEvents()
    gate.set()
    settle(follower)
    assert len(jobs) == 2 and jobs[-1] == scene.imageKey(stream)
    assert follower.hasPreview and "before the last change" not in follower.state


def test_rows_of_accepted_previews_go_into_the_table_that_is_there_by_then(follower, logic):
    """It was not there yet when the first preview was made; a second table would leave rows out of what is exported."""
    volumeNode, _ = self_test.addPhantom()
    follower.followVolume(volumeNode)
    settle(follower)
    logic.process(volumeNode)
    follower.accept()
    roll(volumeNode)
    settle(follower)
    follower.accept()
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == [logic.table()]
    assert logic.table().GetNumberOfRows() == 3


def test_the_first_accepted_preview_makes_the_table_of_the_logic(follower, logic):
    volumeNode, _ = self_test.addPhantom()
    follower.followVolume(volumeNode)
    settle(follower)
    assert follower.accept().tableNode == logic.table()


def test_a_preview_of_the_image_before_is_said_to_be_one_and_not_accepted(follower, stream, gate, logic):
    logic.session._cache._engines.clear()
    roll(stream)
    follower.host.wait(lambda: follower.isRunning)
    assert "before the last change" in follower.state
    with pytest.raises(ValueError, match="before its last change"):
        follower.accept()
    assert not livers()


def test_voxels_that_are_overwritten_in_place_do_not_get_into_a_running_one(follower, stream, gate, logic):
    logic.session._cache._engines.clear()
    stream.GetImageData().Modified()
    follower.host.wait(lambda: follower.isRunning)
    running = follower._running.job.ct.hu.copy()
    arrayFromVolume(stream)[:] = -1000
    np.testing.assert_array_equal(follower._running.job.ct.hu, running)


def test_what_is_unusual_of_a_liver_is_told_with_its_preview(follower, stream):
    updateVolumeFromArray(stream, arrayFromVolume(stream)[:35].copy())
    settle(follower)
    assert "mL (unusually small, look at the mask)" in follower.state


def test_an_image_that_is_taken_away_takes_its_preview_along(follower, stream):
    stream.SetAndObserveImageData(None)
    settle(follower)
    assert not previews() and "'stream' was not segmented: It holds no image" in follower.state


def test_a_change_that_leaves_no_ct_takes_the_preview_away_and_says_why(follower, stream):
    updateVolumeFromArray(stream, np.zeros_like(arrayFromVolume(stream)))
    settle(follower)
    assert not previews() and "'stream' was not segmented: " in follower.state


def test_discard_stops_what_runs_and_goes_on_following(follower, stream, gate, logic):
    logic.session._cache._engines.clear()
    roll(stream)
    follower.host.wait(lambda: follower.isRunning)
    follower.discard()
    assert not follower.isRunning and not previews() and follower.volumeNode is stream
    gate.set()
    roll(stream)
    settle(follower)
    assert follower.hasPreview


@pytest.mark.parametrize("running", [True, False])
def test_removing_the_volume_ends_it(follower, stream, gate, logic, running):
    if running:
        logic.session._cache._engines.clear()
        roll(stream)
        follower.host.wait(lambda: follower.isRunning)
    slicer.mrmlScene.RemoveNode(stream)
    follower.host.processEvents()
    gate.set()
    settle(follower)
    assert not follower.isOn and not previews() and not follower.hasPreview


def test_closing_the_scene_switches_everything_off(follower, stream, tmp_path):
    follower.followLoaded()
    follower.followFolder(tmp_path)
    slicer.mrmlScene.Clear()
    follower.host.processEvents()
    assert not follower.isOn and follower.state == "" and not previews() and not workers()


def test_what_is_no_scan_cannot_be_followed(follower):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    with pytest.raises(ValueError, match="'labels'"):
        follower.followVolume(node)
    with pytest.raises(ValueError, match="cannot be read"):
        follower.followFolder("/nowhere/at/all")
    assert not follower.isOn


# A folder


def test_a_folder_tells_of_the_newest_file_when_it_is_complete(tmp_path):
    (tmp_path / "old.nrrd").write_bytes(b"1")
    watch = follow.FolderWatch(tmp_path)
    assert watch.poll() is None and watch.poll() is None
    for name in ("a.nii.gz", "notes.txt", ".hidden.nrrd", "half.nhdr"):
        (tmp_path / name).write_bytes(b"1")
    newest = tmp_path / "b.MHA"
    newest.write_bytes(b"")
    _touch(newest, 10)
    assert watch.poll() is None and watch.waiting == "b.MHA"
    assert watch.poll() is None  # still without anything in it
    newest.write_bytes(b"12")
    _touch(newest, 20)
    assert watch.poll() is None and watch.waiting == "b.MHA"
    newest.write_bytes(b"123")  # it grows
    _touch(newest, 20)
    assert watch.poll() is None
    assert watch.poll() == newest and watch.waiting == ""
    assert watch.poll() is None  # once, and older ones never
    (tmp_path / "old.nrrd").write_bytes(b"12")  # written anew
    assert watch.poll() is None and watch.poll() == tmp_path / "old.nrrd"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_file_that_ends_too_early_is_waited_for_though_slicer_would_read_it(tmp_path, name):
    ct, _ = phantom_ct((6.0, 6.0, 6.0))
    (tmp_path / "whole").mkdir()
    write_nifti(tmp_path / "whole" / name, ct.hu, ct.ijk_to_ras)
    whole = (tmp_path / "whole" / name).read_bytes()
    watch = follow.FolderWatch(tmp_path)
    for part in (whole[:100], whole[:-20], whole):
        (tmp_path / name).write_bytes(part)
        found = [watch.poll() for _ in range(3)]
        assert (tmp_path / name in found) == (part is whole) and bool(watch.waiting) == (part is not whole)


def _touch(path, seconds: int) -> None:
    later = time.time() + seconds
    os.utime(path, (later, later))


def poll(follower, times: int = 2) -> None:
    for _ in range(times):
        follower._poll.timeout.emit()
    settle(follower)


def test_a_file_that_comes_into_the_folder_is_loaded_and_previewed(follower, tmp_path, ctFile):
    follower.followFolder(tmp_path)
    (tmp_path / "a.nii").write_bytes(ctFile.read_bytes()[:1000])
    poll(follower, 1)
    assert "'a.nii', which is being written" in follower.state
    (tmp_path / "a.nii").write_bytes(ctFile.read_bytes())
    poll(follower)
    assert follower.hasPreview and slicer.util.getNode("a") and not livers()
    assert follower.accept().volumeNode.GetName() == "a"


def test_a_file_that_is_written_again_replaces_its_volume_unless_a_segment_was_made_of_that(follower, tmp_path, ctFile):
    follower.followFolder(tmp_path)
    for number in range(3):
        (tmp_path / "a.nii").write_bytes(ctFile.read_bytes())
        _touch(tmp_path / "a.nii", 10 * number)
        poll(follower)
        if number == 1:
            assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
            kept = follower.accept()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2
    assert kept.request.imageIsUnchanged() and follower.hasPreview


def test_a_broken_file_and_a_folder_that_goes_away_are_told_and_the_next_file_counts(follower, tmp_path, ctFile):
    folder = tmp_path / "scans"
    folder.mkdir()
    follower.followFolder(folder)
    (folder / "broken.nii").write_bytes(b"no image")
    poll(follower)
    assert "'broken.nii' could not be read" in follower.state and not previews()
    (folder / "broken.nii").unlink()
    folder.rmdir()
    poll(follower)
    assert "cannot be read" in follower.state
    folder.mkdir()
    (folder / "a.nii").write_bytes(ctFile.read_bytes())
    poll(follower)
    assert follower.hasPreview and "cannot be read" not in follower.state


# The section


def test_the_section_follows_accepts_and_is_off_at_first(panel, ctFile):
    ui, following = panel.ui, panel.widget.panel.following
    following.follower.host = panel.host
    assert not ui.followLoadedCheckBox.checked and not ui.acceptButton.enabled and not ui.followLabel.text
    panel.click(ui.followLoadedCheckBox)
    volumeNode = load(ctFile)
    settle(following.follower)
    assert "Preview of" in ui.followLabel.text and ui.acceptButton.enabled
    panel.host.leaveModule()
    panel.host.openModule("LiverGTAN")
    assert following.follower.hasPreview  # another module may be open meanwhile
    panel.click(ui.acceptButton)
    panel.host.wait(lambda: panel.output is not None)
    assert ui.inputSelector.currentNode() is volumeNode and mask(panel.output, volumeNode).any()
    assert ui.resultLabel.text.startswith("Liver ") and ui.tableSelector.currentNode().GetNumberOfRows() == 1
    output = panel.output
    panel.click(ui.undoButton)
    assert scene.liverSegmentId(output) == ""


def test_the_chosen_ct_and_a_folder_are_followed_from_the_section(panel, phantom, students, tmp_path, monkeypatch):
    import qt

    ui, following = panel.ui, panel.widget.panel.following
    following.follower.host = panel.host
    panel.click(ui.followVolumeCheckBox)
    settle(following.follower)
    assert following.follower.volumeNode is phantom and following.follower.hasPreview
    analyses, forward = [], students.made[-1].forward
    students.made[-1].forward = lambda *arguments: analyses.append(1) or forward(*arguments)
    roll(phantom)
    settle(following.follower)
    letTimersFire(panel)
    assert len(analyses) == 1  # the panel does not analyze it a second time
    panel.click(ui.discardButton)
    assert not previews()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path), raising=False)
    panel.click(ui.followFolderButton)
    assert following.follower.folder == tmp_path and ui.followFolderButton.text == "Leave the folder"
    panel.click(ui.followFolderButton)
    assert following.follower.folder is None
    panel.choose(None)
    panel.click(ui.followVolumeCheckBox)
    assert following.follower.volumeNode is None and not following.follower.isOn


def test_without_a_ct_the_box_stays_off_and_says_why(panel):
    panel.click(panel.ui.followVolumeCheckBox)
    assert not panel.ui.followVolumeCheckBox.checked
    assert "Choose a CT" in panel.host.dialogs.texts("error")[0]


def test_removing_the_module_switches_it_off(panel, phantom):
    panel.click(panel.ui.followVolumeCheckBox)
    follower = panel.widget.panel.following.follower
    follower.host = panel.host
    settle(follower)
    slicer.util.reloadScriptedModule("LiverGTAN")
    assert not follower.isOn and not previews()


def drawOn(volumeNode) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    own.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def chooseIn(volumeNode) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetNodeReferenceID("inputVolume", volumeNode.GetID())


def edit(volumeNode) -> None:
    arrayFromVolume(volumeNode)[:5] = 0
    slicer.util.arrayFromVolumeModified(volumeNode)


def moveBy(volumeNode) -> None:
    volumeNode.SetOrigin(1, 2, 3)


@pytest.mark.parametrize("use", [drawOn, chooseIn, edit, moveBy])
def test_a_volume_that_is_in_use_is_not_replaced_by_its_file(slicerHost, tmp_path, use):
    ct, _ = phantom_ct((8.0, 8.0, 8.0))
    path, volumes = tmp_path / "a.nii", follow.FolderVolumes()
    write_nifti(path, ct.hu, ct.ijk_to_ras)
    first = volumes.read(path)
    assert volumes.read(path) is first  # as it is only shown
    use(first)
    before, place = arrayFromVolume(first).copy(), scene.ijkToWorld(first)
    write_nifti(path, np.roll(ct.hu, 3, axis=2), ct.ijk_to_ras)
    second = volumes.read(path)
    assert second is not first
    np.testing.assert_array_equal(arrayFromVolume(first), before)
    np.testing.assert_array_equal(scene.ijkToWorld(first), place)
    assert volumes.read(path) is second


def test_a_preview_of_a_frame_is_not_accepted_where_the_frames_have_livers(follower, logic):
    _browser, volumeNode = addBrowser(addSequence(addVolumes(phantomFrames(2))))
    made = logic.segmentSequence(volumeNode)
    follower.followVolume(volumeNode)
    settle(follower)
    with pytest.raises(ValueError, match=f"'{made.segmentation.GetName()}'.*Press Segment"):
        follower.accept()
    assert livers() == [made.segmentation] and scene.findSegmentation(volumeNode) == made.segmentation
    assert follower.hasPreview
