"""LiverGTAN: the liver of a CT in a moment, inside 3D Slicer and with nothing to install.

The module, its panel and its logic: a thin shell over LiverGTANLib. Nothing heavy is imported at file scope.
"""

from typing import Annotated

import LiverGTANLib  # noqa: F401  # isort: skip  # says which Slicer is needed, before an older one lacks something

import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from LiverGTANLib.core.students import DEFAULT_STUDENT, STUDENTS

ENGINES = ["automatic", "numpy", "torch"]


class LiverGTAN(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "LiverGTAN"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups", "Segmentations", "Sequences", "Tables", "Volumes"]
        parent.contributors = ["LiverGTAN contributors"]
        parent.helpText = _(
            "Segments the liver in a CT within a moment, on the processor alone and with nothing to install. "
            'See the <a href="https://github.com/SlicerLiverGTAN/SlicerLiverGTAN">documentation</a>. '
            "For research use; not a medical device."
        )
        parent.acknowledgementText = _(
            "The networks are trained on labels and by knowledge distillation, after Xu et al., "
            "Phys Med Biol 66(23), 2021, doi 10.1088/1361-6560/ac3935."
        )
        slicer.app.connect("startupCompleted()", _onStartupCompleted)
        slicer.app.connect("startupCompleted()", _registerEditorEffect)


def _onStartupCompleted():
    slicer.mrmlScene.AddObserver(slicer.mrmlScene.EndImportEvent, _onSceneLoaded)
    if hasattr(slicer.modules, "sampledata"):
        from LiverGTANLib.mrml import sample_data

        sample_data.register()


def _onSceneLoaded(caller, event):
    """Also when the module was not opened yet."""
    from LiverGTANLib.mrml import overlay, preview

    overlay.restoreForegrounds(caller)
    preview.showReplaced(caller)


def _registerEditorEffect():
    """Offer the effect "Liver GTAN" in every Segment Editor."""
    from pathlib import Path

    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(Path(__file__).with_name("SegmentEditorLiverGTANLib").as_posix() + "/SegmentEditorEffect.py")
    effect.self().register()


@parameterNodeWrapper
class LiverGTANParameterNode:
    """What the user has set; it is saved with the scene.

    inputVolume: the CT. outputSegmentation: where its liver goes, made on demand when None. region: restricts the mask.
    liverPoints, notLiverPoints: corrections; like the region they belong to the CT, which refers to them too.
    threshold: probability from which a voxel is liver. smoothing: mm. measurements: one row per segmentation.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    student: Annotated[str, Choice(list(STUDENTS))] = DEFAULT_STUDENT
    engine: Annotated[str, Choice(ENGINES)] = "automatic"
    region: vtkMRMLMarkupsROINode
    liverPoints: vtkMRMLMarkupsFiducialNode
    notLiverPoints: vtkMRMLMarkupsFiducialNode
    threshold: Annotated[float, WithinRange(0.05, 0.95)] = 0.5
    smoothing: Annotated[float, WithinRange(0, 6)] = 0.0
    largestComponent: bool = True
    fillHoles: bool = True
    showUncertainty: bool = False
    measurements: vtkMRMLTableNode


NODE_PARAMETERS = [
    name
    for name, kind in LiverGTANParameterNode.__annotations__.items()
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
]


class LiverGTANWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in the application; what it does is in LiverGTANLib.ui.

    engineProvider: where students and engines come from; those that are installed when None.
    """

    def __init__(self, parent=None, engineProvider=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._engineProvider = engineProvider
        self.logic = None
        self.panel = None

    def setup(self):
        """Called by Slicer once, when the module is opened first or reloaded: loads the .ui file and makes the
        panel.
        """
        from LiverGTANLib.ui.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LiverGTAN.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = LiverGTANLogic(self._engineProvider)
        self.panel = Panel(self.ui, self.logic.session)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartChange)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartChange)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndChange)
        if self.parent.isEntered:  # after a reload of the open module nobody calls enter()
            self.enter()
        else:
            self.panel.show(self.logic.getParameterNode())

    def cleanup(self):
        """The panel goes away, by module reload or application exit; its widgets are not touched any more."""
        if self.panel:
            self.panel.close()
        self.removeObservers()

    def enter(self):
        """The module is opened."""
        self.panel.show(self.logic.getParameterNode())
        self.panel.enter()

    def exit(self):
        """Another module is opened."""
        self.panel.leave()

    def onSceneStartChange(self, caller, event):
        """The scene is closed or another one is loaded; until that is over the nodes are not to be relied on."""
        self.panel.suspend()
        self.panel.show(None)

    def onSceneEndClose(self, caller, event):
        """The scene is empty: undo states and analyses mean nothing any more."""
        self.logic.session.reset()
        self.panel.clear()
        self.onSceneEndChange(caller, event)

    def onSceneEndChange(self, caller, event):
        """The scene was closed or loaded: its parameters are shown, if the module is open."""
        if self.parent.isEntered:
            self.panel.show(self.logic.getParameterNode())
            self.panel.follow()


