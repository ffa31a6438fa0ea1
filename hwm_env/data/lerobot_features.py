"""The features of a LeRobot data set, and the mapping of its columns to a robot's joints."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hwm_env.data.state_tables import POSE_NAMES, StateMapping
from hwm_env.errors import DatasetError, InvalidInputError

TIME_COLUMN: Final = "timestamp"
"""Column of the seconds since the episode's first row."""
STATE: Final = "observation.state"
_OBSERVATION: Final = "observation."
_MAX_CHANNELS: Final = 4
_ENTRY: Final = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a data set: columns of its tables, and cameras."""

    path: Path
    """The file that lists them, for messages."""
    videos: tuple[str, ...]
    """Cameras whose pictures are in videos."""
    pictures: Mapping[str, Mapping[str, Any]]
    """Cameras whose pictures are in the tables, with what info.json says about them."""
    sizes: Mapping[str, int | None]
    """Entries of each column of numbers; `None` for a column of single numbers."""
    columns: Mapping[str, str]
    """Columns by the names of their entries: "observation.state.head_tilt" is "observation.state[3]"."""

    @classmethod
    def of(cls, path: Path, content: object) -> "Features":
        """Returns the features that info.json lists.

        Raises:
            DatasetError: it does not list them as objects with a type and a shape.
        """
        if not isinstance(content, dict) or not content:
            raise DatasetError(f"{path}: features must be an object with the data set's columns, got {content!r:.80}")
        videos: list[str] = []
        pictures: dict[str, Mapping[str, Any]] = {}
        sizes: dict[str, int | None] = {}
        columns: dict[str, str] = {}
        for feature, about in content.items():
            shape = about.get("shape") if isinstance(about, dict) else None
            if not isinstance(shape, list | tuple) or not isinstance(about.get("dtype"), str):
                raise DatasetError(f"{path}: feature {feature!r} must have a dtype and a shape, got {about!r:.80}")
            if about["dtype"] == "video":
                videos.append(feature)
            elif about["dtype"] == "image":
                pictures[feature] = about
            elif about["dtype"] != "string" and len(shape) <= 1:
                size = int(shape[0]) if shape and isinstance(shape[0], int) and shape[0] != 1 else None
                sizes[feature] = size
                columns |= _named_entries(feature, about.get("names"), size)
        return cls(path, tuple(videos), pictures, sizes, columns)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of all cameras."""
        return (*self.videos, *self.pictures)

    def picture_size(self, camera: str) -> tuple[int, int]:
        """Returns the height and width, in pixels, of the pictures of a camera that are in the tables.

        Raises:
            DatasetError: its shape is not that of pictures.
        """
        shape, names = self.pictures[camera]["shape"], self.pictures[camera].get("names")
        if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise DatasetError(
                f"{self.path}: shape of {camera!r} must be a height, a width and a number of channels, got "
                f"{shape!r:.80}; correct it"
            )
        if isinstance(names, list) and len(names) == 3 and "height" in names and "width" in names:
            return shape[names.index("height")], shape[names.index("width")]
        has_channels_first = shape[0] <= _MAX_CHANNELS < shape[2]
        return (shape[1], shape[2]) if has_channels_first else (shape[0], shape[1])

    def resolve(self, mapping: StateMapping) -> StateMapping:
        """Returns a mapping to columns of the tables.

        Entries may be given by name ("observation.state.head_tilt") or number ("observation.state[3]"). Observations
        whose own names are those of the robot's joints (or of the pose) are found without a mapping. Rows are timed by
        "timestamp", unless the mapping says otherwise.

        Raises:
            DatasetError: a column of the mapping does not exist.
            InvalidInputError: no column is one of the robot's joints.
        """
        joints = mapping.joints
        columns = {name: self._column(name, str(column)) for name, column in mapping.columns.items()}
        for feature in sorted(self.sizes, key=lambda feature: feature != STATE):
            if feature.startswith(_OBSERVATION):
                for name in (*joints.names, *POSE_NAMES):
                    if name not in columns and (column := self.columns.get(f"{feature}.{name}")):
                        columns[name] = column
        if not set(columns) & set(joints.names):
            raise InvalidInputError(
                f"{self.path}: none of the features is named like one of the {len(joints.names)} joints of "
                f"{joints.name}; it has {self._listed()}; name them in a mapping file"
            )
        time = TIME_COLUMN if mapping.time is None and mapping.hz is None else mapping.time
        return replace(mapping, columns=columns, time=time)

    def _column(self, name: str, column: str) -> str:
        entry = _ENTRY.fullmatch(column)
        if column in self.columns:
            return self.columns[column]
        if column in self.sizes and self.sizes[column] is None:
            return column
        if entry and int(entry[2]) < (self.sizes.get(entry[1]) or 0):
            return column
        raise DatasetError(
            f"{self.path}: the mapping takes {name} from {column!r}, which is not there; it has {self._listed()}"
        )

    def _listed(self) -> str:
        """Returns the names of the columns, for error messages."""
        named = {column: name for name, column in self.columns.items()}
        parts = []
        for feature, size in self.sizes.items():
            entries = [feature] if size is None else [f"{feature}[{place}]" for place in range(size)]
            if any(entry in named for entry in entries):
                parts += [named.get(entry, entry) for entry in entries]
            else:
                parts.append(feature if size is None else f"{entries[0]} ... {entries[-1]}" if entries else feature)
        return ", ".join(parts)


def _named_entries(feature: str, names: Any, size: int | None) -> dict[str, str]:
    """Returns the entries of a column by "feature.name", if it names each of them, and only once."""
    if isinstance(names, dict):
        parts = list(names.values())
        if parts and all(isinstance(part, int) for part in parts):
            names = sorted(names, key=names.__getitem__)
        elif all(isinstance(part, list) for part in parts):
            # By kind, such as {"motors": ["hip", "knee"]}.
            names = [name for part in parts for name in part]
    if not isinstance(names, list) or len(names) != (size or 1):
        return {}
    counts = Counter(map(str, names))
    return {
        f"{feature}.{name}": feature if size is None else f"{feature}[{place}]"
        for place, name in enumerate(map(str, names))
        if counts[name] == 1
    }
