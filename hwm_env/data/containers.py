"""Detects truncated video files by comparing the sizes in their headers with the file."""

import os
from pathlib import Path


def is_cut_off(path: Path) -> bool:
    """Returns whether an MP4, QuickTime or AVI file is truncated, or its parts do not follow each other.

    Such files play without an error up to the damage. Always `False` for other formats.
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
    """Returns the length of a chunk in bytes; `None` if it does not begin with "RIFF"."""
    return 8 + int.from_bytes(header[4:8], "little") if header[:4] == b"RIFF" else None


def _box_length(header: bytes, rest: int) -> int | None:
    """Returns the length of a box in bytes; `None` if `header` does not begin one.

    Args:
        header: the first 16 bytes.
        rest: bytes left in the file.
    """
    length, kind = int.from_bytes(header[:4], "big"), header[4:8]
    if length == 1:
        length = int.from_bytes(header[8:16], "big")
    elif length == 0:
        # The last box may extend to the end of the file.
        length = rest
    return length if length >= 8 and kind.isalnum() else None
