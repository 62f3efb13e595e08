"""Part of the shell: what goes on by itself while the panel is open. The mask follows, doubt is shown, and scans are
looked at ahead of the first click.
"""

import sys

import qt

from ..core.volume import InputError
from ..mrml import parameters, points, scene
from ..mrml.overlay import UncertaintyOverlay
from ..mrml.preview import PreviewSegment
from .change_tracker import REST_MILLISECONDS, ChangeTracker
from .errands import BackgroundTaskKind, BackgroundTasks


class LiveUpdate:
    """Works between `open` and `close`; nothing is observed and nothing runs outside.

    panel: write(request, found), fail(error), say(text) and updateButtons() of the module's widget.
    """

    def __init__(self, mrmlScene, logic, runner, panel):
        self._logic, self._session = logic, logic.session
        self._panel, self._parameters = panel, None
        self._preview, self._overlay = PreviewSegment(mrmlScene), UncertaintyOverlay(mrmlScene)
        self._moving = {}
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(REST_MILLISECONDS)
        self._soon.connect("timeout()", lambda: self.errands.wish("look", "doubt"))
        self._follower = ChangeTracker(self._key, self._onMoving, self._onReleased, self._onReturned)
        self.errands = BackgroundTasks(
            runner,
            {
                "mask": BackgroundTaskKind(self._prepareMask, lambda job: job.run, self._onMask),
                "preview": BackgroundTaskKind(self._preparePreview, lambda job: job.preview, self._onPreview),
                "doubt": BackgroundTaskKind(self._prepareDoubt, lambda job: job.overlay, self._onDoubt),
                "look": BackgroundTaskKind(self._prepareLook, lambda job: job.look, self._onLook),
            },
        )

    def open(self, parameters) -> None:
        self._parameters = parameters
        self._listen()
        self._follower.settle()
        self.errands.wish("look", "doubt")

    def close(self) -> None:
        """Stop following; preview and overlay go away."""
        self._follower.close()
        self._soon.stop()
        self.errands.forget()
        self._preview.remove()
        self._overlay.remove()
        self._parameters, self._moving = None, {}

    # What the panel tells

    def onParametersChanged(self) -> None:
        """Something in the parameter node changed: a slider was let go, another ROI chosen."""
        if self._parameters is None:
            return
        self._moving = {}
        self._listen()
        self._follower.release()
        if self._parameters.showUncertainty:
            self.errands.wish("doubt")
        else:
            self._overlay.remove()

    def onVolumeChanged(self) -> None:
        """Another volume, or other voxels in it: what is set belongs to it, and nothing is to be written for that."""
        if self._parameters is None:
            return
        self._preview.remove()
        self._overlay.remove()
        self._listen()
        self._follower.settle()
        self.errands.forget("mask", "preview")
        self.errands.wish("look", "doubt")

    def drag(self, name: str, value) -> None:
        """A slider is being moved; its parameter changes when it is let go."""
        if self._parameters is not None:
            self._moving[name] = value
            self._follower.onChange()

    def onImageChanged(self) -> None:
        """The volume or its voxels were changed, perhaps not for the last time."""
        if self._parameters is not None:
            self._soon.start()

    def writing(self, request) -> None:
        """A mask is about to be written for this request."""
        self._follower.wrote(request.job.recipe.key)

    def wrote(self) -> None:
        if self._parameters is not None:
            self._follower.check()
            self.errands.wish("doubt")

    def restore(self, step) -> None:
        """Set what was set for this undo state, without writing anything."""
        if self._parameters is None:
            return
        with self._follower.deaf():
            if step is not None and step.choices is not None:
                parameters.restore(self._parameters, step.choices)
        self.errands.forget("mask", "preview")
        self._preview.remove()
        self.errands.wish("doubt")

    def isLookingAt(self, request) -> bool:
        """Whether the analysis that this request needs is being made already."""
        kind, other = self.errands.atWork
        return kind == "look" and other.job.analysis_key == request.job.analysis_key

    # Following

    def _listen(self) -> None:
        p = self._parameters
        self._follower.follow(p.region, p.liverPoints, p.notLiverPoints)

    def _key(self):
        if self._parameters is None:
            return None
        points.number(self._parameters.liverPoints, self._parameters.notLiverPoints)
        try:
            return parameters.read(self._parameters, self._moving).recipe.key
        except ValueError as error:
            return str(error)

    def _onMoving(self) -> None:
        self.errands.forget("mask")
        self.errands.wish("preview")

    def _onReleased(self) -> None:
        self.errands.forget("preview")
        self.errands.wish("mask")

    def _onReturned(self) -> None:
        self.errands.forget("mask", "preview")
        self._preview.remove()

    # Small jobs

    def _request(self):
        """What is set now as a request, None when it cannot be carried out."""
        p = self._parameters
        if p is None or p.inputVolume is None:
            return None
        try:
            return self._logic.prepare(p, self._moving)
        except (InputError, ValueError) as error:
            self._panel.say(str(error))
            return None

    def _hasMask(self) -> bool:
        output = self._parameters.outputSegmentation if self._parameters else None
        return output is not None and bool(scene.liverSegmentId(output))

    def _prepareMask(self):
        request = self._request() if self._hasMask() else None
        if request is None:
            self._preview.remove()
        return request

    def _preparePreview(self):
        request = self._request() if self._follower.moving else None
        return request if request and (self._hasMask() or self._session.isAnalyzed(request)) else None

    def _prepareDoubt(self):
        if self._parameters is None or not self._parameters.showUncertainty:
            return None
        request = self._request()
        return request if request and self._session.isAnalyzed(request) else None

    def _prepareLook(self):
        p = self._parameters
        if p is None or p.inputVolume is None or self._session.obstacles(p.inputVolume, p.student, p.engine)[0]:
            return None
        if p.engine == "torch" and "torch" not in sys.modules:
            return None  # loading it takes seconds, which nobody asked for yet
        request = self._request()
        return request if request and not self._session.isAnalyzed(request) else None

    def _onMask(self, request, outcome) -> None:
        key = request.job.recipe.key
        if not self._follower.moving or not self._follower.isCurrent(key):
            return  # not wanted any more, or the next one is on its way
        self._preview.remove()
        self._follower.wrote(key)
        if outcome.error is not None:
            self._panel.fail(outcome.error)
        elif outcome.value.mask.empty:
            self._panel.say("No liver is left with what is set; the segment was kept as it was.")
        else:
            self._panel.write(request, outcome.value)

    def _onPreview(self, request, outcome) -> None:
        if outcome.error is None and self._follower.moving:
            self._preview.show(outcome.value, request.segmentationNode)

    def _onDoubt(self, request, outcome) -> None:
        if outcome.error is None and self._parameters is not None and self._parameters.showUncertainty:
            self._overlay.show(outcome.value)

    def _onLook(self, request, outcome) -> None:
        """A problem will be told when the person asks for the mask."""
        self._panel.updateButtons()
        self.errands.wish("doubt")
