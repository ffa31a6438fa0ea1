"""Locates recorded histories: searches from cheap to thorough, and rejects unknown places."""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise
from hwm_env.scene.pose_candidates import coarse_search, from_clip_poses
from hwm_env.scene.scene import Scene

THOROUGH: Final = LocaliserConfig(refined=3, coarse_steps=8, fine_steps=3)
"""Settings for histories at which the default search finds no likely pose."""


def locate(
    scene: Scene, tokens_BTLHW: Tensor, actions_BTFA: Tensor, clip_poses_BT: Tensor | None = None
) -> Localisation:
    """Estimates the poses at the end of histories from their clips.

    The search begins at a read-out's estimates, if given. If it finds no likely pose, or without a read-out, the whole
    room is searched, which takes seconds. Histories are located one by one, so that rows do not depend on each other.

    Args:
        scene: the scene of the room.
        tokens_BTLHW: T clips, int [B, T, 3, H, W].
        actions_BTFA: their actions, float [B, T, 17, 25].
        clip_poses_BT: a read-out's base poses at the end of each clip, float [B, T, 3].

    Returns:
        The poses at the end; poses and paths are NaN if the clips are unlikely at every pose that was tried.
    """
    found = [
        _locate_one(scene, tokens, actions, None if clip_poses_BT is None else clip_poses_BT[row : row + 1])
        for row, (tokens, actions) in enumerate(zip(tokens_BTLHW.split(1), actions_BTFA.split(1), strict=True))
    ]
    return Localisation(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _locate_one(scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None) -> Localisation:
    found: Localisation | None = None
    for candidates, config in _searches(scene, tokens, actions, clip_poses):
        again = localise(scene.model, scene.odometry, tokens, actions, candidates, config)
        found = again if found is None or again.losses[0] < found.losses[0] else found
        bound = scene.use.unknown_above
        if bound is None or found.losses[0] <= bound:
            return found
    assert found is not None, "there is always a search"
    nowhere = torch.full_like(found.poses, torch.nan), torch.full_like(found.paths, torch.nan)
    return found._replace(poses=nowhere[0], paths=nowhere[1])


def _searches(
    scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None
) -> Iterator[tuple[Tensor, LocaliserConfig]]:
    """Yields candidate poses and settings of searches, the cheapest first."""
    if clip_poses is not None:
        candidates = from_clip_poses(clip_poses, actions)
        yield candidates, LocaliserConfig()
        yield candidates, THOROUGH
    yield coarse_search(scene, tokens, actions), THOROUGH
