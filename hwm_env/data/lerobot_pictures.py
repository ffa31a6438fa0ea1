"""Reads the pictures in the tables of LeRobot data sets: PNG or JPEG files in a column."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from hwm_env.data.files import read_bytes
from hwm_env.data.pictures import decoded, middle_square
from hwm_env.data.tables import read_cells
from hwm_env.errors import DatasetError
from hwm_env.types import Int64Array, UInt8Array

_REMEDY: Final = "copy the data set again, or choose other episodes"


@dataclass(frozen=True, slots=True)
class TablePictures:
    """The pictures of one camera in one episode, a picture a row."""

    directory: Path
    """The data set, in which pictures that are not in the table are found by their path."""
    table: Path
    """Parquet file, possibly with further episodes."""
    episode: int
    """Index of the episode."""
    camera: str
    """The column."""
    size: tuple[int, int]
    """Height and width of each picture in pixels, by the metadata."""

    def read(self, chosen: Int64Array, image_size: int | None) -> Iterator[UInt8Array]:
        """Decodes some of the pictures, one at a time.

        Args:
            chosen: int64 [N], rows of the episode, ascending; they may repeat.
            image_size: side in pixels to which the largest square in the middle of each picture is scaled by area;
                `None` leaves the pictures unchanged.

        Yields:
            uint8 [H, W, 3] for each of `chosen`.

        Raises:
            DatasetError: the table cannot be read, has no such column, or fewer rows than `chosen` needs; or a picture
                is missing, damaged, or of another size than `size`.
            MissingExtraError: pyarrow or Pillow is not installed.
        """
        repeats = np.bincount(chosen).tolist()
        row = -1
        for row, cell in enumerate(islice(self._cells(), len(repeats))):
            if repeats[row]:
                picture = self._picture(row, cell.as_py())
                yield from repeat(picture if image_size is None else middle_square(picture, image_size), repeats[row])
        if row + 1 < len(repeats):
            raise DatasetError(
                f"{self.table}: expected at least {len(repeats)} rows whose 'episode_index' is {self.episode}, found "
                f"{row + 1}; {_REMEDY}"
            )

    def _cells(self) -> Iterator[Any]:
        return read_cells(self.table, self.camera, "episode_index", self.episode)

    def _picture(self, row: int, cell: Any) -> UInt8Array:
        place = f"{self.table} (episode_index {self.episode}): row {row}, column {self.camera!r}"
        content, name = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
        if content is None and isinstance(name, str):
            path = PurePosixPath(name)
            # A data set from elsewhere must not lead out of its directory.
            if path.is_absolute() or ".." in path.parts:
                raise DatasetError(
                    f"{place}: expected a picture, or the path of one in the data set, got the path {name!r}; write "
                    "the data set again with its pictures in the tables"
                )
            content = read_bytes(self.directory / path, DatasetError, f"{place} refers to it: {_REMEDY}")
        if not isinstance(content, bytes):
            raise DatasetError(
                f"{place}: expected a picture as an object with bytes or a path, got {cell!r:.80}; {_REMEDY}"
            )
        try:
            picture = decoded(content)
        except DatasetError as error:
            raise DatasetError(f"{place}: {error}; {_REMEDY}") from error
        if picture.shape[:2] != self.size:
            expected, got = (f"{height} x {width}" for height, width in (self.size, picture.shape[:2]))
            raise DatasetError(
                f"{place}: expected a picture of {expected} pixels, as its shape in meta/info.json says, got {got}; "
                "correct the shape, or choose other episodes"
            )
        return picture
