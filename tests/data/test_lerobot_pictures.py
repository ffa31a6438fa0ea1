"""Pictures in the tables of LeRobot data sets: what is read to the bit, and what is refused with file and row."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.data import lerobot_pictures
from hwm_env.data.lerobot_pictures import TablePictures
from hwm_env.data.pictures import MAX_PIXELS, decoded, middle_square
from hwm_env.errors import DatasetError
from tests.data.lerobot_files import HEAD, counting, encoded, table_picture, write_lerobot

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")

SIZE = (16, 24)
LENGTHS = (20, 17, 25)
CELL = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
PICTURE = table_picture(7, SIZE)


def write(directory: Path, kind: str = "PNG", version: str = "v3.0") -> list[TablePictures]:
    """Writes a data set whose only camera is in its tables; v3.0 with all episodes in a file."""
    episodes = counting(LENGTHS)
    write_lerobot(directory, version, episodes, cameras=(), pictures={HEAD: kind}, per_file=3, size=SIZE)
    name = "episode_{:06d}" if version == "v2.1" else "file-000"
    tables = [directory / f"data/chunk-000/{name.format(index)}.parquet" for index in range(len(LENGTHS))]
    return [TablePictures(directory, table, index, HEAD, SIZE) for index, table in enumerate(tables)]


def sources(index: int) -> np.ndarray:
    return np.stack([table_picture(int(grey), SIZE) for grey in counting(LENGTHS)[index].greys])


def read(pictures: TablePictures, count: int, image_size: int | None = None) -> np.ndarray:
    return np.stack(list(pictures.read(np.arange(count), image_size)))


def replace_cells(table: Path, cells: dict[int, Any]) -> None:
    """Replaces pictures by the row of the file."""
    content = parquet.read_table(table)
    column = content[HEAD].to_pylist()
    for row, cell in cells.items():
        column[row] = cell
    place = content.column_names.index(HEAD)
    parquet.write_table(content.set_column(place, HEAD, arrow.array(column, CELL)), table)


@pytest.mark.parametrize("kind", ["PNG", "path"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_pictures_are_read_to_the_bit(version: str, kind: str, tmp_path: Path) -> None:
    for index, pictures in enumerate(write(tmp_path / "data", kind, version)):
        expected = sources(index)
        np.testing.assert_array_equal(read(pictures, LENGTHS[index]), expected)
        scaled = read(pictures, LENGTHS[index], 8)
        np.testing.assert_array_equal(scaled, [middle_square(picture, 8) for picture in expected])
        # By area: means of 2 x 2 pixels, rounded in both directions.
        square = expected[:, :, 4:20].astype(float).reshape(-1, 8, 2, 8, 2, 3).mean((2, 4))
        assert np.abs(scaled - square).max() <= 1


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_groups_of_rows_need_not_be_episodes(group: int, tmp_path: Path) -> None:
    episodes = write(tmp_path / "data")
    table = episodes[0].table
    parquet.write_table(parquet.read_table(table), table, row_group_size=group)
    for index, pictures in enumerate(episodes):
        np.testing.assert_array_equal(read(pictures, LENGTHS[index]), sources(index))


def test_only_what_is_chosen_is_decoded_and_only_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write(tmp_path / "data")[1]
    replace_cells(pictures.table, {LENGTHS[0] + 2: {"bytes": b"nothing"}})
    counted = []

    def counting_decoded(content: bytes) -> np.ndarray:
        counted.append(content)
        return decoded(content)

    monkeypatch.setattr(lerobot_pictures, "decoded", counting_decoded)
    chosen = np.array([1, 1, 3, 6, 6, 6, 16])
    for number, (row, picture) in enumerate(zip(chosen, pictures.read(chosen, None), strict=True)):
        np.testing.assert_array_equal(picture, sources(1)[row])
        assert len(counted) == len(set(chosen[: number + 1]))


def turned() -> bytes:
    """A JPEG file that viewers turn by 90 degrees to the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PICTURE, "JPEG", exif=exif, quality=95)


