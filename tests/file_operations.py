"""Kills a process at a certain one of its file operations, instead of at some moment."""

import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

OPERATIONS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.rmtree")
"""What Python reports of files (PEP 578), before it is done."""
Group = Literal["operations", "writes"]
"""Writes are far more than all other operations."""


class FileOperations:
    """Counts what this process does to a directory's files, and kills it at the operation that is its turn.

    A write is cut in half. What threads do beside the training, such as the curves of TensorBoard, is not counted:
    so equal trainings have equal operations.

    Args:
        directory: whose files.
        last: which operation the process does not survive, counted from 1 within its group; None: it survives all.
    """

    def __init__(self, directory: Path, last: tuple[Group, int] | None) -> None:
        self.counts: Counter[Group] = Counter()
        self._prefix = f"{directory}{os.sep}"
        self._last = last
        sys.addaudithook(self._audit)
        self._open, io.open = io.open, self._open_counted  # type: ignore[assignment]

    def count(self, group: Group, halfway: Callable[[], object] = lambda: None) -> None:
        """Counts an operation; if it is the last, does half of it and ends."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.counts[group] += 1
        if (group, self.counts[group]) == self._last:
            halfway()
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and self._is_inside(arguments[0]):
            self.count("operations")

    def _is_inside(self, path: object) -> bool:
        # What is removed with its directory is named without it.
        return isinstance(path, str | Path) and (str(path).startswith(self._prefix) or not os.path.isabs(path))

    def _open_counted(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        opened = self._open(file, mode, *arguments, **options)
        if mode[0] in "aw" and self._is_inside(file):
            write = opened.write

            def write_counted(content: Any) -> Any:
                self.count("writes", lambda: (write(content[: len(content) // 2]), opened.flush()))
                return write(content)

            opened.write = write_counted
        return opened
