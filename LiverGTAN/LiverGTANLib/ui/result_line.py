"""The text of the result: what is known of the mask that is there, or a message of what was done last."""

import re
from collections.abc import Callable

from slicer.i18n import tr as _

from ..core.volume import InputError
from ..mrml import row_check, scene
from ..mrml.parameters import ChosenParameters
from ..mrml.row_check import StoredFigures
from ..mrml.session import HistoryMove, SegmentationResult, Session

_BREAK_AFTER = r"(?:[-_./\\]+|[^-_./\\]{20})(?=.)"
"""Within a word of more than 20 characters: separators, or 20 characters that are none."""


class ResultLine:
    """label: shows it. chosen(): what is chosen now."""

    def __init__(self, label, session: Session, chosen: Callable[[], ChosenParameters]):
        self._label, self._session, self._chosen = label, session, chosen
        self._isMessage = False
        self._told: tuple | None = None

    @property
    def known(self) -> SegmentationResult | None:
        """What is known of the mask that is there, if it is the chosen volume's."""
        chosen = self._chosen()
        result = self._session.resultIn(chosen.segmentationNode)
        return result if result is not None and result.volumeNode == chosen.volumeNode else None

    def say(self, text: str) -> None:
        """A message in place of the result, until there is another result."""
        self._isMessage = True
        setText(self._label, text)

    def show(self, withTime: bool = False) -> None:
        """Say what is known of the mask that is there."""
        result = self.known
        if result is None:
            text = self._storedLine()
        else:
            text = _resultLine(result, withTime)
            if not result.imageIsUnchanged():
                text += "\n" + _("The CT has changed since: segment it again.")
            elif not result.isCurrent():
                text += "\n" + _("The CT or its liver was moved since: segment it again.")
            elif not result.hasSameRegion():
                text += "\n" + _("The ROI was changed or removed since: segment it again.")
        self._isMessage, self._told = False, self._state()
        setText(self._label, text)

    def refresh(self) -> None:
        """Say it anew where the mask is another one by now, or was edited, unless a message stands there."""
        if not self._isMessage and self._state() != self._told:
            self.show()

    def showMove(self, moved: HistoryMove) -> None:
        """Say what Undo or Redo led to."""
        chosen = self._chosen()
        self.show()
        shown = self._label.text
        owner, name = scene.liverVolume(chosen.segmentationNode), chosen.segmentationNode.GetName()
        messages = [shown]
        if owner is not None and owner != chosen.volumeNode:
            messages = [_("'{name}' holds the liver of '{volume}' again.").format(name=name, volume=owner.GetName())]
        if moved.left:
            left = ", ".join(f"'{one}'" for one in moved.left)
            messages.append(_("Left as edited since: {names}.").format(names=left))
        if messages != [shown]:
            self.say(" ".join(filter(None, messages)))

    @property
    def _storedNode(self):
        """The chosen segmentation, if it holds the liver of the chosen volume."""
        chosen = self._chosen()
        isOfVolume = chosen.volumeNode is not None and scene.liverVolume(chosen.segmentationNode) == chosen.volumeNode
        return chosen.segmentationNode if isOfVolume else None

    def _storedLine(self) -> str:
        """Of a mask that this session has not made, or that was edited since: what is stored, and measured of it."""
        node = self._storedNode
        if node is None:
            return ""
        try:
            found = row_check.stored(node, self._chosen().tableNode, self._session.resultIn)
        except InputError as error:
            return str(error)
        return _storedText(found, self._session.isEdited(node))

    def _state(self) -> tuple:
        """Equal as long as the same is to be said of a mask."""
        result, node = self.known, self._storedNode
        if result is not None:
            return result, result.imageIsUnchanged(), result.isCurrent(), result.hasSameRegion()
        if node is None:
            return ()
        segmentId = scene.liverSegmentId(node)
        labelmap = node.GetSegmentation().GetSegment(segmentId).GetRepresentation(scene.LABELMAP)
        voxels = labelmap.GetMTime() if labelmap is not None else 0
        return node.GetID(), segmentId, voxels, scene.relativeKey(self._chosen().volumeNode, node)


def setText(label, text: str) -> None:
    """Show a text that wraps also within long words (names, paths), after a separator where they have one."""
    label.text = re.sub(r"\S{21,}", lambda word: re.sub(_BREAK_AFTER, "\\g<0>\u200b", word[0]), text)


def _storedText(found: StoredFigures, isEdited: bool) -> str:
    if isEdited:
        return _("Liver {volume:.0f} mL, edited since it was segmented").format(volume=found.volumeMl)
    text = _("Liver {volume}").format(volume=found.interval or f"{found.volumeMl:.0f} mL")
    if found.isChanged:
        return text + "\n" + _("The CT or its liver has changed or was moved since: segment it again.")
    if found.hasRow and found.interval is None:
        text += _(" (no range is stored)")
    return "\n".join(filter(None, (text, *found.hint.split("; "))))


def _resultLine(result: SegmentationResult, withTime: bool = False) -> str:
    """What is in the segment, for the user; each remark has a line of its own."""
    text = _("Liver {volume}").format(volume=result.interval or f"{result.volumeMl:.0f} mL")
    if result.interval is None and not result.masked:
        text += _(" (no range: the network is sure of hardly any of it)")
    if withTime:
        text += _(", {seconds:.2f} s ({engine})").format(seconds=result.seconds["total"], engine=result.engine)
    return "\n".join([text, *result.remarks])
