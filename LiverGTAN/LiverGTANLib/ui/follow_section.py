"""The section "Follow": CTs are segmented unasked, as a preview that the user accepts or discards."""

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..core.volume import InputError
from ..mrml.parameters import ChosenParameters
from ..mrml.session import SegmentationResult
from .follower import Follower
from .result_line import setText
from .task_runner import explained


class FollowSection:
    """ui: the widgets of the .ui file by name. chosen(): what is chosen in the panel. It calls onAccepted(result)."""

    def __init__(
        self,
        ui,
        follower: Follower,
        chosen: Callable[[], ChosenParameters],
        onAccepted: Callable[[SegmentationResult], None],
    ):
        self._ui, self.follower, self._chosen = ui, follower, chosen
        follower.onChanged, follower.onAccepted = self.refresh, onAccepted
        ui.followLoadedCheckBox.connect("toggled(bool)", follower.followLoaded)
        ui.followVolumeCheckBox.connect("toggled(bool)", self._onFollowVolume)
        ui.followFolderButton.connect("clicked(bool)", self._onFolder)
        ui.acceptButton.connect("clicked(bool)", self._onAccept)
        ui.discardButton.connect("clicked(bool)", follower.discard)
        self.refresh()

    def close(self) -> None:
        """The widgets are not touched any more."""
        self.follower.onChanged = lambda: None
        self.follower.stop()

    def refresh(self) -> None:
        """Show what is followed, and what can be done with its preview."""
        ui, follower = self._ui, self.follower
        for checkBox, on in (
            (ui.followLoadedCheckBox, follower.loaded),
            (ui.followVolumeCheckBox, follower.volumeNode is not None),
        ):
            blocked = checkBox.blockSignals(True)
            checkBox.checked = on
            checkBox.blockSignals(blocked)
        ui.followFolderButton.text = _("Leave the folder") if follower.folder else _("A folder...")
        setText(ui.followLabel, follower.state)
        ui.followLabel.visible = bool(follower.state)
        ui.acceptButton.enabled = follower.hasPreview
        ui.discardButton.enabled = follower.hasPreview or follower.isRunning

    def _onFollowVolume(self, on: bool) -> None:
        volumeNode = self._chosen().volumeNode if on else None
        with explained(_("The volume cannot be followed.")):
            try:
                if on and volumeNode is None:
                    raise InputError(_("Choose a CT first."))
                self.follower.followVolume(volumeNode)
            finally:
                self.refresh()

    def _onFolder(self) -> None:
        folder = None
        if not self.follower.folder:
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder to follow"))
            if not folder:
                return
        with explained(_("The folder cannot be followed.")):
            self.follower.followFolder(folder)

    def _onAccept(self) -> None:
        with explained(_("The preview could not be accepted."), waitCursor=True):
            self.follower.accept()
