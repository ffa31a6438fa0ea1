"""Candidate poses for the localiser: from a read-out of each clip, or from a coarse search of the whole room."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from hwm_env.scene.localiser import score, spread_out
from hwm_env.scene.odometry import Odometry
from hwm_env.scene.pose import compose, integrate_wheels, relative, wrap_angle
from hwm_env.scene.scene import Scene
from hwm_env.types import FRAMES_PER_CLIP

SPACING_M: Final = 0.6
"""Distance between the places of a coarse search."""
HEADINGS: Final = 16
"""Number of yaws that are tried at each place."""
SCATTERED: Final = 128
"""Number of candidates that `scattered` adds."""
SCATTER_STD: Final = (0.3, 0.3, 0.15)
"""Their standard deviations: x (m), y (m) and yaw (rad)."""


def from_clip_poses(clip_poses_BT: Tensor, actions_BTFA: Tensor, *, at_start: bool = False) -> Tensor:
    """Returns candidate poses at the end of histories, or before their first frame, from one estimate for each clip.

    Args:
        clip_poses_BT: estimated poses at the last frame of each clip, float [B, T, 3].
        actions_BTFA: actions of the clips, float [B, T, 17, 25].
        at_start: whether to return poses before the first frame.

    Returns:
        float [B, T + 1, 3]: the median of the estimates, then the estimates, all carried there by the wheels.
    """
    origin = clip_poses_BT.new_zeros(len(clip_poses_BT), 3)
    path = integrate_wheels(origin, actions_BTFA.flatten(1, 2))
    at_clips = path[:, FRAMES_PER_CLIP - 1 :: FRAMES_PER_CLIP]
    carried = compose(clip_poses_BT, relative(at_clips, origin[:, None] if at_start else at_clips[:, -1:]))
    place = carried[..., :2].median(dim=1).values
    # The median of yaws is taken around their mean direction, so that it does not depend on where angles wrap.
    mean = torch.atan2(carried[..., 2].sin().sum(dim=1), carried[..., 2].cos().sum(dim=1))
    around = wrap_angle(carried[..., 2] - mean[:, None])
    middle = torch.cat([place, (mean + around.median(dim=1).values)[:, None]], dim=1)
    return torch.cat([middle[:, None], carried], dim=1)


def scattered(candidates_BN: Tensor, centres: int = 1) -> Tensor:
    """Adds candidates around the first ones, by how much a read-out errs in the worst cases.

    Args:
        candidates_BN: candidate poses, float [B, N, 3].
        centres: number of candidates around which others are added.

    Returns:
        float [B, N + SCATTERED, 3], always the same for the same candidates.
    """
    uniform = SobolEngine(3, scramble=True, seed=0).draw(SCATTERED // centres).clamp(1e-3, 1 - 1e-3)
    offsets = (torch.special.ndtri(uniform) * torch.tensor(SCATTER_STD)).to(candidates_BN.device)
    around = candidates_BN[:, :centres, None] + offsets
    return torch.cat([candidates_BN, around.flatten(1, 2)], dim=1)


@torch.no_grad()
def coarse_search(scene: Scene, tokens_BTLHW: Tensor, actions_BTFA: Tensor, count: int = 4) -> Tensor:
    """Returns the likeliest poses before the first frame, of a grid over the free floor, scored on the oldest clip.

    Args:
        scene: the scene of the room.
        tokens_BTLHW: tokens of the histories, int [B, T, 3, H, W].
        actions_BTFA: actions of the histories, float [B, T, 17, 25].
        count: number of candidates, no two of them alike.

    Returns:
        float [B, count, 3].
    """
    grid = _free_poses(scene.odometry).to(actions_BTFA.device)
    found = []
    for tokens, actions in zip(tokens_BTLHW[:, :1].split(1), actions_BTFA[:, :1].split(1), strict=True):
        losses = score(scene.model, scene.odometry, tokens, actions, grid[None], [0], from_starts=True)[0]
        found.append(spread_out(grid[losses.argsort()], count))
    return torch.stack(found)


def _free_poses(odometry: Odometry) -> Tensor:
    """Returns a grid of poses where the base can stand, float [N, 3]; of the whole room if nothing is free."""
    axes = [
        torch.linspace(low, high, max(2, round((high - low) / SPACING_M) + 1))
        for low, high in zip(odometry.config.low_m, odometry.config.high_m, strict=True)
    ]
    places = torch.cartesian_prod(*axes)
    free = odometry.free_logit(places.to(next(odometry.parameters()).device)).cpu() > 0
    places = places[free] if free.any() else places
    headings = torch.arange(HEADINGS) * (2 * math.pi / HEADINGS)
    return torch.cat([places.repeat_interleave(HEADINGS, dim=0), headings.repeat(len(places))[:, None]], dim=1)
