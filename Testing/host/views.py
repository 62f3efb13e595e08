"""Slice and 3D views of the scene, drawn offscreen by Slicer's own displayable managers.

`SliceView(...)` and `ThreeDView(...)` show what is visible in the scene; `picture()` gives the pixels.
Differs from the application: no corner annotations, no mouse, one drawing per `picture()`; text and lines may differ
by a few pixels between graphics drivers, so compare with a tolerance. Close a view before its host.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # do not try X first

_SLICE_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class _View:
    """A render window of `size` (width, height) pixels that the displayable managers of one view node fill."""

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self.renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        self._window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        self._managers = None

    def _manage(self, factoryClass, names: tuple[str, ...], viewNode) -> None:
        factory = factoryClass.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self.renderer)
        self._managers.Initialize(factory, self.renderer)
        self._managers.SetMRMLDisplayableNode(viewNode)

    def picture(self) -> np.ndarray:
        """-> RGB pixels, uint8 (height, width, 3), first row on top."""
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.SetInputBufferTypeToRGB()
        grabber.ReadFrontBufferOff()
        grabber.Update()
        pixels = vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(self.size[1], self.size[0], 3)[::-1].copy()

    def close(self) -> None:
        """Let go of the scene and of the graphics driver."""
        self._managers.SetMRMLDisplayableNode(None)
        self._managers = None
        self._window.Finalize()


class SliceView(_View):
    """A slice through `volume`, with its segmentations, models and markups.

    orientation: "Axial", "Coronal" or "Sagittal"; ras: a point in mm that the slice goes through (default: center).
    """

    def __init__(self, volume, orientation: str = "Axial", ras=None, size: tuple[int, int] = (400, 400)):
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self.sliceNode = self._logic.AddSliceNode(slicer.mrmlScene.GenerateUniqueName(orientation))
        self.sliceNode.SetOrientation(orientation)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self._logic)
        mapper = self._addImageActor()  # wanted before the managers
        self._manage(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, self.sliceNode)
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.sliceNode.SetDimensions(*size, 1)
        self._logic.ResizeSliceNode(*size)
        self._logic.FitSliceToAll(*size)
        if ras is not None:
            self.sliceNode.JumpSliceByOffsetting(*ras)
        mapper.SetInputConnection(self._logic.GetImageDataConnection())

    def _addImageActor(self) -> vtk.vtkImageMapper:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        return mapper

    def close(self) -> None:
        super().close()
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)
        slicer.mrmlScene.RemoveNode(self.sliceNode)


class ThreeDView(_View):
    """The 3D view, seen from the front and a little above, as far away as needed to see all of it."""

    def __init__(self, size: tuple[int, int] = (400, 400), background=(0.0, 0.0, 0.0)):
        super().__init__(size)
        self.viewNode = slicer.vtkMRMLViewNode()
        self.viewNode.SetLayoutName(slicer.mrmlScene.GenerateUniqueName("View"))
        self.viewNode.SetBoxVisible(False)
        self.viewNode.SetAxisLabelsVisible(False)
        self.viewNode.SetBackgroundColor(*background)
        self.viewNode.SetBackgroundColor2(*background)
        slicer.mrmlScene.AddNode(self.viewNode)
        self._manage(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _THREE_D_MANAGERS, self.viewNode)
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(0.0, 1.0, 0.2)  # right, anterior, superior
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()

    def close(self) -> None:
        super().close()
        slicer.mrmlScene.RemoveNode(self.viewNode)


def savePicture(pixels: np.ndarray, path: str | os.PathLike) -> None:
    """Write RGB pixels, uint8 (height, width, 3), as a PNG file."""
    from host.pythonqt import qt

    rows = np.ascontiguousarray(pixels)
    image = qt.QImage(rows.data, rows.shape[1], rows.shape[0], rows.strides[0], qt.QImage.Format_RGB888)
    if not image.save(os.fspath(path), "PNG"):
        raise OSError(f"Cannot write the picture {os.fspath(path)}")
