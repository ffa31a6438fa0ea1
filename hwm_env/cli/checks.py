"""Checks of a config's device and files before hours of work, not after."""

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import check_writable, same_place, shown
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError

OUTPUTS: Final = {
    "json": ".json",
    "csv": ".csv",
    "pairs": ".csv",
    "page": ".html",
    "plot": ".png",
    "film_strip": ".png",
    "contact_sheet": ".png",
    "video": ".mp4",
}
"""Fields that name a file to write, and the suffix that an existing file needs to be replaced."""
PARTS: Final = ("config.json", "metadata.json")
"""Files of checkpoints and data sets, which no report replaces."""


def check_device_and_files(config: Any) -> None:
    """Checks the device of a config and the files that its workflow will write.

    Raises:
        InvalidInputError: the device is not on this machine, or a file would replace an input, another output, or a
            file of another kind.
        SavingError: a file cannot be written.
    """
    values = dict(_fields(config))
    check_device(values.get("device", "cpu"))
    paths = {name: value for name, value in values.items() if isinstance(value, Path)}
    for path in paths.values():
        if "\0" in str(path):
            raise InvalidInputError(f"{shown(path)}: a name must not have a NUL byte")
    for name, suffix in OUTPUTS.items():
        if name not in paths:
            continue
        file, option = paths.pop(name), f"--{name.replace('_', '-')}"
        check_writable(file)
        same = [other for other, path in paths.items() if same_place(path, file)]
        if same:
            raise InvalidInputError(f"{option} and {same[0]} are the same file {shown(file)}; give two")
        if os.path.isfile(file) and (file.suffix.lower() != suffix or file.name in PARTS):
            raise InvalidInputError(
                f"{option}: {shown(file)} exists and is not a report; give a new name or one that ends in {suffix}"
            )


def _fields(config: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of the fields of a config and of the configs in it."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from _fields(value)
        else:
            yield field.name, value
