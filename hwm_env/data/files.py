"""Files that are read whole, and written whole or not at all."""

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
"""Bytes of a file that is read whole, at most."""
MAX_JSON_BYTES: Final = 2**25
"""Far more than any configuration or metadata takes."""
_READ_UNSIZED: Final = 2**20
"""Bytes that are read of a file that does not say how long it is."""
_LONGEST_SHOWN: Final = 200
"""Characters of a path in a message."""
_STEM_LENGTH: Final = 48
"""Characters of a file's name in that of its temporary file, which must not get too long."""
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
"""How file systems say that they have no links."""
_numbers: Final = itertools.count()


def write_bytes(path: Path, content: Content) -> None:
    """Writes a file atomically: whoever looks sees all of it or none of it. Pipes and terminals are written to.

    Raises:
        SavingError: it could not be written; what was there before is unharmed.
    """
    with writing(path):
        if _is_stream(path):
            _write_stream(path, content)
        else:
            write_files([(path, content)])


def write_files(contents: Iterable[tuple[Path, Content]]) -> None:
    """Writes files that belong together: all of them appear, or none.

    Args:
        contents: paths and contents; made one after the other, so that they need not be in memory together. The last
            file stands for the whole: it is taken away before the others appear, and appears last.

    Raises:
        SavingError: one could not be written; what was there before is unharmed.
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
    """Returns the content of a JSON file, for people to read."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_numbered(directory: Path, name: str, content: Content, number: int = 0) -> int:
    """Writes a new file atomically, never over another one, also where several processes write at once.

    Args:
        directory: where.
        name: of the file, such as "episode_{:05d}.npz".
        content: what to write.
        number: for the name; if there is such a file, the next one that is free is taken.

    Returns:
        The number that it got.

    Raises:
        SavingError: it could not be written.
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
    """Returns the number after the highest one of the files there; 0 if there are none.

    Args:
        directory: where.
        name: of the files, as for `write_numbered`.
    """
    prefix, suffix = (re.escape(part) for part in re.split(r"\{.*\}", name))
    found = os.listdir(directory) if os.path.isdir(directory) else []
    numbers = [int(match[1]) for each in found if (match := re.fullmatch(f"{prefix}([0-9]+){suffix}", each))]
    return max(numbers, default=-1) + 1


def append_bytes(path: Path, content: bytes) -> None:
    """Adds to the end of a file: all of the content or, if that fails, nothing.

    Raises:
        SavingError: it could not be added.
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
    """Looks whether a file can be written, as far as that shows beforehand; changes nothing.

    Raises:
        SavingError: it cannot.
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
    """Turns what the system says while a path is written into an error that names the path and the remedy.

    Raises:
        SavingError: it could not be written.
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
        error: what to raise.

    Raises:
        HWMError: the file is missing, too large, or holds something else.
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
    """Returns what a JSON text says.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_bytes(path: Path, error: type[HWMError], remedy: str) -> bytes:
    """Reads a file whole.

    Args:
        path: the file.
        error: type of the error.
        remedy: what to do if it is missing.

    Raises:
        HWMError: of the type `error`: it is missing, cannot be read, or is larger than LARGEST_READ.
    """
    check_file(path, error, remedy)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_READ:
                raise error(f"{shown(path)}: expected at most {LARGEST_READ} bytes, found {size}; {remedy}")
            # Some files of /proc say that they are empty, and never end.
            return file.read(max(size, _READ_UNSIZED))
    except OSError as refusal:
        raise error(f"{shown(path)} cannot be read ({refusal.strerror}); {remedy}") from refusal


def check_file(path: Path, error: type[HWMError], remedy: str) -> None:
    """Makes sure that there is a file, and nothing that whoever opens it might wait for.

    Args:
        path: where.
        error: type of the error.
        remedy: what to do if there is none.

    Raises:
        HWMError: of the type `error`.
    """
    if not os.path.isfile(path):
        raise error(f"expected a file {shown(path)}, found {what_is_at(path)}; {remedy}")


def same_place(path: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or directory, there or not."""
    try:
        return os.path.realpath(path) == os.path.realpath(other)
    except ValueError:
        # No name has a NUL byte.
        return False


def what_is_at(path: Path) -> str:
    """What a path leads to, for error messages."""
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
    """A path in a message: shortened if it is very long, escaped if it could not be printed."""
    text = str(path)
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[: _LONGEST_SHOWN // 2]}...{text[-_LONGEST_SHOWN // 2 :]}"
    return text if text.isprintable() else repr(text)


def _stage(path: Path, content: Content) -> Path:
    """Writes a temporary file beside a path, to be renamed to it.

    Raises:
        OSError: that is not possible; nothing is left.
    """
    _is_stream(path)  # says so where it is a directory
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.name[:_STEM_LENGTH]}."
    _remove_leftovers(path.parent, stem)
    # Other processes and threads may be writing the same file.
    temporary = path.with_name(f"{stem}{os.getpid()}.{next(_numbers)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Some systems say only now that the disk is full.
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _remove_leftovers(directory: Path, stem: str) -> None:
    """Removes temporary files of a path that a killed process left there."""
    for name in os.listdir(directory):
        if not name.startswith(stem):
            continue
        match = re.fullmatch(r"([0-9]+)(\.[0-9]+)?\.tmp", name[len(stem) :])
        if match and not _is_running(int(match[1])):
            (directory / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether there is such a process, as far as can be told; Windows has no way to ask."""
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
    """Gives a temporary file its name unless that is taken; whether it was free."""
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
    """Whether a path is written to as it is, such as /dev/stdout.

    Raises:
        OSError: nothing can be written there, since it is a directory, socket or disk.
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
        OSError: nobody reads the pipe, or no more.
    """
    # Without O_NONBLOCK this would wait for a reader.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
