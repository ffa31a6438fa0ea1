"""Fuzzes file systems and devices: paths that are not files, and devices that do not exist."""

import os
from collections.abc import Callable
from pathlib import Path

from hwm_env.simulator import WorldSimulator
from tests.fuzz.answers import run_command
from tests.fuzz.contents import Files
from tests.fuzz.values import Rng, pick

Attempt = Callable[[], object]

DEVICES = ("banana", "cuda", "cuda:99", "cpu:7", "mps", "", "meta", "cuda:-1", "\x00", "c" * 5000, "xpu", "CPU")


def paths(rng: Rng, files: Files) -> Attempt:
    fifo, empty, locked = (files.directory / name for name in ("fifo", "empty", "locked"))
    if not fifo.exists():
        os.mkfifo(fifo)
        empty.touch()
        locked.mkdir()
        locked.chmod(0o500)
    odd = (
        fifo,
        empty,
        files.directory,
        locked / "x",
        empty / "below",
        Path("/proc/self/mem"),
        Path("/dev/null"),
        Path("/proc/nothing"),
        Path("a" * 5000),
        Path("a\x00b"),
        Path("\udcff"),
        Path("-"),
    )
    path, out = pick(rng, odd), files.directory / "out"
    commands = (
        ("inspect", path),
        ("inspect", files.data, "--json", path),
        ("replay", path, "--checkpoint", files.checkpoint),
        ("replay", files.replay, "--checkpoint", path),
        ("replay", files.replay, "--checkpoint", files.checkpoint, "--json", path),
        ("import-checkpoint", path, out),
        ("tokenize", path, out, "--tokenizer", files.checkpoint),
        ("tokenize", files.data, out, "--tokenizer", path),
        ("evaluate", path, "--checkpoint", files.checkpoint, "--out", out),
        ("generate", files.checkpoint, path, "--out", out),
        ("generate", path, files.data, "--out", out),
    )
    command = pick(rng, commands)
    return lambda: run_command(*command)


def devices(rng: Rng, files: Files) -> Attempt:
    device = pick(rng, DEVICES)
    if rng.integers(2):
        return lambda: WorldSimulator.from_pretrained(files.checkpoint, device=device)
    return lambda: run_command("replay", files.replay, "--checkpoint", files.checkpoint, "--device", device)


KINDS = {"paths": paths, "devices": devices}
