"""The table of liver volumes: rows belong to segmentations and columns to headings, whatever the user does to them."""

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk

from LiverGTANLib.core.measurements import TITLES, MeasurementRow
from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import roi, self_test, table
from LiverGTANLib.mrml.parameters import ChosenParameters
from support.module_fixtures import MODULE_FILE, students
from support.mrml_cases import mrmlScene

ML = TITLES["volume_ml"]


@pytest.fixture
def tableNode(mrmlScene):
    return table.create(mrmlScene)


@pytest.fixture
def segmentationNodes(mrmlScene, tableNode):
    """Three of them, with a row each: A 1001 mL, B 1002 mL, C 1003 mL."""
    nodes = [addSegmentation(mrmlScene, name) for name in "ABC"]
    for number, node in enumerate(nodes, start=1):
        table.put(tableNode, node, row(node, 1000 + number))
    return nodes


def addSegmentation(mrmlScene, name: str):
    return mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)


def row(node, volumeMl: float, **more) -> MeasurementRow:
    return MeasurementRow(node.GetName(), volumeMl, volumeMl - 50, volumeMl + 50, 55.5, 20.25, **more)


def volumes(tableNode) -> list[tuple[str, float | None]]:
    """(name, mL) of each row, None for an empty cell."""
    head, *cells = table.rows(tableNode)
    texts = [(row[head.index("Volume")], row[head.index(ML)]) for row in cells]
    return [(name, float(ml) if ml else None) for name, ml in texts]


def test_a_row_deleted_by_the_user_moves_no_other(tableNode, segmentationNodes):
    a, b, c = segmentationNodes
    tableNode.RemoveRow(0)  # "Delete row" in the Tables module
    table.put(tableNode, c, row(c, 1300))
    assert volumes(tableNode) == [("B", 1002), ("C", 1300)]
    table.put(tableNode, a, row(a, 1100))
    table.put(tableNode, b, row(b, 1200))
    assert volumes(tableNode) == [("B", 1200), ("C", 1300), ("A", 1100)]
    table.restore(tableNode, c, None)
    assert volumes(tableNode) == [("B", 1200), ("A", 1100)]


def test_sorted_rows_and_a_row_of_the_users_own(tableNode, segmentationNodes):
    a, _, c = segmentationNodes
    own = tableNode.AddEmptyRow()
    tableNode.SetCellText(own, tableNode.GetColumnIndex("Volume"), "mean")
    tableNode.SetCellText(own, tableNode.GetColumnIndex(ML), "1002")
    content = tableNode.GetTable()
    turned = vtk.vtkTable()
    turned.DeepCopy(content)
    for index in range(4):
        content.SetRow(index, turned.GetRow(3 - index))
    table.put(tableNode, c, row(c, 1300))
    table.put(tableNode, a, row(a, 1100))
    assert volumes(tableNode) == [("mean", 1002), ("C", 1300), ("B", 1002), ("A", 1100)]


@pytest.mark.parametrize("title", [*TITLES.values(), table.ROW_ID])
def test_a_deleted_column_shifts_no_value(tableNode, segmentationNodes, title):
    a = segmentationNodes[0]
    tableNode.RemoveColumn(tableNode.GetColumnIndex(title))
    table.put(tableNode, a, row(a, 1100, hint="hint"))
    head, *cells = table.rows(tableNode)
    assert head == list(TITLES.values())
    index = 3 if title == table.ROW_ID else 0  # without its ID, a row cannot be known any more
    assert cells[index] == ["A", "1100", "1050", "1150", "55.5", "20.2", "", "hint"]
    assert [cells[n][head.index(ML)] for n in (1, 2)] == ([""] * 2 if title == ML else ["1002", "1003"])
    assert len(cells) == (4 if title == table.ROW_ID else 3)


def test_a_renamed_column_is_the_users_and_ours_is_made_again(tableNode, segmentationNodes):
    a = segmentationNodes[0]
    tableNode.RenameColumn(tableNode.GetColumnIndex(ML), "before treatment")
    table.put(tableNode, a, row(a, 1100))
    assert volumes(tableNode)[0] == ("A", 1100)
    assert tableNode.GetCellText(0, tableNode.GetColumnIndex("before treatment")) == "1001"


def test_a_column_that_was_made_one_of_whole_numbers_holds_fractions_again(tableNode, segmentationNodes):
    tableNode.SetColumnType(ML, vtk.VTK_INT)
    whole = vtk.vtkIntArray()
    whole.SetName(ML)
    for value in (1001, 1002, 1003):
        whole.InsertNextValue(value)
    tableNode.GetTable().GetColumnByName(ML)
    index = tableNode.GetColumnIndex(ML)
    tableNode.GetTable().GetRowData().RemoveArray(ML)
    tableNode.GetTable().AddColumn(whole)
    assert index >= 0 and tableNode.GetTable().GetColumnByName(ML).IsA("vtkIntArray")
    table.put(tableNode, segmentationNodes[0], row(segmentationNodes[0], 1100.4))
    assert volumes(tableNode) == [("A", 1100.4), ("B", 1002), ("C", 1003)]


