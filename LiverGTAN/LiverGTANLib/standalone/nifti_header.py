"""The headers of NIfTI-1, NIfTI-2 and Analyze files: their fields, and the orientations that they hold.

nibabel reads them too, but its import takes 55 ms of processor time, a tenth of a small CT on the command line. The
tests compare with it. Offsets and meanings: nifti1.h and nifti2.h of nifti.nimh.nih.gov.
"""

import numpy as np

NIFTI1: dict[str, tuple[str, int]] = {
    "sizeof_hdr": ("i4", 0),
    "dim": ("8i2", 40),
    "datatype": ("i2", 70),
    "bitpix": ("i2", 72),
    "pixdim": ("8f4", 76),
    "vox_offset": ("f4", 108),
    "scl_slope": ("f4", 112),
    "scl_inter": ("f4", 116),
    "xyzt_units": ("u1", 123),
    "descrip": ("S80", 148),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quatern": ("3f4", 256),
    "qoffset": ("3f4", 268),
    "srow": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}
"""Name -> type and byte of the fields that are used here; those of two and three letters stand side by side in one."""

NIFTI2: dict[str, tuple[str, int]] = {
    "sizeof_hdr": ("i4", 0),
    "magic": ("S4", 4),
    "datatype": ("i2", 12),
    "dim": ("8i8", 16),
    "pixdim": ("8f8", 104),
    "vox_offset": ("i8", 168),
    "scl_slope": ("f8", 176),
    "scl_inter": ("f8", 184),
    "descrip": ("S80", 240),
    "qform_code": ("i4", 344),
    "sform_code": ("i4", 348),
    "quatern": ("3f8", 352),
    "qoffset": ("3f8", 376),
    "srow": ("(3,4)f8", 400),
    "xyzt_units": ("i4", 500),
}

ANALYZE = {name: NIFTI1[name] for name in ("sizeof_hdr", "dim", "datatype", "pixdim", "vox_offset", "descrip")}

SIZES = {348: NIFTI1, 540: NIFTI2}
HEADER_BYTES = max(SIZES)

TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    32: "c8",
    64: "f8",
    128: "V3",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    1792: "c16",
    2304: "V4",
}
"""datatype -> numpy's; "V": colors. Single bits and numbers of 16 bytes are left out: no CT is stored so."""

MILLIMETERS, SCANNER = 2, 1
VOXELS_FROM = 352
"""Byte at which voxels begin in files of ours: behind the header and four zeros, which say that no extension comes."""


