"""Reads whole files, and writes files atomically: all of a file or nothing."""

import errno
import itertools
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hwm_env.errors import DatasetError, HWMError, SavingError

Content = bytes | bytearray | memoryview

LARGEST_READ: Final = 2**31
"""Maximum size in bytes of a file that is read whole."""
MAX_JSON_BYTES: Final = 2**25
"""Maximum size of a JSON file; configurations and metadata are far smaller."""
_READ_UNSIZED: Final = 2**20
"""Bytes to read from a file that reports no size."""
_LONGEST_SHOWN: Final = 200
"""Maximum number of characters of a path in a message."""
_STEM_LENGTH: Final = 48
"""Characters of a file's name that its temporary file's name repeats; longer names could exceed the system's limit."""
_REMEDIES: Final = {
    errno.ENOSPC: "make room, or choose another disk",
    errno.EDQUOT: "make room, or choose another disk",
    errno.EFBIG: "make room, or choose another disk",
    errno.EACCES: "choose a place that may be written",
    errno.EPERM: "choose a place that may be written",
    errno.EROFS: "choose a place that may be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "name a file, not a directory",
    errno.EEXIST: "choose another name, or move away what is there",
    errno.ENOTDIR: "choose another directory: there is a file where one must be",
    errno.ENXIO: "let another program read the pipe first",
}
_WITHOUT_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
"""Errors of file systems without hard links."""
_numbers: Final = itertools.count()


def write_bytes(path: Path, content: Content) -> None:
    """Writes a file atomically; writes directly to pipes and terminals.

    Raises:
        SavingError: the file could not be written; an earlier version of it is unchanged.
    """
    with writing(path):
        if _is_stream(path):
            _write_stream(path, content)
        else:
            write_files([(path, content)])


def write_files(contents: Iterable[tuple[Path, Content]]) -> None:
    """Writes files that belong together: all of them or none.

    Args:
        contents: paths and contents, consumed one at a time, so that they need not be in memory together. The last
            file marks the set as complete: it is removed before the others appear, and appears last.

    Raises:
        SavingError: a file could not be written; earlier versions are unchanged.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in contents:
            with writing(path):
                staged.append((_stage(path, content), path))
        if len(staged) > 1:
            with writing(staged[-1][1]):
                staged[-1][1].unlink(missing_ok=True)
        for temporary, path in staged:
            with writing(path):
                temporary.replace(path)
    except BaseException:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file atomically.

    Raises:
        SavingError: see `write_bytes`.
    """
    write_bytes(path, json_bytes(content))


def json_bytes(content: Mapping[str, object]) -> bytes:
    """Returns the content of an indented JSON file."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_numbered(directory: Path, name: str, content: Content, number: int = 0) -> int:
    """Writes a new file atomically and never replaces another one, even if several processes write at once.

    Args:
        directory: the directory to write to; created if needed.
        name: pattern of the file's name, such as "episode_{:05d}.npz".
        content: what to write.
        number: the number for the name; if that file exists, the next free number is used.

    Returns:
        The number of the new file.

    Raises:
        SavingError: the file could not be written.
    """
    with writing(directory / name.format(number)):
        directory.mkdir(parents=True, exist_ok=True)
        temporary = _stage(directory / name.format(number), content)
        try:
            while not _claim(directory / name.format(number), temporary):
                number += 1
        finally:
            temporary.unlink(missing_ok=True)
    return number


def next_number(directory: Path, name: str) -> int:
    """Returns the number after the highest one in use; 0 if there are no such files.

    Args:
        directory: the directory of the files.
        name: pattern of their names, as for `write_numbered`.
    """
    prefix, suffix = (re.escape(part) for part in re.split(r"\{.*\}", name))
    found = os.listdir(directory) if os.path.isdir(directory) else []
    numbers = [int(match[1]) for each in found if (match := re.fullmatch(f"{prefix}([0-9]+){suffix}", each))]
    return max(numbers, default=-1) + 1


def append_bytes(path: Path, content: bytes) -> None:
    """Appends to a file: all of the content or, if that fails, nothing.

    Raises:
        SavingError: the content could not be appended.
    """
    with writing(path), path.open("ab", buffering=0) as file:
        size, left = file.seek(0, os.SEEK_END), memoryview(content)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(size)
            raise


def check_writable(path: Path) -> None:
    """Checks that a file can probably be written, without changing anything.

    Raises:
        SavingError: the file cannot be written.
    """
    with writing(path):
        if _is_stream(path):
            return
        directory = path.parent
        while not directory.exists():
            directory = directory.parent
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Converts the system's errors while a path is written into one that names the path and the remedy.

    Raises:
        SavingError: the path could not be written.
    """
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "a name must not have a NUL byte")
        yield
    except SavingError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "choose another place")
        raise SavingError(
            f"could not write {shown(path)} ({error.strerror or error}); what was there before is unharmed: {remedy}"
        ) from error


