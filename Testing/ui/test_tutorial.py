"""The tutorial, followed from a loaded CT to the files of a plan, with the pictures of its steps.

`LIVERGTAN_UPDATE_PICTURES=1` writes them anew; otherwise what is drawn is compared with what is committed.
"""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from benchmarks.simulated_clicks import next_click
from ui.test_pictures import SIZE, centerOfLiver, drawPanel, drawSection, drawSlice, middleSlices, pixelsOf
from ui.test_points import place

from LiverGTANLib.core import weight_file
from LiverGTANLib.mrml import scene
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from support import real_cases
from support.cases import sampleFolder
from support.interactive_cases import settle
from support.panel_cases import Panel
from training.data import samples

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "Docs"
TILE = (360, 300)
LARGEST_MEAN_DIFFERENCE = 9.0
"""Gray values of one tile; see `test_pictures.py`."""

BACKGROUND = (0.75, 0.77, 0.9)


class Walk:
    """What a reader of the tutorial does, step by step, in a folder. pictures: (name, tiles) in their order."""

    def __init__(self, host, folder: Path, answer: Callable[[Path], None]):
        self.panel, self.folder, self.answer = Panel(host), folder, answer
        self.panel.ui.engineComboBox.setCurrentText(
            "numpy"
        )  # torch, where a test before has loaded it, rounds otherwise
        self.pictures: list[tuple[str, list[np.ndarray]]] = []

    def draw(self, name: str, *tiles: np.ndarray) -> None:
        self.pictures.append((name, [smaller(tile) for tile in tiles]))

    def load(self) -> None:
        self.volumeNode = slicer.modules.volumes.logic().AddArchetypeVolume(str(samples.CT), "Sample CT")
        display = self.volumeNode.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(400, 40)
        self.panel.host.processEvents()
        settle(self.panel)
        dimensions = np.array(self.volumeNode.GetImageData().GetDimensions())
        self.center = (scene.ijkToWorld(self.volumeNode) @ [*(dimensions / 2), 1])[:3]
        self.draw("1-load", drawPanel(self.panel), drawSlice(self.volumeNode, "Axial", self.center))

    def segment(self) -> None:
        self.panel.segment()
        settle(self.panel)
        assert "mL" in self.panel.ui.resultLabel.text
        self.center = centerOfLiver(self.panel.output)
        self.draw("2-segment", drawPanel(self.panel), drawSlice(self.volumeNode, "Axial", self.center))

    def show3D(self) -> None:
        self.panel.click(self.panel.ui.show3DButton)
        settle(self.panel)
        self.draw("3-show-3d", drawSlice(self.volumeNode, "Coronal", self.center), draw3D())

    def look(self) -> None:
        """Where the largest error of a middle slice is; a reader finds it by eye."""
        from host import views

        case = next(real_cases.load_samples())
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(
            self.panel.output, scene.liverSegmentId(self.panel.output), self.volumeNode
        )
        self.error = next_click(case, np.where(middleSlices(case.liver), voxels, case.liver))
        self.view = views.SliceView(self.volumeNode, "Axial", self.error.ras, SIZE)
        self.before = self.view.picture()
        self.panel.click(self.panel.ui.uncertaintyCheckBox)
        settle(self.panel)
        uncertain = self.view.picture()
        assert not np.array_equal(uncertain, self.before)
        self.draw("4-look", drawSection(self.panel, self.panel.ui.measureCollapsibleButton), uncertain)
        self.panel.ui.measureCollapsibleButton.collapsed = True

    def review(self) -> None:
        ui = self.panel.ui
        ui.reviewCollapsibleButton.collapsed = False
        for _ in range(3):
            self.panel.click(ui.nextSliceButton)
        settle(self.panel)
        assert ui.reviewBar.value > 0
        self.draw("5-review", drawSection(self.panel, ui.reviewCollapsibleButton), self.view.picture())
        ui.reviewCollapsibleButton.collapsed = True
        self.panel.click(ui.uncertaintyCheckBox)
        self.view.sliceNode.JumpSliceByOffsetting(*self.error.ras)

    def correct(self) -> None:
        ui = self.panel.ui
        place(self.panel, ui.liverPointsButton if self.error.liver else ui.notLiverPointsButton, self.error.ras)
        after = self.view.picture()
        self.view.close()
        assert not np.array_equal(after, self.before)
        self.draw("6-correct", self.before, after)

    def plan(self) -> None:
        ui = self.panel.ui
        self.panel.click(ui.placePlaneButton)
        settle(self.panel)
        plan = ResectionPlan(self.panel.output)
        plan.cutNode.SetNormalWorld(-0.9, -0.35, 0.15)
        ui.weightLineEdit.text = "72"
        ui.weightLineEdit.editingFinished.emit()
        settle(self.panel)
        section = drawSection(self.panel, ui.planningCollapsibleButton)
        self.draw("7-plan", section, drawSlice(self.volumeNode, "Axial", plan.cutNode.GetOriginWorld()))
        plan.cutNode.GetDisplayNode().SetHandlesInteractive(False)
        self.draw("8-parts", drawSlice(self.volumeNode, "Coronal", plan.cutNode.GetOriginWorld()), draw3D())
        ui.planningCollapsibleButton.collapsed = True

    def export(self) -> None:
        ui = self.panel.ui
        for name, button in (
            ("liver-volumes.csv", ui.exportButton),
            ("liver-plan.csv", ui.exportPlanButton),
            ("liver-plan.stl", ui.exportPartsButton),
        ):
            self.answer(self.folder / name)
            self.panel.click(button)
        assert not self.panel.host.dialogs.messages
        ui.exportLabel.text = ui.exportLabel.text.partition(" into ")[0]  # the folder is never the same
        section = drawSection(self.panel, ui.exportCollapsibleButton)
        self.draw("9-export", section, drawFiles(sorted(self.folder.glob("liver-plan-*.stl"))))


