"""A small Slicer for tests: real MRML, logics and displayable managers of slicer-core, Qt from PySide6.

What is real: `vtk`, `slicer.vtkMRML*`, the module logics, `slicer.util` (with `VTKObservationMixin`), the scene
and its events, the displayable managers that draw the views. What stands in for the application's own Qt layer
is in this package, one concept a file:

| File | Stands in for |
|---|---|
| `pythonqt`, `qtmodule`, `uiloader` | PythonQt's manners and the `qt` module |
| `ctkwidgets`, `mrmlwidgets`, `nodecombobox`, `checkablenodes`, `show3dbutton` | `ctk`, `slicer.qMRML*` |
| `scene`, `application`, `modules` | what `Slicer` makes at start: scene, logics, `slicer.app`, `slicer.modules` |
| `hierarchy` | the plugins that fill the subject hierarchy |
| `scripted`, `i18n` | `slicer.ScriptedLoadableModule`, `slicer.i18n` |
| `parameters`, `parametertypes`, `guiconnectors` | `slicer.parameterNodeWrapper` |
| `dialogs` | pop-ups: recorded, never shown |
| `views` | slice and 3D views, drawn offscreen |

`SlicerHost` puts it together and the pytest fixture `slicerHost` makes a fresh one for each test:

    def test_segment(slicerHost):
        slicerHost.loadModule("LiverGTAN/LiverGTAN.py")
        volume = slicer.modules.volumes.logic().AddArchetypeVolume("ct.nii.gz", "CT")
        panel = slicerHost.openModule("LiverGTAN")
        slicerHost.click(panel.ui.applyButton)
        slicerHost.wait(lambda: panel.ui.resultLabel.text)
        assert slicerHost.dialogs.texts("error") == []

Where behavior differs from the desktop application, the docstring of the file says so.
"""