def test_a_failed_export_leaves_the_former_file(tableNode, segmentationNodes, tmp_path, monkeypatch):
    path = tmp_path / "volumes.csv"
    table.export(tableNode, path)
    before = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(csv, "writer", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            table.export(tableNode, path)
    assert path.read_text() == before and not list(tmp_path.glob(".partial*"))


def test_moved_and_added_columns_do_not_matter(tableNode, segmentationNodes):
    a = segmentationNodes[0]
    note = vtk.vtkStringArray()
    note.SetName("note")
    for text in ("good", "fair", "bad"):
        note.InsertNextValue(text)
    columns = [tableNode.GetTable().GetColumn(n) for n in range(tableNode.GetNumberOfColumns())]
    tableNode.RemoveAllColumns()
    for column in [note, *reversed(columns)]:
        tableNode.AddColumn(column)
    table.put(tableNode, a, row(a, 1100))
    assert volumes(tableNode)[0] == ("A", 1100)
    assert tableNode.GetCellText(0, 0) == "good"


def test_the_row_of_a_removed_segmentation_stays_and_is_never_used_again(mrmlScene, tableNode, segmentationNodes):
    mrmlScene.RemoveNode(segmentationNodes[1])
    again = addSegmentation(mrmlScene, "B")
    table.put(tableNode, again, row(again, 999))
    assert volumes(tableNode) == [("A", 1001), ("B", 1002), ("C", 1003), ("B", 999)]


def test_a_copy_of_a_segmentation_has_a_row_of_its_own(mrmlScene, tableNode, segmentationNodes):
    copy = addSegmentation(mrmlScene, "copy")
    copy.Copy(segmentationNodes[0])
    table.put(tableNode, copy, row(copy, 500))
    assert volumes(tableNode)[0] == ("A", 1001) and len(volumes(tableNode)) == 4


def save(mrmlScene, tableNode, folder) -> str:
    tableNode.AddDefaultStorageNode()
    storage = tableNode.GetStorageNode()
    storage.SetFileName(str(folder / "volumes.tsv"))
    assert storage.WriteData(tableNode)
    mrmlScene.SetRootDirectory(str(folder))
    mrmlScene.SetURL(str(folder / "scene.mrml"))
    assert mrmlScene.Commit()
    return str(folder / "scene.mrml")


def test_a_saved_scene_is_imported_under_other_ids_and_its_rows_are_found(
    mrmlScene, tableNode, segmentationNodes, tmp_path
):
    mrmlScene.SetURL(save(mrmlScene, tableNode, tmp_path))
    assert mrmlScene.Import()
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    first, second = sorted(tables, key=lambda node: node is not tableNode)
    imported = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if n not in segmentationNodes]
    assert len(imported) == 3 and not {n.GetID() for n in imported} & {n.GetID() for n in segmentationNodes}
    for node in imported:
        assert table.isOurs(second)
        table.put(second, node, row(node, 2000))
    assert [ml for _, ml in volumes(first)] == [1001, 1002, 1003]
    assert [ml for _, ml in volumes(second)] == [2000, 2000, 2000]
    # The imported segmentations have no row in the other table, though that table's rows look the same.
    table.put(first, imported[0], row(imported[0], 3000))
    assert [ml for _, ml in volumes(first)] == [1001, 1002, 1003, 3000]


