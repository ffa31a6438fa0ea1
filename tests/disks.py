"""File systems that refuse to write."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, files_that_fit: int = 0) -> Iterator[None]:
    """Fails to flush all files except the first ones, as some network file systems do."""
    left = [files_that_fit]

    def fsync(descriptor: int) -> None:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """Mounts a file system in memory, of limited size or read-only; skips the test if mounting is not allowed."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def content_of(directory: Path) -> dict[str, bytes]:
    """Returns the contents of all files below a directory, hidden ones too."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
