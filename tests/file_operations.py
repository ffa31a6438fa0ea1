"""Kills a process at a given one of its file operations, instead of at a random time."""

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
"""Operations on files that Python reports (PEP 578) before they happen."""
Group = Literal["operations", "writes"]
"""Groups that are counted separately, since there are far more writes than other operations."""


class FileOperations:
    """Counts this process's operations on a directory's files, and kills the process at a given one.

    A write is cut in half. Operations of other threads, such as the curves of TensorBoard, are not counted, so that
    equal trainings have equal operations.

    Args:
        directory: the directory of the files.
        last: the operation at which the process is killed, counted from 1 within its group; `None` means never.
    """

    def __init__(self, directory: Path, last: tuple[Group, int] | None) -> None:
        self.counts: Counter[Group] = Counter()
        self._prefix = f"{directory}{os.sep}"
        self._last = last
        sys.addaudithook(self._audit)
        self._open, io.open = io.open, self._open_counted  # type: ignore[assignment]

    def count(self, group: Group, halfway: Callable[[], object] = lambda: None) -> None:
        """Counts an operation; if it is the last, runs `halfway` and kills the process."""
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
        # Files that are removed with their directory are named without it.
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
