"""A module with nothing in it, to go to when another one is left."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class Data(ScriptedLoadableModule):
    pass


class DataWidget(ScriptedLoadableModuleWidget):
    pass
