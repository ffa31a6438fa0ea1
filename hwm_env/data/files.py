"""Files that are read and written whole."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hwm_env.errors import DatasetError, HWMError

MAX_JSON_BYTES: Final = 2**25
"""Far more than any configuration or metadata takes."""


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


def read_json(path: Path, error: type[HWMError] = DatasetError) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Args:
        path: the file, of at most `MAX_JSON_BYTES`.
        error: what to raise.

    Raises:
        HWMError: the file is missing, too large, or holds something else.
    """
    if not path.is_file():
        raise error(f"expected a file {path}, found {what_is_at(path)}; copy or write it again")
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise error(f"{path}: expected JSON of at most {MAX_JSON_BYTES} bytes, got {size}; copy or write it again")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise error(f"{path} is not JSON ({reason}); copy or write it again") from reason
    if not isinstance(content, dict):
        raise error(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def parse_json(text: str) -> Any:
    """Returns what a JSON text says.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def what_is_at(path: Path) -> str:
    """What a path leads to, for error messages."""
    if path.is_dir():
        return "a directory"
    return "a file" if path.exists() else "nothing"
