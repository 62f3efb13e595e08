"""The line of the result: what is known of the mask that is there, or a message of what was done last."""

import re
from collections.abc import Callable

from slicer.i18n import tr as _

from ..core.volume import InputError
from ..mrml import scene
from ..mrml.parameters import ChosenParameters
from ..mrml.session import HistoryMove, SegmentationResult, Session

_BREAK_AFTER = r"(?:[-_./\\]+|[^-_./\\]{20})(?=.)"
"""Within a word of more than 20 characters: separators, or 20 characters that are none."""


class ResultLine:
    """label: shows it. chosen(): what is chosen now."""

    def __init__(self, label, session: Session, chosen: Callable[[], ChosenParameters]):
        self._label, self._session, self._chosen = label, session, chosen
        self._isMessage = False
        self._told: tuple = (None, False)

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
        self._isMessage, self._told = False, _state(result)
        if result is None:
            text = self._editedLine()
        else:
            text = _resultLine(result, withTime)
            if not result.imageIsUnchanged():
                text += ". " + _("The CT has changed since: segment it again.")
            elif not result.isCurrent():
                text += ". " + _("The CT or its liver was moved since: segment it again.")
        setText(self._label, text)

    def refresh(self) -> None:
        """Say it anew where the mask is another one by now, or was edited, unless a message stands there."""
        if not self._isMessage and (self.known is None or _state(self.known) != self._told):
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
        elif owner is not None and not shown:
            messages = [_("The liver is as it was before.")]
        if moved.left:
            left = ", ".join(f"'{one}'" for one in moved.left)
            messages.append(_("Left as edited since: {names}.").format(names=left))
        if messages != [shown]:
            self.say(" ".join(filter(None, messages)))

    def _editedLine(self) -> str:
        chosen = self._chosen()
        try:
            volumeMl = self._session.measureEdited(chosen.segmentationNode, chosen.volumeNode)
        except InputError as error:
            return str(error)
        if volumeMl is None:
            return ""
        return _("Liver {volume:.0f} mL, edited since it was segmented").format(volume=volumeMl)


def setText(label, text: str) -> None:
    """Show a text that wraps also within long words (names, paths), after a separator where they have one."""
    label.text = re.sub(r"\S{21,}", lambda word: re.sub(_BREAK_AFTER, "\\g<0>\u200b", word[0]), text)


def _state(result: SegmentationResult | None) -> tuple:
    """Equal as long as the same is to be said of a mask."""
    return result, result is not None and (result.imageIsUnchanged(), result.isCurrent())


def _resultLine(result: SegmentationResult, withTime: bool = False) -> str:
    """What is in the segment, for the user."""
    text = _("Liver {volume}").format(volume=result.interval or f"{result.volumeMl:.0f} mL")
    if result.masked:
        text += _(", as the Segment Editor's masking left it")
    elif result.interval is None:
        text += _(" (no range: the network is sure of hardly any of it)")
    if result.remark:
        text += f" ({result.remark})"
    if withTime:
        text += _(", {seconds:.2f} s ({engine})").format(seconds=result.seconds["total"], engine=result.engine)
    return text
