"""Whether video files were cut off, by the sizes that their parts have by their own headers."""

import os
from pathlib import Path


def is_cut_off(path: Path) -> bool:
    """Whether an MP4, QuickTime or AVI file ends before its last part does, or its parts do not follow each other.

    Such files play without a complaint up to the damage. False for other formats.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(12)
        is_avi, is_mp4 = start[:4] == b"RIFF", start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        position = 0
        while (is_avi or is_mp4) and position < size:
            file.seek(position)
            header = file.read(16)
            length = _riff_length(header) if is_avi else _box_length(header, size - position)
            if length is None:
                return True
            position += length
        return position > size


def _riff_length(header: bytes) -> int | None:
    """Bytes of a chunk of which the first four are "RIFF"."""
    return 8 + int.from_bytes(header[4:8], "little") if header[:4] == b"RIFF" else None


def _box_length(header: bytes, rest: int) -> int | None:
    """Bytes of a box, of which `rest` are left in the file; None: it is none."""
    length, kind = int.from_bytes(header[:4], "big"), header[4:8]
    if length == 1:
        length = int.from_bytes(header[8:16], "big")
    elif length == 0:
        # The last box may reach to the end of the file.
        length = rest
    return length if length >= 8 and kind.isalnum() else None
