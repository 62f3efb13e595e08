"""Whose segmentation a DICOM file is, read off its bytes: of half a file, which no reader takes, they tell that too.

dcmqi, with which Slicer writes segmentations, writes explicit VR little endian: tag, VR, length, value (DICOM PS3.5,
7.1.2).
"""

import re
from dataclasses import dataclass
from pathlib import Path

_SEGMENTATION = b"UI\x1c\x001.2.840.10008.5.1.4.1.1.66.4"
_INSTANCE = re.compile(rb"\x02\x00\x03\x00UI.\x00([\d.]{1,64})", re.DOTALL)
_REFERENCED_INSTANCE = re.compile(rb"\x08\x00\x55\x11UI.\x00([\d.]{1,64})", re.DOTALL)
_PIXELS = re.compile(rb"\xe0\x7f\x10\x00O[BW]\x00\x00(.{4})", re.DOTALL)
_END_OF_COMPRESSED = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@dataclass(frozen=True)
class ExportedFile:
    """What the bytes of a file tell; nothing at all when it cannot be read."""

    content: bytes

    @classmethod
    def read(cls, path: Path) -> "ExportedFile":
        """The file as it is by now."""
        try:
            return cls(path.read_bytes())
        except OSError:
            return cls(b"")

    def isOf(self, images: set[str]) -> bool:
        """Whether it is a segmentation, or begins as one, that refers to one of these images (SOP instance UIDs)."""
        referenced = {uid.decode() for uid in _REFERENCED_INSTANCE.findall(self.content)}
        return _SEGMENTATION in self.content and not referenced.isdisjoint(images)

    @property
    def instance(self) -> str:
        """Its own SOP instance UID, empty where it has none."""
        found = _INSTANCE.search(self.content)
        return found[1].decode() if found else ""

    @property
    def isWhole(self) -> bool:
        """Whether it has all of the pixels that it announces; they come last."""
        found = _PIXELS.search(self.content)
        if found is None:
            return False
        there = found.end() + int.from_bytes(found[1], "little") <= len(self.content)
        return there or self.content.endswith(_END_OF_COMPRESSED)
