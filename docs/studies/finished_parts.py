"""Keeps the results of a study's parts on disk, so that an interrupted study continues."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwm_env.data.files import read_json, write_json
from hwm_env.errors import InvalidInputError


class FinishedParts:
    """Results by the name of a part, a JSON file each.

    Args:
        directory: directory for them, created if it does not exist.
        stamp: all that the results depend on, ready for JSON.

    Raises:
        InvalidInputError: the directory holds results of another study.
        SavingError: the stamp cannot be written.
    """

    def __init__(self, directory: Path, stamp: Mapping[str, Any]) -> None:
        self._directory = directory
        file, wanted = directory / "stamp.json", json.loads(json.dumps(stamp))
        if not file.exists():
            write_json(file, wanted)
        known = read_json(file)
        if known != wanted:
            differing = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
            raise InvalidInputError(
                f"{directory} holds results of another study ({', '.join(differing)} differ); use the same checkpoint "
                "and options, or choose another directory"
            )

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        """Returns a result from its file, or computes it and writes the file.

        Args:
            name: name of the part, which becomes that of its file.
            compute: returns the result, ready for JSON.

        Raises:
            SavingError: the file cannot be written.
        """
        file = self._directory / f"{name}.json"
        if not file.exists():
            write_json(file, {"result": compute()})
        return read_json(file)["result"]