def read_json(path: Path, error: type[HWMError] = DatasetError) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Args:
        path: the file, of at most `MAX_JSON_BYTES`.
        error: type of the error to raise.

    Raises:
        HWMError: of type `error`: the file is missing, too large, or not a JSON object.
    """
    check_file(path, error, "copy or write it again")
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise error(f"{path}: expected JSON of at most {MAX_JSON_BYTES} bytes, got {size}; copy or write it again")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise error(f"{path} is not JSON ({reason}); copy or write it again") from reason
    if not isinstance(content, dict):
        raise error(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def parse_json(text: str) -> Any:
    """Parses a JSON text.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_bytes(path: Path, error: type[HWMError], remedy: str) -> bytes:
    """Reads a whole file.

    Args:
        path: the file.
        error: type of the error to raise.
        remedy: what to do if the file is missing.

    Raises:
        HWMError: of type `error`: the file is missing, cannot be read, or is larger than `LARGEST_READ`.
    """
    check_file(path, error, remedy)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_READ:
                raise error(f"{shown(path)}: expected at most {LARGEST_READ} bytes, found {size}; {remedy}")
            # Some files in /proc report a size of 0 and never end.
            return file.read(max(size, _READ_UNSIZED))
    except OSError as refusal:
        raise error(f"{shown(path)} cannot be read ({refusal.strerror}); {remedy}") from refusal


def check_file(path: Path, error: type[HWMError], remedy: str) -> None:
    """Checks that `path` is a regular file, which can be opened without waiting.

    Args:
        path: the file.
        error: type of the error to raise.
        remedy: what to do if the file is missing.

    Raises:
        HWMError: of type `error`: `path` is not a regular file.
    """
    if not os.path.isfile(path):
        raise error(f"expected a file {shown(path)}, found {what_is_at(path)}; {remedy}")


def check_empty(directory: Path) -> None:
    """Checks that there is nothing, or an empty directory.

    Raises:
        DatasetError: there is something else.
    """
    if os.path.lexists(directory) and not (os.path.isdir(directory) and not os.listdir(directory)):
        raise DatasetError(
            f"expected nothing or an empty directory at {shown(directory)}, found {what_is_at(directory)} that is not; "
            "give another directory, or remove this one first"
        )


def same_place(path: Path, other: Path) -> bool:
    """Returns whether two paths lead to the same place, which need not exist."""
    try:
        return os.path.realpath(path) == os.path.realpath(other)
    except ValueError:
        # Raised for a NUL byte, which no name contains.
        return False


def what_is_at(path: Path) -> str:
    """Describes what a path leads to, for error messages."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "nothing"
    except OSError as error:
        return f"nothing ({error.strerror})"
    except ValueError:
        return "nothing (no name has a NUL byte)"
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"


def shown(path: Path) -> str:
    """Returns a path for a message: shortened if very long, escaped if not printable."""
    text = str(path)
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[: _LONGEST_SHOWN // 2]}...{text[-_LONGEST_SHOWN // 2 :]}"
    return text if text.isprintable() else repr(text)


def _stage(path: Path, content: Content) -> Path:
    """Writes a temporary file beside `path`, to be renamed to it.

    Raises:
        OSError: the file could not be written; nothing is left behind.
    """
    _is_stream(path)  # Raises if it is a directory.
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.name[:_STEM_LENGTH]}."
    _remove_leftovers(path.parent, stem)
    # Other processes and threads may be writing the same file.
    temporary = path.with_name(f"{stem}{os.getpid()}.{next(_numbers)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Some systems report a full disk only here.
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _remove_leftovers(directory: Path, stem: str) -> None:
    """Removes temporary files that killed processes left behind."""
    for name in os.listdir(directory):
        if not name.startswith(stem):
            continue
        match = re.fullmatch(r"([0-9]+)(\.[0-9]+)?\.tmp", name[len(stem) :])
        if match and not _is_running(int(match[1])):
            (directory / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Returns whether a process is probably running; always `True` on Windows, which cannot be asked."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _claim(path: Path, temporary: Path) -> bool:
    """Renames a temporary file to `path` unless that exists; returns whether it did."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


def _is_stream(path: Path) -> bool:
    """Returns whether a path must be written to directly, such as /dev/stdout.

    Raises:
        OSError: the path is a directory, socket or disk.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "it is a disk or a socket")
    return not stat.S_ISREG(mode)


def _write_stream(path: Path, content: Content) -> None:
    """Writes to a pipe or terminal.

    Raises:
        OSError: the pipe has no reader.
    """
    # Without O_NONBLOCK, opening a pipe waits for a reader.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