class NiftiHeader:
    """Fields by their name in nifti1.h, and what follows from them. Fields that Analyze lacks are not in it."""

    def __init__(self, content: bytes) -> None:
        """content: the first `HEADER_BYTES` of a file, or fewer. Raises ValueError with what is wrong."""
        orders = {order: int.from_bytes(content[:4], name) for order, name in (("<", "little"), (">", "big"))}
        order = next((order for order, size in orders.items() if size in SIZES), None)
        if order is None:
            raise ValueError("it does not begin as NIfTI does")
        self.size = orders[order]
        fields = SIZES[self.size]
        if self.size == 348 and content[344:348] not in (b"n+1\0", b"ni1\0"):
            fields = ANALYZE
        if len(content) < self.size:
            raise ValueError(f"it ends after {len(content)} bytes")
        self._fields = np.frombuffer(content, _layout(fields, self.size, order), 1)[0]
        self._order = order

    def __getitem__(self, name: str):
        return self._fields[name]

    def __contains__(self, name: str) -> bool:
        return name in self._fields.dtype.names

    @property
    def single(self) -> bool:
        """Whether the voxels follow in the same file, and not in another beside it."""
        return "magic" in self and bytes(self["magic"])[:2] == b"n+"

    @property
    def shape(self) -> list[int]:
        """Sizes along i, j, k and what more there is. Raises ValueError."""
        count = int(self["dim"][0])
        if not 0 <= count <= 7:
            raise ValueError(f"{count} dimensions")
        return [int(n) for n in self["dim"][1 : count + 1]]

    @property
    def dtype(self) -> np.dtype:
        """Of the voxels as they are stored. Raises ValueError."""
        code = int(self["datatype"])
        if code not in TYPES:
            raise ValueError(f"data type {code}")
        return np.dtype(TYPES[code]).newbyteorder(self._order)

    @property
    def offset(self) -> int:
        """Byte at which the voxels begin. Raises ValueError, or OverflowError for infinity."""
        return int(self["vox_offset"])

    @property
    def scale(self) -> tuple[float, float]:
        """Slope and intercept; where the slope is 0 or NaN, as where it is not stored, there is no scaling."""
        if "scl_slope" not in self:
            return 1.0, 0.0
        slope, intercept = float(self["scl_slope"]), float(self["scl_inter"])
        return (1.0, 0.0) if slope == 0 or np.isnan(slope) else (slope, intercept)

    @property
    def sform(self) -> np.ndarray:
        """(4, 4), in the units of the file."""
        return np.vstack([self["srow"], [0, 0, 0, 1]]).astype(float)

    @property
    def qform(self) -> np.ndarray:
        """(4, 4), in the units of the file. Raises ValueError where quaternion or sizes can be none."""
        x, y, z = (float(n) for n in self["quatern"])
        rest = 1 - (x * x + y * y + z * z)
        # Stored numbers are rounded: next to nothing may be left on either side of half a turn.
        if not rest > -3 * np.finfo(self["quatern"].dtype).eps:
            raise ValueError(f"a quaternion of length {np.sqrt(1 - rest):.4g}")
        w = 0.0 if rest < 3 * np.finfo(self["quatern"].dtype).eps else np.sqrt(rest)
        sizes = np.abs(np.asarray(self["pixdim"][1:4], float))
        # The standard wants -1 or 1 here; many writers leave 0, to be read as 1.
        sizes[2] *= -1.0 if self["pixdim"][0] == -1 else 1.0
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(np.array([w, x, y, z])) * sizes
        matrix[:3, 3] = self["qoffset"]
        return matrix


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion w, x, y, z of any length but 0 (nifti1.h, method 2)."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(matrix: np.ndarray) -> np.ndarray:
    """w, x, y, z, w >= 0, of a (3, 3) rotation: Bar-Itzhack, J. Guidance 23:1085, 2000."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    found = np.linalg.eigh(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )[1][[3, 0, 1, 2], -1]
    return -found if found[0] < 0 else found


def nifti1_header(
    shape_ijk: tuple[int, ...], dtype: np.dtype, ijk_to_ras: np.ndarray, right_angles: bool = True, text: str = ""
) -> bytes:
    """`VOXELS_FROM` bytes, little-endian, with the matrix as the sform, and as the qform too if it has `right_angles`.

    text: for the field `descrip`, 80 bytes at most. Raises ValueError for voxels of another type than `TYPES`.
    """
    fields = np.zeros(1, _layout(NIFTI1, 348, "<"))[0]
    code = next((code for code, name in TYPES.items() if name == dtype.str[1:]), None)
    if code is None:
        raise ValueError(f"NIfTI holds no voxels of type {dtype}")
    _set_qform(fields, ijk_to_ras)
    fields["pixdim"][4:] = 1
    fields["sizeof_hdr"], fields["dim"], fields["magic"] = 348, [3, *shape_ijk, 1, 1, 1, 1], b"n+1"
    fields["datatype"], fields["bitpix"], fields["vox_offset"] = code, 8 * dtype.itemsize, VOXELS_FROM
    fields["scl_slope"], fields["xyzt_units"], fields["descrip"] = 1, MILLIMETERS, text.encode()
    fields["sform_code"], fields["qform_code"], fields["srow"] = SCANNER, SCANNER * right_angles, ijk_to_ras[:3]
    return fields.tobytes().ljust(VOXELS_FROM, b"\0")


def _layout(fields: dict[str, tuple[str, int]], size: int, order: str) -> np.dtype:
    formats, offsets = zip(*fields.values())
    layout = np.dtype({"names": [*fields], "formats": formats, "offsets": offsets, "itemsize": size})
    return layout.newbyteorder(order)


def _set_qform(fields: np.void, ijk_to_ras: np.ndarray) -> None:
    """The qform that comes nearest to a matrix: axes at right angles, of the same lengths."""
    sizes = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    axes = ijk_to_ras[:3, :3] / sizes
    side = 1.0 if np.linalg.det(axes) > 0 else -1.0
    axes[:, 2] *= side
    left, _, right = np.linalg.svd(axes)
    fields["quatern"], fields["qoffset"] = quaternion_of(left @ right)[1:], ijk_to_ras[:3, 3]
    fields["pixdim"][:4] = [side, *sizes]
