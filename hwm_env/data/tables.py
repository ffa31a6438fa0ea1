"""Reads tables of numbers from CSV, Parquet and NumPy files."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np

from hwm_env.data.cells import Column, column_of_array, column_of_lists, column_of_text
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.types import Float64Array

TABLE_SUFFIXES: Final = (".csv", ".parquet", ".npy")
_SEPARATORS: Final = ",;\t"
_MAX_VALUES: Final = 2**28
"""Maximum number of values in a Parquet file, since a small file can take terabytes of memory."""
_CELLS_AT_ONCE: Final = 16
_CELLS_BUFFER: Final = 2**20
"""Bytes of a Parquet file that are read at once; without a limit, a whole group of rows is kept in memory."""
_UNREADABLE: Final = (
    *(ValueError, TypeError, KeyError, OSError, EOFError, csv.Error, NotImplementedError, MemoryError, RecursionError),
    # NumPy parses its headers as Python.
    *(SyntaxError, TokenError, ArithmeticError),
)
"""Errors that the libraries raise for damaged files and other formats."""
_ELEMENT: Final = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of numbers by name; the columns of an array without names are "0", "1" and so on."""

    path: Path
    """The file, for messages; with the rows that were read, if not all."""
    num_rows: int
    columns: dict[str, Column]
    repeated: frozenset[str]
    """Names that several columns have."""

    @property
    def names(self) -> str:
        """The names of the columns, for error messages."""
        return ", ".join(
            name if column.values.ndim == 1 else f"{name}[0] ... {name}[{column.values.shape[1] - 1}]"
            for name, column in self.columns.items()
        )

    def __contains__(self, name: str) -> bool:
        element = _ELEMENT.fullmatch(name)
        return name in self.columns or (element is not None and element[1] in self.columns)

    def column(self, name: str) -> Column:
        """Returns a column, or one number of a column of lists, such as "observation.state[3]".

        Raises:
            DatasetError: there is no such column or several, it contains lists, or the lists are shorter.
        """
        element = None if name in self.columns else _ELEMENT.fullmatch(name)
        base = name if element is None else element[1]
        if base not in self.columns:
            raise DatasetError(f"{self.path}: there is no column {name!r}; its columns are {self.names}")
        if base in self.repeated:
            raise DatasetError(f"{self.path}: expected one column {base!r}, got several; rename or remove the others")
        values = self.columns[base].values
        if element is None and values.ndim == 1:
            return self.columns[base]
        place = -1 if element is None else int(element[2])
        if values.ndim == 1 or not 0 <= place < values.shape[1]:
            raise DatasetError(
                f"{self.path}: expected the name of one number, got {name!r}; its columns are {self.names}"
            )
        return Column(values[:, place], is_time=False)

    def numbers(self, name: str) -> Float64Array:
        """Returns the values of a column, float64 [rows].

        Raises:
            DatasetError: a value is not finite, or there is no such column.
        """
        values = self.column(name).values
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            raise DatasetError(
                f"{self.path}: row {broken[0]}, column {name!r} is {values[broken[0]]}, expected a finite number "
                f"({len(broken)} rows are broken); repair the file"
            )
        return values


