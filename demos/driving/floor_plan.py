"""Draws a floor plan of the room as the scene has learned it, with the pose of each world's robot."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
import torch

from demos.driving.session import WorldName
from demos.driving.track import Track
from hwm_env.errors import require_extra
from hwm_env.scene.odometry import Odometry
from hwm_env.types import Float32Array, Float64Array, UInt8Array

require_extra("PIL.Image", "demo")

from PIL import Image, ImageDraw  # noqa: E402

FREE: Final = (205, 209, 214)
"""Colour of places where the base can stand."""
BLOCKED: Final = (58, 62, 70)
COLOURS: Final[Mapping[WorldName, tuple[int, int, int]]] = MappingProxyType(
    {"reference": (0, 114, 178), "learned": (213, 94, 0)}
)
"""Colours of the worlds in drawing order, from the colour-blind-safe palette of Okabe and Ito."""
MARGIN: Final = 0.06
"""Margin around the learned area, as a share of the picture's side, so that no mark is cut off."""
FINE: Final = 3
"""Factor by which marks are drawn larger and then reduced, for smooth edges."""
_FAINT, _PALE, _FULL = 70, 150, 255
_WEDGE: Final = np.array([[1.0, 0.0], [-0.8, 0.7], [-0.45, 0.0], [-0.8, -0.7]])
"""Corners of a robot's mark, ahead and to the left, beginning with the tip."""
_WEDGE_SHARES: Final[Mapping[WorldName, float]] = MappingProxyType({"reference": 0.06, "learned": 0.045})
"""Distance from the pose to the tip, as a share of the picture's side; larger for the world that is drawn first, so
that it stays visible."""
_TRAIL_SHARE: Final = 0.011
"""Width of the trail, as a share of the picture's side."""


class FloorPlan:
    """A picture of the room from above, with x to the right and y up.

    Args:
        odometry: odometry of the scene, which has learned where the base can stand.
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
        """Draws the robots and their trails; a robot whose pose is unknown has no mark.

        Args:
            tracks: tracks of the shown worlds.

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
            # Line by line, to bound the memory.
            clearance_m = torch.stack([odometry.clearance_m(line_m) for line_m in places_m]).cpu().numpy()
        # Pixels on the border are mixtures of both colours.
        share = np.clip(0.5 + clearance_m * self._pixels_per_m, 0, 1)[..., None]
        mixed: UInt8Array = np.round(share * FREE + (1 - share) * BLOCKED).astype(np.uint8)
        return mixed

    def _drawn(self, track: Track, wedge_share: float) -> Image.Image:
        """Draws the opacity of a world's colour in each pixel."""
        side = FINE * self._pixels
        mask = Image.new("L", (side, side))
        pen = ImageDraw.Draw(mask)
        places = FINE * self._places(track.poses)
        if track.is_known:
            # Two standard deviations, bounded because Pillow cannot draw arbitrarily large ellipses.
            reach = np.minimum(2 * FINE * self._pixels_per_m * np.nan_to_num(track.std[:2]), 2 * side)
            pen.ellipse([*(places[-1] - reach), *(places[-1] + reach)], fill=_FAINT)
        for start, end in pairwise(places):
            if np.isfinite([start, end]).all():
                pen.line([*start, *end], fill=_PALE, width=round(side * _TRAIL_SHARE))
        if track.is_known:
            cos, sin = np.cos(track.poses[-1, 2]), np.sin(track.poses[-1, 2])
            # Rotation by the yaw, with the vertical axis of pictures, which points down.
            corners = places[-1] + side * wedge_share * _WEDGE @ np.array([[cos, -sin], [-sin, -cos]])
            pen.polygon([tuple(corner) for corner in corners], fill=_FULL)
        return mask.reduce(FINE)

    def _places(self, poses: Float32Array) -> Float64Array:
        """Returns the horizontal and vertical pixel of poses [N, 3], [N, 2]."""
        places: Float64Array = (poses[:, :2] - self._top_left_m) * (1, -1) * self._pixels_per_m
        return places


def captions(tracks: Mapping[WorldName, Track]) -> dict[WorldName, str]:
    """Returns a caption for the mark of each world."""
    texts: Mapping[WorldName, str] = {"learned": "pose in the learned world", "reference": "true pose"}
    return {name: texts[name] if track.is_known else "pose unknown" for name, track in tracks.items()}
