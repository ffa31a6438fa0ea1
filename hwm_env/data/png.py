"""Writes PNG files with Pillow (the extra "evaluation")."""

import io
from pathlib import Path

from hwm_env.data.files import write_bytes
from hwm_env.errors import require_extra
from hwm_env.types import UInt8Array


def write_png(path: Path, picture: UInt8Array) -> None:
    """Writes a PNG file atomically.

    Args:
        path: the file.
        picture: uint8 [H, W, 3].

    Raises:
        MissingExtraError: Pillow is not installed.
        SavingError: the file could not be written.
    """
    content = io.BytesIO()
    require_extra("PIL.Image", "evaluation").fromarray(picture).save(content, "PNG")
    write_bytes(path, content.getbuffer())
