"""The stand-in for the Segment Editor does what Slicer's does, and no more."""

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from host.slicer_command import SEGMENT_EDITOR

SOURCE = """
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Noting"
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.calls = []

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects
        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__)
        return cloned

    def __getattribute__(self, name):
        if name in ("activate", "deactivate", "updateGUIFromMRML", "setMRMLDefaults", "sourceVolumeNodeChanged"):
            return lambda: self.calls.append(name)
        return super().__getattribute__(name)
"""


@pytest.fixture
def editor(slicerHost, tmp_path):
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    path = tmp_path / "NotingLib" / "SegmentEditorEffect.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(str(path))
    effect.self().register()
    slicerHost.loadModule(SEGMENT_EDITOR)
    return slicerHost.openModule("SegmentEditor").editor


def test_effects_are_cloned_and_called_in_slicers_order(editor):
    editor.setActiveEffectByName("Noting")
    effect = editor.activeEffect()
    assert effect.self().calls == ["setMRMLDefaults", "updateGUIFromMRML", "activate"]
    effect.setParameter("Threshold", 0.5)
    effect.setParameter("Threshold", 0.5)  # no change
    assert effect.self().calls[3:] == ["updateGUIFromMRML"] and effect.doubleParameter("Threshold") == 0.5
    assert editor.mrmlSegmentEditorNode().GetAttribute("Noting.Threshold") == "0.5"
    editor.setActiveEffect(None)
    effect.setParameter("Threshold", 0.6)
    assert effect.self().calls[4:] == ["deactivate"]


def test_a_closing_scene_does_not_end_the_effect_and_another_segmentation_does(editor):
    editor.setActiveEffectByName("Noting")
    calls = editor.activeEffect().self().calls
    editor.setSegmentationNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    assert calls[-1] == "deactivate" and editor.activeEffect() is None
    editor.setActiveEffectByName("Noting")
    during = []
    slicer.mrmlScene.AddObserver(slicer.mrmlScene.StartCloseEvent, lambda *_: during.append(list(calls)))
    slicer.mrmlScene.Clear()
    assert during[0].count("deactivate") == 1 and calls.count("deactivate") == 2  # not before the scene is closed


def test_what_the_real_effect_lacks_is_refused(editor):
    effect = editor.effectByName("Noting")
    with pytest.raises(AttributeError):
        effect.color = "red"
    with pytest.raises(AttributeError):
        effect.sourceVolume()
