"""A sample CT through Slicer's own Sample Data module: nothing is downloaded unless the user asks for it."""

import slicer

CATEGORY = "LiverGTAN"
SAMPLE = "CTLiver"
DESCRIPTION = "CTLiver (MSD Task03 liver_100)"
"""Slicer's CTLiver is a public training case of the Medical Segmentation Decathlon, so no proof of quality."""

_HASH = "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"


def isAvailable() -> bool:
    """Whether this Slicer has the Sample Data module."""
    return hasattr(slicer.modules, "sampledata")


def register() -> None:
    """List the sample in the Sample Data module, which must be there, in a category of its own."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=DESCRIPTION,
        uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{_HASH}",
        fileNames="CTLiver.nrrd",
        nodeNames=SAMPLE,
        checksums=f"SHA256:{_HASH}",
        loadFileTypes="VolumeFile",
    )


def load():
    """Download (once) and load the sample; returns its volume node. Raises OSError when that fails."""
    import SampleData

    # A list of nodes; empty without a network, and of paths when the file that came could not be read.
    loaded = SampleData.SampleDataLogic().downloadSamples(SAMPLE)
    volumeNode = next((one for one in loaded if isinstance(one, slicer.vtkMRMLScalarVolumeNode)), None)
    if volumeNode is None:
        raise OSError("The sample CT could not be downloaded; check the network connection and try again.")
    return volumeNode
