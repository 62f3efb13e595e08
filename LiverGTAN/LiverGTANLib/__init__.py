"""LiverGTAN: liver segmentation in CT by a tiny student network, on numpy alone or on torch.

Nothing is imported here: Slicer loads each part when it is first needed.
"""
