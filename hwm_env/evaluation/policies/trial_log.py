"""Stores trials on disk, one line per unit, so that an interrupted evaluation keeps its finished units."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwm_env.data.files import append_bytes, parse_json, read_bytes, write_bytes
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.player import Unit
from hwm_env.evaluation.policies.trials import Case, Trial


class TrialLog:
    """The finished units of an evaluation, in `trials.jsonl`, whose first line is the evaluation's stamp.

    Args:
        directory: directory of the evaluation, created if it does not exist.
        stamp: what trials depend on: weights, starts, seeds, limits.

    Raises:
        InvalidInputError: the directory holds trials of another evaluation, or a file that is no log.
        SavingError: the log cannot be written.
    """

    def __init__(self, directory: Path, stamp: Mapping[str, Any]) -> None:
        self._file = directory / "trials.jsonl"
        self._finished: dict[Unit, list[Trial]] = {}
        if not os.path.lexists(self._file):
            write_bytes(self._file, _line({"stamp": stamp}))
            return
        whole = read_bytes(self._file, InvalidInputError, "choose another directory")
        # An interrupted write leaves an incomplete line; its unit is played again.
        lines = [line for line in whole.splitlines(keepends=True) if line.endswith(b"\n")]
        try:
            header, *units = [parse_json(line.decode()) for line in lines]
            known = header["stamp"]
            for content in units:
                self._finished[Unit(**content["unit"])] = [_trial(each) for each in content["trials"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"{self._file} is no log of trials ({error}); choose another directory") from error
        if known != (wanted := json.loads(json.dumps(stamp))):
            differing = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
            raise InvalidInputError(
                f"{self._file} holds trials of another evaluation ({', '.join(differing)} differ); use the same "
                "checkpoint and options, or choose another directory"
            )
        write_bytes(self._file, b"".join(lines))

    @property
    def finished(self) -> Mapping[Unit, Sequence[Trial]]:
        """Trials of the finished units."""
        return self._finished

    def add(self, unit: Unit, trials: Sequence[Trial]) -> None:
        """Adds a unit's trials, which are on disk when this returns.

        Raises:
            SavingError: they cannot be written.
        """
        content = {"unit": asdict(unit), "trials": [asdict(trial) for trial in trials]}
        append_bytes(self._file, _line(content))
        self._finished[unit] = list(trials)


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _trial(content: dict[str, Any]) -> Trial:
    return Trial(**{**content, "case": Case(**content["case"])})
