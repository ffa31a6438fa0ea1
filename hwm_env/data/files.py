"""Files that are read and written whole."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from hwm_env.errors import DatasetError


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a file atomically: whoever looks sees all of it or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps processes that write the same file out of each other's way.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, object]:
    """Reads a file that holds one JSON object.

    Raises:
        DatasetError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise DatasetError(f"expected a file {path}, found {what_is_at(path)}; copy or write it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); copy or write it again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def what_is_at(path: Path) -> str:
    """What a path leads to, for error messages."""
    if path.is_dir():
        return "a directory"
    return "a file" if path.exists() else "nothing"
