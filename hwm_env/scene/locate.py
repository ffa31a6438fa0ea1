"""Locates recorded histories: searches from cheap to thorough, and rejects unknown places."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import torch
from torch import Tensor

from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise
from hwm_env.scene.pose_candidates import coarse_search, from_clip_poses, scattered
from hwm_env.scene.scene import Scene

THOROUGH: Final = LocaliserConfig(refined=3, coarse_steps=8, fine_steps=3)
"""Settings for histories at which the default search finds no likely pose."""


def locate(
    scene: Scene, tokens_BTLHW: Tensor, actions_BTFA: Tensor, clip_poses_BT: Tensor | None = None
) -> Localisation:
    """Estimates the poses at the end of histories from their clips.

    The search begins at a read-out's estimates, if given, and ends as soon as it finds a likely pose. Otherwise, it
    tries poses around them, then paths that begin at them and stop at obstacles, where wheels may slip. At last, or
    without a read-out, it searches the whole room, which takes seconds. Histories are located one by one, so that rows
    do not depend on each other.

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
    for search in _searches(scene, tokens, actions, clip_poses):
        again = search()
        found = again if found is None or again.losses[0] < found.losses[0] else found
        bound = scene.use.unknown_above
        if bound is None or found.losses[0] <= bound:
            return found
    assert found is not None, "there is always a search"
    nowhere = torch.full_like(found.poses, torch.nan), torch.full_like(found.paths, torch.nan)
    return found._replace(poses=nowhere[0], paths=nowhere[1])


def _searches(
    scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None
) -> Iterator[Callable[[], Localisation]]:
    """Yields searches, the cheapest first."""
    run = partial(localise, scene.model, scene.odometry, tokens, actions)
    if clip_poses is not None:
        candidates = from_clip_poses(clip_poses, actions)
        yield partial(run, candidates)
        yield partial(run, scattered(candidates), THOROUGH)
        starts = from_clip_poses(clip_poses, actions, at_start=True)
        yield partial(run, scattered(starts), THOROUGH, from_starts=True)
    starts = coarse_search(scene, tokens, actions)
    yield partial(run, scattered(starts, centres=starts.shape[1]), THOROUGH, from_starts=True)