def read_table(path: Path) -> Table:
    """Reads a table.

    Numbers, decimals and booleans become numbers; times of day, dates with times and durations become seconds since
    the first row; a column of lists has one number for each place, NaN if a list is empty. Everything else is NaN.

    Raises:
        DatasetError: the file cannot be read.
        InvalidInputError: its suffix is unknown.
        MissingExtraError: pyarrow is needed and not installed.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npy": _read_npy}
    if path.suffix.lower() not in readers:
        raise InvalidInputError(f"{path}: expected one of {', '.join(TABLE_SUFFIXES)}")
    return _table(path, readers[path.suffix.lower()])


def read_rows(path: Path, column: str, value: int) -> Table:
    """Reads the rows of a Parquet file that have a value in a column of whole numbers; see `read_table`.

    Only groups of rows that can contain the value, by the file's own statistics, are read.

    Raises:
        DatasetError: the file cannot be read, or has no such column of whole numbers.
        MissingExtraError: pyarrow is not installed.
    """
    table = _table(path, lambda path: _read_parquet(path, (column, value)))
    # Messages count the rows from the first of these.
    return replace(table, path=Path(f"{path} ({column} {value})"))


def read_cells(path: Path, name: str, column: str, value: int) -> Iterator[Any]:
    """Reads one column of the rows that `read_rows` returns, a few rows at a time.

    Args:
        path: a Parquet file.
        name: the column to read, of any type.
        column: see `read_rows`.
        value: see `read_rows`.

    Yields:
        The cells, as pyarrow's scalars.

    Raises:
        DatasetError: the file cannot be read, has no column `name` or several, or no column `column` of whole numbers.
        MissingExtraError: pyarrow is not installed.
    """
    parquet, compute = require_extra("pyarrow.parquet", "data"), require_extra("pyarrow.compute", "data")
    try:
        with parquet.ParquetFile(str(path), buffer_size=_CELLS_BUFFER, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if names.count(name) != 1:
                raise ValueError(f"expected one column {name!r}; its columns are {', '.join(names)}")
            groups = _groups_with(file, column, value)
            for batch in file.iter_batches(_CELLS_AT_ONCE, groups, [name, column]) if groups else ():
                yield from batch.filter(compute.equal(batch[column], value))[name]
    except _UNREADABLE as error:
        raise DatasetError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error


def _table(path: Path, read: Callable[[Path], list[tuple[str, Column]]]) -> Table:
    try:
        named = read(path)
    except _UNREADABLE as error:
        # Some reasons have several lines.
        raise DatasetError(f"{path} cannot be read as a table of numbers: {' '.join(str(error).split())}") from error
    columns = {name: column for name, column in named if name}
    repeated = (name for name, count in Counter(name for name, _ in named).items() if count > 1)
    return Table(path, len(named[0][1].values) if named else 0, columns, frozenset(repeated))


def _read_csv(path: Path) -> list[tuple[str, Column]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        separator = max(_SEPARATORS, key=header.count)
        file.seek(0)
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        names = [name.strip() for name in next(rows, [])]
        content = [row for row in rows if row]
    for number, row in enumerate(content):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(names)}")
    columns: Iterable[Sequence[str]] = zip(*content, strict=True) if content else [()] * len(names)
    return [(name, column_of_text(cells)) for name, cells in zip(names, columns, strict=True)]


def _read_parquet(path: Path, where: tuple[str, int] | None = None) -> list[tuple[str, Column]]:
    parquet = require_extra("pyarrow.parquet", "data")
    with parquet.ParquetFile(str(path)) as file:
        groups = range(file.num_row_groups) if where is None else _groups_with(file, *where)
        values = sum(file.metadata.row_group(group).num_rows for group in groups) * file.metadata.num_columns
        if values > _MAX_VALUES:
            raise ValueError(f"expected at most {_MAX_VALUES} values, got {values}; split it")
        # Pictures and other structures are not read, since they only cost memory.
        is_readable = {field.name: _is_readable(field.type) for field in file.schema_arrow}
        table = file.read_row_groups(list(groups), columns=[name for name, can in is_readable.items() if can])
    if where is not None:
        compute = require_extra("pyarrow.compute", "data")
        table = table.filter(compute.equal(table[where[0]], where[1]))
    nothing = Column(np.full(table.num_rows, np.nan), is_time=False)
    named = [(name, _arrow_column(column)) for name, column in zip(table.column_names, table.columns, strict=True)]
    return named + [(name, nothing) for name, can in is_readable.items() if not can]


def _groups_with(file: Any, column: str, value: int) -> list[int]:
    """Returns the row groups of a Parquet file in which a column of whole numbers may have a value."""
    types = require_extra("pyarrow.types", "data")
    names = file.schema_arrow.names
    if names.count(column) != 1 or not types.is_integer(file.schema_arrow.field(column).type):
        raise ValueError(f"expected a column {column!r} of whole numbers; its columns are {', '.join(names)}")
    place = next(index for index in range(file.metadata.num_columns) if file.schema.column(index).path == column)
    of_groups = [file.metadata.row_group(group).column(place).statistics for group in range(file.num_row_groups)]
    return [
        group
        for group, known in enumerate(of_groups)
        if known is None or not known.has_min_max or known.min <= value <= known.max
    ]


def _is_readable(kind: Any) -> bool:
    types = require_extra("pyarrow.types", "data")
    if types.is_dictionary(kind) or _is_list(kind):
        return _is_readable(kind.value_type) and not _is_list(kind.value_type)
    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _is_list(kind: Any) -> bool:
    types = require_extra("pyarrow.types", "data")
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _arrow_column(column: Any) -> Column:
    arrow, types = require_extra("pyarrow", "data"), require_extra("pyarrow.types", "data")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if _is_list(kind):
        return column_of_lists(column.to_pylist())
    if types.is_string(kind) or types.is_large_string(kind):
        return column_of_text([cell or "" for cell in column.to_pylist()])
    if types.is_time(kind):
        column = column.cast(arrow.int32() if kind.bit_width == 32 else arrow.int64()).cast(arrow.int64())
        column = column.cast(arrow.duration(kind.unit))
    return column_of_array(column.to_numpy())


def _read_npy(path: Path) -> list[tuple[str, Column]]:
    # Mapped, so that nothing is allocated for a header that declares more than the file contains.
    with np.errstate(over="raise"):
        array = np.lib.format.open_memmap(path, mode="r")
    if array.dtype.names:
        return [(name, column_of_array(array[name])) for name in array.dtype.names]
    if array.ndim != 2:
        raise ValueError(f"expected an array [rows, columns], got shape {list(array.shape)}")
    return [(str(index), column_of_array(column)) for index, column in enumerate(array.T)]
