"""A small Slicer for tests: real MRML, logics and displayable managers of slicer-core, Qt from PySide6.

What is real: `vtk`, `slicer.vtkMRML*`, the module logics, `slicer.util` (with `VTKObservationMixin`), the scene
and its events, the displayable managers that draw the views. What stands in for the application's own Qt layer
is in this package, one concept a file:

| File | Stands in for |
|---|---|
| `pythonqt`, `style`, `ui_loader` | the `qt` module with PythonQt's manners, Slicer's looks, QUiLoader |
| `ctk_widgets`, `mrml_widgets`, `node_combo_boxes` | `ctk`, `slicer.qMRML*` |
| `real_widgets` | what these widgets have in Slicer, and the refusal of everything else |
| `scene`, `application` | what Slicer makes at start: scene, logics, `slicer.app` |
| `scripted_modules`, `parameter_node` | `slicer.ScriptedLoadableModule`, `slicer.parameterNodeWrapper` |
| `segment_editor`, `SegmentEditor` | the Segment Editor with its scripted effects, on Slicer's real logic |
| `dialogs` | pop-ups: recorded, never shown |
| `resources` | icons under the names that they have in Slicer |
| `slicer_command`, `Data` | Slicer's command line, and a module to go to when another one is left |
| `views` | slice and 3D views, drawn offscreen |

`SlicerHost` puts it together and the pytest fixture `slicerHost` makes a fresh one for each test:

    def test_segment(slicerHost):
        slicerHost.loadModule("LiverGTAN/LiverGTAN.py")
        volume = slicer.modules.volumes.logic().AddArchetypeVolume("ct.nii.gz", "CT")
        panel = slicerHost.openModule("LiverGTAN")
        slicerHost.click(panel.ui.applyButton)
        slicerHost.wait(lambda: panel.ui.resultLabel.text)
        assert slicerHost.dialogs.texts("error") == []

A property, signal or slot that the real widget lacks fails the test. Where behavior differs from the desktop
application, the docstring of the file says so, and where it was looked up, it names Slicer's file and function.
"""