def with_mode(mode: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(content, "PNG")
    return content.getvalue()


def test_other_files_are_decoded_as_viewers_show_them() -> None:
    jpeg = encoded(PICTURE, "JPEG", quality=95)
    np.testing.assert_array_equal(decoded(jpeg), np.asarray(Image.open(io.BytesIO(jpeg))))
    np.testing.assert_array_equal(decoded(turned()), np.rot90(decoded(jpeg), -1))
    np.testing.assert_array_equal(decoded(with_mode("RGBA")), PICTURE)
    grey = np.asarray(Image.fromarray(PICTURE).convert("L"))
    np.testing.assert_array_equal(decoded(with_mode("L")), np.repeat(grey[..., None], 3, axis=2))
    assert decoded(with_mode("P")).shape == (*SIZE, 3)
    assert decoded(with_mode("1")).shape == (*SIZE, 3)


def large_png(width: int, height: int) -> bytes:
    """A small PNG file that says it has this size."""
    content = bytearray(encoded(PICTURE))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def depths() -> bytes:
    return encoded(np.arange(384, dtype=np.uint16).reshape(SIZE))


PNG = encoded(PICTURE)
DAMAGED = bytearray(PNG)
DAMAGED[len(PNG) // 2] ^= 255
BAD_CELLS: dict[str, tuple[Any, str]] = {
    "truncated": ({"bytes": PNG[:-40]}, r"the picture cannot be decoded \(.*; copy the data set again"),
    "damaged": ({"bytes": bytes(DAMAGED)}, r"the picture cannot be decoded \("),
    "of another format": ({"bytes": encoded(PICTURE, "BMP")}, "expected a PNG or JPEG file, got 1206 bytes that are"),
    "empty": ({"bytes": b""}, "expected a PNG or JPEG file, got 0 bytes"),
    "of another size": (
        {"bytes": encoded(PICTURE[:8])},
        r"expected a picture of 16 x 24 pixels, as its shape in meta/info\.json says, got 8 x 24; correct the shape",
    ),
    "too large": (
        {"bytes": large_png(8192, 4097)},
        f"expected a picture of at most {MAX_PIXELS} pixels, got one of 8192 x 4097",
    ),
    "absurd": ({"bytes": large_png(30_000, 30_000)}, f"expected a picture of at most {MAX_PIXELS} pixels: "),
    "with depths": ({"bytes": depths()}, "expected 8 bits a channel, got more"),
    "missing": (None, "expected a picture as an object with bytes or a path, got None; copy"),
    "nowhere": ({"bytes": None, "path": None}, "expected a picture as an object with bytes or a path, got {'bytes'"),
    "outside": (
        {"path": "../data.png"},
        r"expected a picture, or the path of one in the data set, got the path '\.\./data\.png'; write",
    ),
    "absolute": (
        {"path": "/home/data.png"},
        "expected a picture, .* got the path '/home/data.png'; write the data set again",
    ),
}


@pytest.mark.parametrize("case", BAD_CELLS)
def test_bad_pictures_are_refused_by_file_and_row(case: str, tmp_path: Path) -> None:
    pictures = write(tmp_path / "data")[1]
    cell, message = BAD_CELLS[case]
    replace_cells(pictures.table, {LENGTHS[0] + 5: cell})
    place = r"file-000\.parquet \(episode_index 1\): row 5, column 'observation\.images\.head'"
    with pytest.raises(DatasetError, match=f"{place}: {message}"):
        read(pictures, LENGTHS[1])
    assert len(read(pictures, 5)) == 5


def test_missing_files_beside_the_tables_are_refused_by_file_and_row(tmp_path: Path) -> None:
    pictures = write(tmp_path / "data", "path")[1]
    name = f"images/{HEAD}/episode_000001/frame_000005.png"
    (tmp_path / "data" / name).unlink()
    message = rf"expected a file .*{name}, found nothing; .*file-000\.parquet \(episode_index 1\): row 5, column"
    with pytest.raises(DatasetError, match=message):
        read(pictures, LENGTHS[1])


def without_column(table: Path) -> None:
    parquet.write_table(parquet.read_table(table).drop_columns([HEAD]), table)


def with_numbers(table: Path) -> None:
    content = parquet.read_table(table).drop_columns([HEAD])
    parquet.write_table(content.append_column(HEAD, content["index"]), table)


def with_the_column_twice(table: Path) -> None:
    content = parquet.read_table(table)
    parquet.write_table(content.append_column(HEAD, content[HEAD]), table)


def cut(table: Path) -> None:
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])


BAD_TABLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "without the column": (without_column, r"expected one column 'observation.images.head'; its columns are .*, index"),
    "with the column twice": (with_the_column_twice, r"expected one column 'observation.images.head'"),
    "with numbers": (with_numbers, r"row 0, .*expected a picture as an object with bytes or a path, got 20"),
    "cut": (cut, "cannot be read as a table: "),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused_by_file(case: str, tmp_path: Path) -> None:
    pictures = write(tmp_path / "data")[1]
    damage, message = BAD_TABLES[case]
    damage(pictures.table)
    with pytest.raises(DatasetError, match=rf"file-000\.parquet.*{message}"):
        read(pictures, LENGTHS[1])


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"parquet: expected at least 18 rows whose 'episode_index' is 1, found 17"):
        read(write(tmp_path / "data")[1], 18)