def smaller(tile: np.ndarray) -> np.ndarray:
    from host.pythonqt import qt

    rows = np.ascontiguousarray(tile)
    image = qt.QImage(rows.data, rows.shape[1], rows.shape[0], rows.strides[0], qt.QImage.Format_RGB888)
    return pixelsOf(image.scaled(*TILE, qt.Qt.IgnoreAspectRatio, qt.Qt.SmoothTransformation))


def draw3D() -> np.ndarray:
    from host import views

    view = views.ThreeDView(SIZE, background=BACKGROUND)
    picture = view.picture()
    view.close()
    return picture


def drawFiles(paths: list[Path]) -> np.ndarray:
    """The surfaces that were written, loaded as models and drawn apart, without the scene's liver."""
    for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"):
        node.SetDisplayVisibility(False)
    for number, path in enumerate(paths):
        model, storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode"), slicer.vtkMRMLModelStorageNode()
        storage.SetFileName(str(path))
        assert storage.ReadData(model)
        model.CreateDefaultDisplayNodes()
        model.GetDisplayNode().SetColor(0.9, 0.85, 0.7)
        apart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
        matrix.SetElement(0, 3, 80 * number - 40)
        apart.SetMatrixTransformToParent(matrix)
        model.SetAndObserveTransformNodeID(apart.GetID())
    return draw3D()


def differences(name: str, tiles: list[np.ndarray]) -> list[str]:
    """The picture is written anew where that is asked for; tiles that differ from the committed ones."""
    from host import views
    from host.pythonqt import qt

    path, (width, height) = DOCS / "Pictures" / f"{name}.png", TILE
    if os.environ.get("LIVERGTAN_UPDATE_PICTURES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        views.savePicture(np.hstack(tiles), path)
    committed = pixelsOf(qt.QImage(str(path)))
    assert committed.shape == (height, len(tiles) * width, 3), name
    parts = [committed[:, number * width : (number + 1) * width] for number in range(len(tiles))]
    apart = [np.abs(part.astype(float) - tile).mean() for part, tile in zip(parts, tiles)]
    return [f"{name}, tile {n + 1}: {mean:.1f}" for n, mean in enumerate(apart) if mean >= LARGEST_MEAN_DIFFERENCE]


def test_the_tutorial_can_be_followed_and_its_pictures_show_what_one_sees(
    slicerHost, sampleFolder, tmp_path, monkeypatch
):
    if not weight_file.available():
        pytest.skip("no student is bundled yet")
    import qt

    files = tmp_path / "files"
    files.mkdir()
    answer = lambda path: monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(path))  # noqa: E731
    walk = Walk(slicerHost, files, answer)
    steps = (walk.load, walk.segment, walk.show3D, walk.look, walk.review, walk.correct, walk.plan, walk.export)
    for step in steps:
        step()
    names = ["liver-plan-remnant.stl", "liver-plan-resected.stl", "liver-plan.csv", "liver-volumes.csv"]
    assert sorted(path.name for path in files.iterdir()) == names
    with (files / "liver-plan.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["Quantity"]: row for row in csv.DictReader(file)}
    plan = ResectionPlan(walk.panel.output).measure()
    assert float(rows["Remnant"]["mL"]) == pytest.approx(plan.remnantMl, abs=0.06)
    assert float(rows["Remnant"]["mL/kg"]) == pytest.approx(plan.remnantMl / 72, abs=0.06)
    shown = re.findall(r"\(Pictures/(.+)\.png\)", (DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert shown == [name for name, _ in walk.pictures]
    assert [problem for name, tiles in walk.pictures for problem in differences(name, tiles)] == []
    assert {path.stem for path in (DOCS / "Pictures").iterdir()} == set(shown)
