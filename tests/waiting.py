"""Starts processes that lock a file and wait to be killed, and their parents: python -m tests.waiting KIND FILE FILE.

A lock lasts until its process ends, in any way.
"""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hwm_env import workers
from hwm_env.reference import supervision

if os.environ.get("WITHOUT_KERNEL"):
    workers._set_death_signal = lambda: False


def wait_with(path: Path) -> None:
    """Locks a file and never returns."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("locked")
        file.flush()
        while True:
            time.sleep(60)


def nothing() -> None:
    """Imports this module into a worker before that is tied to its parent."""


def record_with(path: Path, alive: Callable[[], None]) -> None:
    """Locks a file and never returns, as a supervised worker that is alive."""
    threading.Thread(target=wait_with, args=(path,), daemon=True).start()
    while True:
        alive()
        time.sleep(0.1)


def train_with(paths: Sequence[Path]) -> None:
    """Runs `hwm-env train`, which waits where it would load its tokenizer."""
    from hwm_env import checkpoint, cli

    checkpoint.load_tokenizer = lambda _: wait_with(paths[int(os.environ["RANK"])])
    cli.main(["train", "data", "--tokenizer", "none", "--out", "out"])


def main(kind: str, *names: str) -> None:
    """Starts two processes, in one of four ways, and waits for them."""
    paths = [Path(name) for name in names]
    if kind == "pool":
        list(workers.run_in_processes(wait_with, paths, 2, nothing))
    elif kind == "supervised":
        supervision.supervise(record_with, paths, [supervision.Stage("2 workers", 2, {})], lambda *_: None)
    elif kind == "launcher":
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.waiting", "training"]
        subprocess.run([sys.executable, "-m", "hwm_env.workers", str(os.getpid()), *launcher, *names], check=False)
    elif kind == "module":
        code = "import sys, tests.waiting; tests.waiting.workers.main(sys.argv[1:])"
        for name in names:
            command = [sys.executable, "-c", code, str(os.getpid()), "tests.waiting", "alone", name]
            started = subprocess.Popen(command)
        started.wait()
    elif kind == "training":
        train_with(paths)
    else:
        wait_with(paths[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