class LiverGTANLogic(ScriptedLoadableModuleLogic):
    """Segments without a panel and without a pop-up; errors are raised with a sentence that says what to do.

    engineProvider: see LiverGTANWidget.
    """

    def __init__(self, engineProvider=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._engineProvider = engineProvider
        self._session = None
        self._parameterNode = None

    @property
    def session(self):
        """The work itself (LiverGTANLib.mrml.session); loaded at first use, with numpy."""
        if self._session is None:
            from LiverGTANLib.mrml.session import Session

            self._session = Session(slicer.mrmlScene, self._engineProvider)
        return self._session

    def getParameterNode(self):
        """The parameters of the scene; one object for each node, as each observes its node."""
        node, known = super().getParameterNode(), self._parameterNode
        # Closing the scene empties the node; not every Slicer's wrapper then sets the defaults again by itself.
        if known is None or known.parameterNode is not node or not node.HasParameter("student"):
            self._parameterNode = LiverGTANParameterNode(node)  # type: ignore[call-arg]  # made by the wrapper
        elif any(getattr(known, name) != node.GetNodeReference(name) for name in NODE_PARAMETERS):
            # Of a loaded scene the wrapper has read what was chosen before the nodes were there (Slicer/Slicer#7492).
            node.Modified()
        return self._parameterNode

    def process(
        self,
        inputVolume,
        outputSegmentation=None,
        student=DEFAULT_STUDENT,
        engine="automatic",
        region=None,
        liverPoints=None,
        notLiverPoints=None,
        settings=None,
    ):
        """Segment the liver of a CT and return when it is written and measured.

        inputVolume: scalar volume node in HU. outputSegmentation: segmentation node, made on demand when None; its
        segment of this module is replaced, also when that is the liver of another volume (the panel would ask before).
        student: name of a bundled student or path of a student file. engine: "automatic", "numpy" or "torch".
        region: markups ROI node outside of which nothing is liver. liverPoints, notLiverPoints: markups point lists.
        settings: LiverGTANLib.core.postprocess.PostprocessSettings (threshold and the like).
        Returns a result with segmentation, segmentId, volumeMl, interval, attenuation, share, seconds (by stage),
        engine, student, remarks (on this mask), masked (whether the Segment Editor's masking applied to it) and
        warnings (on the CT, the body in it and all that looks like liver in it, whatever settings, region and points
        make of that; as the panel shows them).

        Example::

            from LiverGTAN import LiverGTANLogic
            result = LiverGTANLogic().process(volumeNode)
            print(result.interval, result.segmentation.GetName())
        """
        chosen = self._chosen(
            student,
            engine,
            settings,
            volumeNode=inputVolume,
            segmentationNode=outputSegmentation,
            roiNode=region,
            liverNode=liverPoints,
            notLiverNode=notLiverPoints,
        )
        request = self.session.prepare(chosen)
        return self.apply(request, request.job.segment_and_check())

    def processAll(self, volumes, student=DEFAULT_STUDENT, engine="automatic", settings=None):
        """Segment several CTs, each into its own segmentation, with the ROI and the points that belong to each.

        Returns a batch with `results`, and with `problems` (volume, reason) of those that could not be segmented or
        whose liver was edited by hand since.
        """
        from LiverGTANLib.mrml.batch import VolumeBatch

        batch = VolumeBatch(self.session, volumes, self._chosen(student, engine, settings))
        while (request := batch.prepareNext()) is not None:
            try:
                batch.write(request, request.job.segment_and_check())
            except Exception as error:
                batch.addProblem(request, error)
        if batch.results:
            self.getParameterNode().measurements = batch.results[-1].tableNode
        return batch

    def splitLiver(self, segmentation, plane=None, remnantSide=None, weightKg=None):
        """Split the liver in a segmentation into remnant and resected part, which become a segmentation of their own.

        plane: markups plane or open markups curve that says where; None: the plan's own cut, at first a sagittal plane
        that halves the liver. A curve goes on straight beyond its ends, and across the plane that it lies in.
        remnantSide: "normal" for the side that the plane's normal points to, or to the left of the curve as seen from
        the head (where the curve's plane stands upright: from the front, else from the left), "opposite" for the other
        one, None to leave it (at first "normal", the patient's left). weightKg: of the body; None: as set before, else
        as the DICOM header says. The liver segment and all others stay as they are.
        Returns a ResectionPlan with partsNode, cutNode, tableNode and volumes (remnantMl, resectedMl, percent,
        mlPerKg; of the parts as they are). A liver has one plan: another call changes it. After cutNode was moved, or
        the liver changed, parts and table are those of before, and volumes raises InputError, until update() is called.
        Raises InputError when there is no liver, or the plane or the weight is none.
        """
        from LiverGTANLib.mrml import resection_plan

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        if plane is not None:
            self._require("plane", plane, "vtkMRMLMarkupsNode")
        return resection_plan.split(segmentation, plane, remnantSide, weightKg)

    def segmentSequence(
        self,
        volume,
        student=DEFAULT_STUDENT,
        engine="automatic",
        settings=None,
        replace=False,
        replaceEdited=False,
    ):
        """Segment every frame of a sequence of CTs (perfusion, gated) into a sequence in the same browser.

        volume: the volume in which a browser of the Sequences module shows the CT, or the browser. replace: allow that
        segmentations which were made of these frames before are replaced, replaceEdited: also livers that were edited
        since; segments of your own in the frames stay. ROI and points belong to one frame and are not used. The browser
        stays at its frame; what is edited there goes into the frame.
        Returns a result with segmentations (the sequence), segmentation (the node that shows the selected frame),
        tableNode, chartNode, points (one a frame: volumeMl, lowMl, highMl, meanHu, dice, hint), problems (number of the
        frame from 1, reason), flicker (ml and percent, see LiverGTANLib.mrml.volume_curve.flicker; None for fewer than
        three volumes) and undo(), which takes all of it back. Raises InputError, after which all is as before.
        """
        from LiverGTANLib.mrml.sequence_segmentation import FrameSegmentation

        self._require("volume of a sequence", volume, "vtkMRMLNode")
        chosen = self._chosen(student, engine, settings)
        frames = FrameSegmentation(self.session, volume, chosen, replace, replaceEdited)
        return frames.apply(frames.segment())

    def measureSequence(self, volume):
        """Measure the masks of all frames as they are by now, and bring table and chart up to date.

        volume: see `segmentSequence`. Returns one point a frame, none where the frames were not segmented.
        """
        from LiverGTANLib.mrml import sequence_curve
        from LiverGTANLib.mrml.ct_sequence import CtSequence

        self._require("volume of a sequence", volume, "vtkMRMLNode")
        return sequence_curve.measure(CtSequence.of(volume))

    def review(self, segmentation, segmentId=""):
        """Go through the slices of a mask in which its border is most uncertain.

        segmentation: segmentation node. segmentId: of the segment; when empty, this module's liver, else the only one
        with the code of the liver, else the only one called liver, else the only segment. The network is asked where
        the segment is this module's and its CT is still there; `order` of the result says so. Otherwise slices whose
        outline differs most from those beside come first.
        Returns a Review: `next()` jumps the slice views to the next slice, counts the one before as reviewed, and
        returns its number, ras and areaCm2, None when all are reviewed; `previous()`, `mark(number, reviewed)`,
        `undo()`, `reviewed` (slice numbers), `share` (of the volume, 0 to 1). What was reviewed is saved with the
        scene; a slice whose mask was changed since is not reviewed. Raises InputError when there is no such segment.
        """
        from dataclasses import replace

        from LiverGTANLib.mrml import parameters, review, scene

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        result, volume = self.session.resultIn(segmentation), scene.liverVolume(segmentation)
        chosen = (
            result.request.chosen
            if result
            else parameters.forVolume(self._chosen(DEFAULT_STUDENT, "automatic", None), volume)
        )
        return review.begin(self.session, replace(chosen, segmentationNode=segmentation), segmentId)

    def follow(
        self,
        loaded=False,
        volume=None,
        folder=None,
        student=DEFAULT_STUDENT,
        engine="automatic",
        settings=None,
        onChanged=None,
    ):
        """Segment unasked, as a preview: CTs that are loaded (loaded), a volume whenever its voxels change, and image
        files that come into a folder; at least one of them.

        student, engine, settings: see `process`. onChanged: called without arguments when there is something new.
        Returns a follower with `state` (a sentence, empty once nothing is followed any more), `hasPreview`, `latency`
        in seconds, `accept()`, which makes the preview a segment in a new segmentation and returns a result as
        `process` does, `discard()` and `stop()`. It works while the event loop runs, until `stop` or until the scene is
        closed. Raises InputError when volume or folder is none, and when nothing is to be followed.

        Example::

            follower = LiverGTANLogic().follow(volume=volumeFromOpenIGTLink)
            ...
            print(follower.state)
            if follower.hasPreview:
                result = follower.accept()
        """
        from LiverGTANLib.core.volume import InputError
        from LiverGTANLib.ui.follower import Follower

        if not loaded and volume is None and not folder:
            raise InputError("There is nothing to follow: give loaded=True, a volume or a folder.")
        if volume is not None:
            self._require("CT", volume, "vtkMRMLScalarVolumeNode")
        follower = Follower(self.session, lambda: self._chosen(student, engine, settings), onChanged or (lambda: None))
        follower.onAccepted = self._showTableOf
        try:
            follower.followFolder(folder)
            follower.followVolume(volume)
            follower.followLoaded(loaded)
        except Exception:
            follower.stop()
            raise
        return follower

    def prepare(self, parameterNode, moving=None):
        """The request that the parameter node asks for; its job may run in another thread, then comes `apply`.

        moving: values of parameters that are being dragged and not set yet, by name.
        """
        from LiverGTANLib.mrml import parameters

        return self.session.prepare(parameters.read(parameterNode), moving)

    def apply(self, request, found, surfaceLater=False):
        """Write what a request's job found, and put it into the table.

        surfaceLater: leave a surface shown in 3D to `session.makeSurface`.
        """
        result = self.session.apply(request, found, surfaceLater, tableNode=self.getParameterNode().measurements)
        self._showTableOf(result)
        return result

    def _showTableOf(self, result):
        self.getParameterNode().measurements = result.tableNode

    def tabulate(self, result):
        """Put a result into its row of the table, which is made at its first use."""
        from LiverGTANLib.mrml import parameters, table

        tableNode = parameters.findOrCreateTable(self.getParameterNode())
        table.put(tableNode, result.segmentation, result.row(), result.content)

    def table(self):
        """The table node with one row per segmentation, None before the first result.

        Where a liver was changed or removed since, its row says so, and its volume is measured again.
        """
        from LiverGTANLib.mrml import row_check

        tableNode = self.getParameterNode().measurements
        if tableNode is not None:
            row_check.refresh(tableNode, self.session.resultIn)
        return tableNode

    def exportTable(self, path, overwrite=False):
        """Write the table, as `table` gives it, as a CSV file.

        Raises InputError when the file exists and `overwrite` is False, OSError when it cannot be written.
        """
        from LiverGTANLib.mrml import parameters, row_check

        tableNode = parameters.findOrCreateTable(self.getParameterNode())
        row_check.export(tableNode, path, self.session.resultIn, overwrite)

    def exportPlan(self, segmentation, path, overwrite=False):
        """Write the table of a plan (see `splitLiver`) as a CSV file.

        Raises InputError when there is no plan or the file exists and `overwrite` is False, OSError when it cannot be
        written.
        """
        from LiverGTANLib.mrml import resection_plan

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        resection_plan.export(segmentation, path, overwrite)

    def exportSurface(self, segmentation, path, overwrite=False):
        """Write the surface of the liver as STL or OBJ for printing, in mm and LPS.

        Returns path, volumeMl and openEdges (0: watertight). Raises InputError when there is no liver or the file
        exists and `overwrite` is False, OSError when it cannot be written.
        """
        from LiverGTANLib.mrml import export_surface

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        return export_surface.exportLiver(segmentation, path, overwrite)

    def exportParts(self, segmentation, path, overwrite=False):
        """The same for remnant and resected part of the liver's plan: plan.stl becomes plan-remnant.stl and
        plan-resected.stl. Returns a list."""
        from LiverGTANLib.mrml import export_surface

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        return export_surface.exportParts(segmentation, path, overwrite)

    def exportDicom(self, segmentation, folder):
        """Write a segmentation as a DICOM segmentation object, through the extension QuantitativeReporting.

        Returns the file. Raises InputError when the extension or the DICOM images of the CT are not there, and OSError
        when it failed; no half of a file is left then, and what else is new in the folder is named.
        """
        from LiverGTANLib.mrml import export_dicom

        self._require("segmentation", segmentation, "vtkMRMLSegmentationNode")
        return export_dicom.exportDicom(segmentation, folder, self.session.isEdited(segmentation))

    @staticmethod
    def _require(purpose, node, className):
        from LiverGTANLib.mrml import scene

        scene.requireNode(slicer.mrmlScene, purpose, node, className)

    def _chosen(self, student, engine, settings, **nodes):
        from LiverGTANLib.core.postprocess import PostprocessSettings
        from LiverGTANLib.mrml.parameters import ChosenParameters

        return ChosenParameters(
            student=student,
            engine=engine,
            settings=settings or PostprocessSettings(),
            tableNode=self.getParameterNode().measurements,
            **nodes,
        )


class LiverGTANTest(ScriptedLoadableModuleTest):
    """The scenarios of a first use, and what users do with the panel where there is a main window.

    Everything happens on a generated CT: no network connection and no file is needed.

    screenshotFolder: pictures of the main window are saved in this folder; none when it is empty.
    """

    screenshotFolder = ""

    def setUp(self):
        """Each part of the test begins in an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Called by "Reload and Test" and by Slicer's test runner: all scenarios, and with a main window all
        journeys.
        """
        from LiverGTANLib.mrml import self_test

        for scenario in self_test.SCENARIOS:
            self._run(scenario, lambda scenario=scenario: scenario(self, LiverGTANLogic()))
        if slicer.util.mainWindow():
            from LiverGTANLib.ui.journeys import JOURNEYS
            from LiverGTANLib.ui.panel_user import PanelUser

            for journey in JOURNEYS:
                self._run(journey, lambda journey=journey: journey(PanelUser(self, self.screenshotFolder)))

    def _run(self, part, function):
        """One part of the test in a scene of its own; those after it go on when it fails, if the runner allows that."""
        with self.subTest(part.__name__):
            self.setUp()
            self.delayDisplay(part.__doc__.splitlines()[0])
            function()
