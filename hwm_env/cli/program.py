"""Runs the command `hwm-env`: exit codes, errors in one line, and output that may fail."""

import io
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hwm_env.cli.checks import check_device_and_files
from hwm_env.cli.parsing import PROGRAM, parse
from hwm_env.data.files import writing
from hwm_env.errors import HWMError
from hwm_env.reporting import Caller
from hwm_env.training.runs.stopping import TrainingStopped
from hwm_env.workers import end_with_parent

EXIT_BAD_INPUT: Final = 2
EXIT_BY_SIGNAL: Final = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0 on success, 2 on bad input, 128 plus the signal's number if a signal stopped a training. As
        usual, bad options and `--help` exit at once instead.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # No process may continue to write after its launcher was killed and the training started again.
        end_with_parent(os.getppid())
    logging.basicConfig(format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may contain bytes that are not text.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("hwm_env").setLevel(logging.INFO)
    try:
        _run(argv)
        with writing(Path("/dev/stdout")):
            sys.stdout.flush()
    except TrainingStopped as stopped:
        # Under a launcher, the launcher's command resumes the training.
        resumed = [*argv, *([] if "--resume" in argv else ["--resume"])]
        command = "" if "RANK" in os.environ else f": {shlex.join([PROGRAM, *resumed])}"
        print(f"{PROGRAM}: {stopped}{command}", file=sys.stderr)
        return EXIT_BY_SIGNAL + stopped.signal
    except (HWMError, OSError) as error:
        print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
        _drop_unwritten()
        return EXIT_BAD_INPUT
    return 0


def _run(argv: Sequence[str]) -> None:
    command, config = parse(argv)
    check_device_and_files(config)
    if command.has_caller:
        command.run(config, Caller(command=shlex.join([PROGRAM, *argv]), show=_show))
    else:
        command.run(config)


def _show(text: str) -> None:
    # At once, also where the output is no terminal: a service shows its address and runs on.
    print(text, flush=True)


def _drop_unwritten() -> None:
    """Discards output that cannot be printed: otherwise Python would report it again at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