def test_unknown_figures_stay_unknown_after_saving_and_loading(mrmlScene, tableNode, tmp_path):
    node = addSegmentation(mrmlScene, "A")
    table.put(tableNode, node, MeasurementRow("A", 1100.0))
    expected = table.rows(tableNode)
    path = save(mrmlScene, tableNode, tmp_path)
    mrmlScene.Clear()
    mrmlScene.SetURL(path)
    assert mrmlScene.Connect()
    (loaded,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert table.rows(loaded) == expected
    table.put(loaded, segmentationNode, MeasurementRow("A", 1200.5, hint="h"))
    assert table.rows(loaded)[1] == ["A", "1200.5", "", "", "", "", "", "h"]


# Tables of another purpose


@pytest.fixture
def laboratory(mrmlScene):
    """A user's own table with our headings among others, and a row."""
    node = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Laboratory")
    for title in ("Volume", "Bilirubin"):
        column = vtk.vtkStringArray()
        column.SetName(title)
        node.AddColumn(column)
    node.AddEmptyRow()
    node.SetCellText(0, 1, "12")
    return node


def content(tableNode) -> list[list[str]]:
    return [
        [
            tableNode.GetColumnName(column),
            *(tableNode.GetCellText(n, column) for n in range(tableNode.GetNumberOfRows())),
        ]
        for column in range(tableNode.GetNumberOfColumns())
    ]


def test_a_table_of_another_purpose_is_refused(mrmlScene, laboratory, tmp_path):
    before, node = content(laboratory), addSegmentation(mrmlScene, "A")
    for use in (
        lambda: table.put(laboratory, node, row(node, 1)),
        lambda: table.restore(laboratory, node, None),
        lambda: table.export(laboratory, tmp_path / "out.csv"),
    ):
        with pytest.raises(InputError, match="'Laboratory' is no table of liver volumes"):
            use()
    assert content(laboratory) == before and not (tmp_path / "out.csv").exists()


@pytest.mark.slow
def test_results_go_into_a_new_table_beside_one_of_another_purpose(slicerHost, students, laboratory):
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    logic, before = LiverGTAN.LiverGTANLogic(students), content(laboratory)
    logic.getParameterNode().measurements = laboratory
    volumeNode, _ = self_test.addPhantom()
    reason, warning = logic.session.obstacles(ChosenParameters(volumeNode, tableNode=laboratory))
    assert not reason and "'Laboratory' is no table of liver volumes" in warning
    result = logic.process(volumeNode)
    assert result.tableNode != laboratory and logic.table() == result.tableNode
    assert len(volumes(result.tableNode)) == 1 and content(laboratory) == before
    logic.session.undo()
    assert volumes(result.tableNode) == [] and content(laboratory) == before


def test_an_empty_table_that_the_user_made_is_taken(mrmlScene, segmentationNodes):
    own = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Mine")
    table.put(own, segmentationNodes[0], row(segmentationNodes[0], 1100))
    assert volumes(own) == [("A", 1100)]


# Undo, errors, export


@pytest.mark.slow
def test_undo_brings_back_the_row_that_was_there_before(slicerHost, students):
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    volumeNode, _ = self_test.addPhantom()
    segmentationNode = LiverGTAN.LiverGTANLogic(students).process(volumeNode).segmentation
    logic = LiverGTAN.LiverGTANLogic(students)  # another session, which knows nothing of the first one's results
    before = table.rows(logic.table())
    logic.process(volumeNode, segmentationNode, settings=PostprocessSettings(threshold=0.4))
    assert table.rows(logic.table()) != before
    logic.session.undo()
    assert table.rows(logic.table()) == before


@pytest.mark.slow
def test_undo_and_redo_work_when_the_table_was_deleted(slicerHost, students):
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    logic = LiverGTAN.LiverGTANLogic(students)
    result = logic.process(self_test.addPhantom()[0])
    slicer.mrmlScene.RemoveNode(result.tableNode)
    assert logic.session.undo().result is None and logic.session.redo().result is result


def test_an_error_while_a_row_is_written_leaves_the_table_as_it_was(tableNode, segmentationNodes, monkeypatch):
    before, setCell, calls = content(tableNode), table._setCell, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise RuntimeError("the fourth cell")
        setCell(*arguments)

    monkeypatch.setattr(table, "_setCell", fail)
    for node in (segmentationNodes[1], addSegmentation(slicer.mrmlScene, "new")):
        calls.clear()
        with pytest.raises(RuntimeError, match="the fourth cell"):
            table.put(tableNode, node, row(node, 5))
        assert content(tableNode) == before


def test_the_export_has_our_columns_and_no_ids(tableNode, segmentationNodes, tmp_path):
    table.export(tableNode, tmp_path / "volumes.csv")
    with (tmp_path / "volumes.csv").open(encoding="utf-8", newline="") as file:
        head, *cells = csv.reader(file)
    assert head == list(TITLES.values()) and [row[0] for row in cells] == list("ABC")
    assert np.array(cells)[:, 1].tolist() == ["1001", "1002", "1003"]


def test_columns_of_hu_name_the_phase_that_they_need(tableNode):
    for title in (TITLES["mean_hu"], TITLES["sd_hu"]):
        assert "only on a non-contrast CT" in tableNode.GetColumnDescription(title)


def test_a_liver_of_unusual_size_is_hinted_at_in_its_row_and_after_a_batch(slicerHost, students):
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    logic = LiverGTAN.LiverGTANLogic(students)
    usual, small = self_test.addPhantom("usual")[0], self_test.addPhantom("small")[0]
    small.SetSpacing(1, 1, 1.5)
    batch = logic.processAll([usual, small])
    head, *rows = table.rows(logic.table())
    hints = {row[0]: row[head.index(TITLES["hint"])] for row in rows}
    assert hints["usual"] == "" and hints["small"].startswith("unusually small, look at the mask; Less than 300 mL")
    assert "small: 1" in batch.summary() and "usual:" not in batch.summary()
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(roiNode, small, None)
    logic.process(small, batch.results[1].segmentation, region=roiNode)
    row = table.read(logic.table(), batch.results[1].segmentation)
    assert "unusually small" not in row[TITLES["hint"]]  # a part may be small


def test_fluid_in_the_mask_is_hinted_at_in_its_row(slicerHost, students):
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    logic = LiverGTAN.LiverGTANLogic(students)
    volumeNode, liver = self_test.addPhantom()
    hu = slicer.util.arrayFromVolume(volumeNode)
    place = (np.indices(hu.shape).T - np.argwhere(liver).mean(axis=0)) * (3, 2, 2)
    hu[np.linalg.norm(place, axis=-1).T < 25] = 8
    slicer.util.arrayFromVolumeModified(volumeNode)
    result = logic.process(volumeNode)
    assert any("as dark as fluid" in remark for remark in result.remarks)
    assert "as dark as fluid" in table.read(logic.table(), result.segmentation)[TITLES["hint"]]
