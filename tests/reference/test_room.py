import numpy as np
import pytest

from hwm_env.reference import room


def test_landmarks_are_in_the_room_and_apart() -> None:
    places = np.array(list(room.LANDMARKS.values()))
    assert (np.abs(places) <= room.HALF_SIZE_M).all()
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 10 * np.eye(len(places))
    assert gaps.min() > 0.5


def test_most_of_the_floor_is_free_and_connected() -> None:
    cells = 80
    ticks = (np.arange(cells) + 0.5) * (2 * room.HALF_SIZE_M / cells) - room.HALF_SIZE_M
    free = room.is_free(np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1))
    assert 0.5 < free.mean() < 0.9
    reached = np.zeros_like(free)
    reached[np.unravel_index(np.argmax(free), free.shape)] = True
    for _ in range(4 * cells):
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        reached = grown & free
    np.testing.assert_array_equal(reached, free)


def test_free_path_ends_at_the_wall_the_table_or_the_limit() -> None:
    assert room.free_path_m(np.array([2.9, -1.0]), 0.0) == pytest.approx(0.75, abs=0.051)
    in_front_of_table = np.array([0.5, room.TABLE.y])
    expected = room.TABLE.x - room.TABLE.half_x - 0.35 - 0.5
    assert room.free_path_m(in_front_of_table, 0.0) == pytest.approx(expected, abs=0.051)
    assert room.free_path_m(np.array([0.0, 0.0]), -np.pi / 2, limit_m=1.0) == 1.0


def test_cubes_stand_apart_on_the_table() -> None:
    centres, half = np.array(list(room.CUBES.values())), room.CUBE_HALF_SIZE_M
    np.testing.assert_allclose(centres[:, 2] - half, room.TABLE.height)
    assert (np.abs(centres[:, 0] - room.TABLE.x) + half <= room.TABLE.half_x).all()
    assert (np.abs(centres[:, 1] - room.TABLE.y) + half <= room.TABLE.half_y).all()
    gaps = np.abs(centres[:, None] - centres[None]).max(-1) + 10 * np.eye(len(centres))
    assert gaps.min() > 2 * half


def test_centres_of_landmarks_are_in_the_room() -> None:
    heights = np.array([z for _, _, z in room.LANDMARK_CENTRES.values()])
    assert ((heights > 0) & (heights < room.HEIGHT_M)).all()
