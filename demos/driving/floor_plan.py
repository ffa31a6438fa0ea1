"""A plan of the room: what the world has learned of its floor, and where it believes to be."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw

from demos.driving.session import WorldName
from demos.driving.track import Track
from hwm_env.scene.odometry import Odometry
from hwm_env.types import Float32Array, Float64Array, UInt8Array

FREE: Final = (205, 209, 214)
"""Where the base can stand."""
BLOCKED: Final = (58, 62, 70)
COLOURS: Final[Mapping[WorldName, tuple[int, int, int]]] = MappingProxyType(
    {"reference": (0, 114, 178), "learned": (213, 94, 0)}
)
"""Of each world's robot, in the order in which they are drawn; of those that Okabe and Ito chose for all eyes."""
MARGIN: Final = 0.06
"""Of the picture's side: around the bounds of what was learned, so that no mark is cut off."""
FINE: Final = 3
"""Marks are drawn so many times larger, and reduced, so that their edges are smooth."""
_FAINT, _PALE, _FULL = 70, 150, 255
_WEDGE: Final = np.array([[1.0, 0.0], [-0.8, 0.7], [-0.45, 0.0], [-0.8, -0.7]])
"""Its corners, ahead and to the left, the first one the tip."""
_WEDGE_SHARES: Final[Mapping[WorldName, float]] = MappingProxyType({"reference": 0.06, "learned": 0.045})
"""Of the picture's side: from the pose to the tip. What is drawn first is larger, or it would be hidden at times."""
_TRAIL_SHARE: Final = 0.011
"""Of the picture's side: the width of the trail."""


class FloorPlan:
    """Draws the room from above: x to the right, y up.

    Args:
        odometry: knows where the base can stand.
        pixels: side of the square picture.
    """

    def __init__(self, odometry: Odometry, pixels: int) -> None:
        low_m, high_m = np.array(odometry.config.low_m), np.array(odometry.config.high_m)
        side_m = (high_m - low_m).max() / (1 - 2 * MARGIN)
        self._pixels = pixels
        self._pixels_per_m = pixels / side_m
        self._top_left_m = (low_m + high_m + (-side_m, side_m)) / 2
        self._room = Image.fromarray(self._drawn_room(odometry))

    def draw(self, tracks: Mapping[WorldName, Track]) -> UInt8Array:
        """Draws robots and their trails; a robot that does not know where it is has none.

        Args:
            tracks: of the worlds that are shown.

        Returns:
            uint8 [S, S, 3].
        """
        picture = self._room.copy()
        for name, colour in COLOURS.items():
            if name in tracks:
                picture.paste(colour, mask=self._drawn(tracks[name], _WEDGE_SHARES[name]))
        return np.array(picture)

    def _drawn_room(self, odometry: Odometry) -> UInt8Array:
        middles = np.arange(self._pixels) + 0.5
        left_m, top_m = self._top_left_m
        axes_m = left_m + middles / self._pixels_per_m, top_m - middles / self._pixels_per_m
        places_m = torch.from_numpy(np.stack(np.meshgrid(*axes_m), axis=-1)).float().to(odometry.low.device)
        with torch.no_grad():
            # Row by row, which keeps the memory small.
            clearance_m = torch.stack([odometry.clearance_m(row_m) for row_m in places_m]).cpu().numpy()
        # A pixel that the border runs through is a mixture.
        share = np.clip(0.5 + clearance_m * self._pixels_per_m, 0, 1)[..., None]
        mixed: UInt8Array = np.round(share * FREE + (1 - share) * BLOCKED).astype(np.uint8)
        return mixed

    def _drawn(self, track: Track, wedge_share: float) -> Image.Image:
        """How opaque a world's colour is in each pixel."""
        side = FINE * self._pixels
        mask = Image.new("L", (side, side))
        pen = ImageDraw.Draw(mask)
        places = FINE * self._places(track.poses)
        if track.is_known:
            # Two standard deviations; no more than fills the picture, whose size a pen can draw.
            reach = np.minimum(2 * FINE * self._pixels_per_m * np.nan_to_num(track.std[:2]), 2 * side)
            pen.ellipse([*(places[-1] - reach), *(places[-1] + reach)], fill=_FAINT)
        for start, end in pairwise(places):
            if np.isfinite([start, end]).all():
                pen.line([*start, *end], fill=_PALE, width=round(side * _TRAIL_SHARE))
        if track.is_known:
            cos, sin = np.cos(track.poses[-1, 2]), np.sin(track.poses[-1, 2])
            # Turned by the yaw, with rows that grow downwards.
            corners = places[-1] + side * wedge_share * _WEDGE @ np.array([[cos, -sin], [-sin, -cos]])
            pen.polygon([tuple(corner) for corner in corners], fill=_FULL)
        return mask.reduce(FINE)

    def _places(self, poses: Float32Array) -> Float64Array:
        """Column and row of poses [N, 3] in the picture, [N, 2]."""
        places: Float64Array = (poses[:, :2] - self._top_left_m) * (1, -1) * self._pixels_per_m
        return places


def captions(tracks: Mapping[WorldName, Track]) -> dict[WorldName, str]:
    """What the mark of each world tells."""
    said: Mapping[WorldName, str] = {
        "learned": "where the world believes to be",
        "reference": "where the robot really is",
    }
    return {name: said[name] if track.is_known else "the world does not know where" for name, track in tracks.items()}
