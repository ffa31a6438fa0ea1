"""Files are written atomically, and an unreadable or unwritable path is an error of one line."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hwm_env.data import files
from hwm_env.data.files import (
    append_bytes,
    check_writable,
    next_number,
    read_bytes,
    what_is_at,
    write_bytes,
    write_files,
    write_json,
    write_numbered,
)
from hwm_env.errors import InvalidInputError, SavingError
from tests.disks import content_of, full_disk, mounted


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    """None appears until all are written, and the last one appears last."""
    seen = []

    def contents():
        yield tmp_path / "a", b"1"
        seen.append(sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")))
        yield tmp_path / "deep/b", memoryview(b"2")

    write_files(contents())
    assert seen == [[]]
    assert content_of(tmp_path) == {"a": b"1", "deep/b": b"2"}


def test_the_last_file_is_gone_while_the_others_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader never finds it beside files of two versions."""
    part, last = tmp_path / "part", tmp_path / "last"
    write_files([(part, b"old"), (last, b"old")])
    found, replace = [], Path.replace

    def note(temporary: Path, path: Path) -> Path:
        found.append((path.name, last.exists()))
        return replace(temporary, path)

    monkeypatch.setattr(Path, "replace", note)
    write_files([(part, b"new"), (last, b"new")])
    assert found == [("part", False), ("last", False)]
    assert content_of(tmp_path) == {"part": b"new", "last": b"new"}


@pytest.mark.parametrize("files_that_fit", [0, 1, 2])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_that_fit: int
) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"old")
    before = content_of(tmp_path)
    with full_disk(monkeypatch, files_that_fit), pytest.raises(SavingError) as caught:
        write_files((path, b"new") for path in paths)
    assert content_of(tmp_path) == before
    assert str(caught.value) == (
        f"could not write {paths[files_that_fit]} (No space left on device); what was there before is unharmed: make "
        "room, or choose another disk"
    )


def test_what_does_not_fit_on_a_real_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        write_bytes(disk / "good", b"old")
        for write in (write_bytes, append_bytes):
            with pytest.raises(SavingError, match=r"good \(No space left on device\).*make room"):
                write(disk / "good", bytes(100_000))
        with pytest.raises(SavingError, match="No space left on device"):
            write_numbered(disk, "episode_{:05d}", bytes(100_000))
        assert content_of(disk) == {"good": b"old"}


def test_an_interrupted_maker_leaves_nothing(tmp_path: Path) -> None:
    def contents():
        yield tmp_path / "a", b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files(contents())
    assert content_of(tmp_path) == {}


HARD = {
    "a directory": (lambda at: at, "name a file, not a directory"),
    "below a file": (lambda at: at / "file/inside", "there is a file where one must be"),
    "a long name": (lambda at: at / ("x" * 5000), "choose a shorter name"),
    "a long directory": (lambda at: at / ("x" * 5000) / "file", "choose a shorter name"),
    "a NUL byte": (lambda at: at / "a\0b", "NUL byte"),
    "an unread pipe": (lambda at: at / "pipe", "let another program read the pipe first"),
    "a place in /proc": (lambda at: Path("/proc/self/report.json"), "could not write /proc/self/report.json"),
    "a loop of links": (lambda at: at / "loop", "could not write"),
}


@pytest.mark.parametrize(("place", "remedy"), HARD.values(), ids=HARD)
def test_where_nothing_can_be_written(tmp_path: Path, place: Callable[[Path], Path], remedy: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SavingError) as caught:
        write_json(place(tmp_path), {})
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert content_of(tmp_path) == {"file": b"old"}


def test_a_read_only_file_system(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        (disk / "file").write_bytes(b"old")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for refused in (
            lambda: write_bytes(disk / "file", b"new"),
            lambda: append_bytes(disk / "file", b"new"),
            lambda: write_numbered(disk / "deeper", "{:03d}", b"new"),
            lambda: check_writable(disk / "not/there/yet"),
        ):
            with pytest.raises(SavingError, match="choose a place that may be written"):
                refused()
        assert content_of(disk) == {"file": b"old"}


def test_long_and_strange_names_that_are_allowed(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127, "line\nbreak", "{:d}", "*[a]?"):
        write_bytes(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_pipes_and_devices_are_written_to(tmp_path: Path) -> None:
    """/dev/null is not replaced by a file."""
    write_bytes(Path("/dev/null"), b"1")
    assert Path("/dev/null").is_char_device()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    while not got:
        try:
            write_bytes(pipe, b"content")
        except SavingError:  # the reader has not opened it yet
            continue
        reader.join()
    assert got == [b"content"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Its target may belong to another program, such as a file of a cache."""
    (tmp_path / "theirs").write_bytes(b"old")
    (tmp_path / "link").symlink_to("theirs")
    write_bytes(tmp_path / "link", b"new")
    assert content_of(tmp_path) == {"theirs": b"old", "link": b"new"}


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    """Only temporary files of the same file, whose process has ended, are removed."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [f".a.{ended.pid}.tmp", f".a.{ended.pid}.7.tmp"]
    kept = [f".a.{os.getppid()}.0.tmp", f".b.{ended.pid}.tmp", ".a.txt.tmp", "a.1.tmp"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    write_bytes(tmp_path / "a", b"1")
    assert sorted(content_of(tmp_path)) == sorted(["a", *kept])


def test_new_numbers_never_write_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "episode_{:05d}.npz"
    assert next_number(tmp_path / "none", name) == 0
    for taken in ("episode_00002.npz", "episode_7.npz", "episode_00099.mp4", "episode_x.npz"):
        (tmp_path / taken).write_bytes(b"old")
    assert next_number(tmp_path, name) == 8
    assert [write_numbered(tmp_path, name, b"new", number) for number in (1, 1, 2)] == [1, 3, 4]

    # As on a disk without links.
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert write_numbered(tmp_path, name, b"new", 1) == 5
    content = content_of(tmp_path)
    assert {name for name, value in content.items() if value == b"new"} == {
        f"episode_{n:05d}.npz" for n in (1, 3, 4, 5)
    }
    assert not any(name.startswith(".") for name in content)


def test_reading_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(files, "LARGEST_READ", 100)
    (tmp_path / "large").write_bytes(bytes(101))
    for path, found in (
        (tmp_path, "found a directory"),
        (tmp_path / "none", "found nothing"),
        (tmp_path / "pipe", "found a pipe"),
        (Path("/dev/zero"), "found a pipe, socket or device"),
        (tmp_path / ("x" * 5000), "File name too long"),
        (tmp_path / "a\0b", "NUL byte"),
        (Path("/proc/self/mem"), "cannot be read"),
        (tmp_path / "large", "at most 100 bytes, found 101"),
    ):
        with pytest.raises(InvalidInputError, match=found) as caught:
            read_bytes(path, InvalidInputError, "give another one")
        assert len(str(caught.value)) < 600
    assert read_bytes(Path("/proc/self/status"), InvalidInputError, "").startswith(b"Name:")
    assert what_is_at(tmp_path / "large") == "a file"
