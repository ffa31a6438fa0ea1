"""Where recorded histories end: candidates, the localiser, and "I do not know this place"."""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from hwm_env.scene.beginnings import coarse_search, from_clip_poses
from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise
from hwm_env.scene.scene import Scene

THOROUGH: Final = LocaliserConfig(refined=3, coarse_steps=8, fine_steps=3)


def locate(
    scene: Scene, tokens_BTLHW: Tensor, actions_BTFA: Tensor, clip_poses_BT: Tensor | None = None
) -> Localisation:
    """Finds out where histories end from what they show.

    The search begins at what a read-out says, if there is one. Where that leads to no likely pose, or there is none,
    the whole room is searched, which takes seconds. Histories are located one by one, so that none depends on others.

    Args:
        scene: the room.
        tokens_BTLHW: T clips, int [B, T, 3, H, W].
        actions_BTFA: their actions, float [B, T, 17, 25].
        clip_poses_BT: where a read-out sees the base at the end of each clip, float [B, T, 3].

    Returns:
        Where they end; poses and paths are NaN where the clips are unlikely at every pose that was tried.
    """
    found = [
        _locate_one(scene, tokens, actions, None if clip_poses_BT is None else clip_poses_BT[row : row + 1])
        for row, (tokens, actions) in enumerate(zip(tokens_BTLHW.split(1), actions_BTFA.split(1), strict=True))
    ]
    return Localisation(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _locate_one(scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None) -> Localisation:
    found: Localisation | None = None
    for beginnings, config in _searches(scene, tokens, actions, clip_poses):
        again = localise(scene.model, scene.odometry, tokens, actions, beginnings, config)
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
    """Yields where to begin and how to search, the cheapest first."""
    if clip_poses is not None:
        beginnings = from_clip_poses(clip_poses, actions)
        yield beginnings, LocaliserConfig()
        yield beginnings, THOROUGH
    yield coarse_search(scene, tokens, actions), THOROUGH
