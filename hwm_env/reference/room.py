"""Facts of the room in metres: the only source for rendering, collisions and tasks.

The room is a square around the origin; x points east, y north. Yaw 0 looks east and grows to the left.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.reference.robot import BASE_RADIUS_M
from hwm_env.types import BoolArray, Float64Array

HALF_SIZE_M: Final = 4.0
"""Half the side of the square floor."""
HEIGHT_M: Final = 2.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A piece of furniture with an axis-aligned rectangular footprint."""

    x: float
    """Centre, m."""
    y: float
    """Centre, m."""
    half_x: float
    """Half the extent along x, m."""
    half_y: float
    """Half the extent along y, m."""
    height: float
    """Top above the floor, m."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pillar:
    """A round column from floor to ceiling."""

    x: float
    """Centre, m."""
    y: float
    """Centre, m."""
    radius: float
    """Radius, m."""


TABLE: Final = Box(x=1.9, y=1.3, half_x=0.45, half_y=0.85, height=0.74)
SOFA: Final = Box(x=-1.7, y=-3.45, half_x=1.1, half_y=0.45, height=0.45)
SHELF: Final = Box(x=-3.75, y=2.4, half_x=0.25, half_y=0.8, height=1.7)
RED_PILLAR: Final = Pillar(x=-1.5, y=1.4, radius=0.25)
PURPLE_PILLAR: Final = Pillar(x=1.5, y=-1.9, radius=0.25)

RUG_CENTRE: Final = (-0.3, -0.4)
"""Centre of the rug, (x, y) in metres: the landmark of a lowered head."""
RUG_HALF_SIZE: Final = (1.1, 1.6)
"""Half the extents of the rug along x and y, in metres."""

BOXES: Final = (TABLE, SOFA, SHELF)
PILLARS: Final = (RED_PILLAR, PURPLE_PILLAR)
_BOX_CENTRES: Final = np.array([(box.x, box.y) for box in BOXES])
_BOX_HALVES: Final = np.array([(box.half_x, box.half_y) for box in BOXES])
_PILLAR_CENTRES: Final = np.array([(pillar.x, pillar.y) for pillar in PILLARS])
_PILLAR_RADII: Final = np.array([pillar.radius for pillar in PILLARS])

CUBE_HALF_SIZE_M: Final = 0.11
"""Half the side of the cubes on the table."""
_CUBE_Z: Final = TABLE.height + CUBE_HALF_SIZE_M

CUBES: Final[dict[str, tuple[float, float, float]]] = {
    "red": (TABLE.x - 0.12, TABLE.y - 0.52, _CUBE_Z),
    "green": (TABLE.x + 0.12, TABLE.y, _CUBE_Z),
    "blue": (TABLE.x - 0.12, TABLE.y + 0.52, _CUBE_Z),
}
"""Centres of the cubes on the table by colour, (x, y, z)."""

LANDMARK_CENTRES: Final[dict[str, tuple[float, float, float]]] = {
    "table": (TABLE.x, TABLE.y, TABLE.height),
    "sofa": (SOFA.x, SOFA.y, SOFA.height),
    "shelf": (SHELF.x, SHELF.y, SHELF.height / 2),
    "red_pillar": (RED_PILLAR.x, RED_PILLAR.y, HEIGHT_M / 2),
    "purple_pillar": (PURPLE_PILLAR.x, PURPLE_PILLAR.y, HEIGHT_M / 2),
    "door": (HALF_SIZE_M, -1.6, 1.1),
    "window": (0.3, HALF_SIZE_M, 1.55),
    "picture": (-HALF_SIZE_M, -1.0, 1.5),
    "screen": (1.6, -HALF_SIZE_M, 1.5),
    "board": (HALF_SIZE_M, 1.3, 1.55),
    "curtain": (-2.4, HALF_SIZE_M, HEIGHT_M / 2),
    "banner": (-1.7, -HALF_SIZE_M, 1.65),
    "panel": (-HALF_SIZE_M, -3.2, HEIGHT_M / 2),
}
"""Centres of the landmarks that a task can name, (x, y, z); of the table its top, of the sofa its seat."""

LANDMARKS: Final[dict[str, tuple[float, float]]] = {name: (x, y) for name, (x, y, _) in LANDMARK_CENTRES.items()}
"""The same places on the floor, (x, y)."""


def obstacle_distance(xy: Float64Array) -> Float64Array:
    """Returns the distances of points from the nearest wall or piece of furniture.

    Args:
        xy: points in metres, [..., 2].

    Returns:
        Distances in metres, [...]; zero or less on and inside obstacles.
    """
    outside = np.maximum(np.abs(xy[..., None, :] - _BOX_CENTRES) - _BOX_HALVES, 0.0)
    from_pillars = xy[..., None, :] - _PILLAR_CENTRES
    of_boxes = np.hypot(outside[..., 0], outside[..., 1]).min(axis=-1)
    of_pillars = (np.hypot(from_pillars[..., 0], from_pillars[..., 1]) - _PILLAR_RADII).min(axis=-1)
    of_walls = HALF_SIZE_M - np.abs(xy).max(axis=-1)
    return np.asarray(np.minimum(of_walls, np.minimum(of_boxes, of_pillars)), np.float64)


def is_free(xy: Float64Array, margin_m: float = 0.0) -> BoolArray:
    """Returns whether the robot's base can stand at points.

    Args:
        xy: points in metres, [..., 2].
        margin_m: required free space around the base.

    Returns:
        bool [...]: `True` where the base touches nothing.
    """
    return np.asarray(obstacle_distance(xy) >= BASE_RADIUS_M + margin_m)


def free_path_m(xy: Float64Array, heading_rad: float, limit_m: float = 3.0) -> float:
    """Returns the distance that the base can go straight before it touches something.

    Args:
        xy: start in metres, [2].
        heading_rad: direction of travel.
        limit_m: largest distance to check.

    Returns:
        The distance in metres, to 5 cm; `limit_m` if nothing is in the way.
    """
    distances = np.arange(1, round(limit_m / 0.05) + 1) * 0.05
    direction = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    blocked = ~is_free(xy + distances[:, None] * direction)
    return float(distances[np.argmax(blocked)] - 0.05) if blocked.any() else limit_m
