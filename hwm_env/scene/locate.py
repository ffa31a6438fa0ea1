"""Locates recorded histories: searches from cheap to thorough, and rejects unknown places."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import torch
from torch import Tensor

from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise
from hwm_env.scene.paths import paths_ending_at
from hwm_env.scene.pose_candidates import coarse_search, from_clip_poses, scattered
from hwm_env.scene.scene import Scene

THOROUGH: Final = LocaliserConfig(refined=3, coarse_steps=8, fine_steps=3)
"""Settings for histories at which the default search finds no likely pose."""
NEARBY: Final = LocaliserConfig(coarse_clips=1)
"""Settings for a single clip whose pose is expected nearby."""


def locate(
    scene: Scene,
    tokens_BTLHW: Tensor,
    actions_BTFA: Tensor,
    clip_poses_BT: Tensor | None = None,
    expected_B: Tensor | None = None,
) -> Localisation:
    """Estimates the poses at the end of histories from their clips.

    The search ends as soon as it finds a likely pose. It begins at the expected pose, if given, with the newest clip
    alone, then at a read-out's estimates, if given. Then it tries paths that begin at these and stop at obstacles,
    where wheels may slip, then more of them around. At last, or without estimates, it searches the whole room, which
    takes seconds. Histories are located one by one, so that rows do not depend on each other.

    Args:
        scene: the scene of the room.
        tokens_BTLHW: T clips, int [B, T, 3, H, W].
        actions_BTFA: their actions, float [B, T, 17, 25].
        clip_poses_BT: a read-out's base poses at the end of each clip, float [B, T, 3].
        expected_B: about where the histories end, such as where the wheels lead from a pose that was known, float
            [B, 3]; NaN if there is no such pose.

    Returns:
        The poses at the end; poses and paths are NaN if the clips are unlikely at every pose that was tried.
    """
    num_rows = len(tokens_BTLHW)
    poses = [[None] * num_rows if each is None else each.split(1) for each in (clip_poses_BT, expected_B)]
    rows = zip(tokens_BTLHW.split(1), actions_BTFA.split(1), *poses, strict=True)
    found = [_locate_one(scene, *row) for row in rows]
    return Localisation(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _locate_one(
    scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None, expected: Tensor | None
) -> Localisation:
    found: Localisation | None = None
    for search in _searches(scene, tokens, actions, clip_poses, expected):
        again = search()
        found = again if found is None or again.losses[0] < found.losses[0] else found
        bound = scene.use.unknown_above
        if bound is None or found.losses[0] <= bound:
            return found
    assert found is not None, "there is always a search"
    nowhere = torch.full_like(found.poses, torch.nan), torch.full_like(found.paths, torch.nan)
    return found._replace(poses=nowhere[0], paths=nowhere[1])


def _searches(
    scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor | None, expected: Tensor | None
) -> Iterator[Callable[[], Localisation]]:
    """Yields searches, the cheapest first."""
    run = partial(localise, scene.model, scene.odometry, tokens, actions)
    if expected is not None and expected.isfinite().all():
        yield partial(_nearby, scene, tokens, actions, expected)
    if clip_poses is not None:
        yield partial(run, from_clip_poses(clip_poses, actions))
        starts = from_clip_poses(clip_poses, actions, at_start=True)
        yield partial(run, starts, from_starts=True)
        yield partial(run, scattered(starts), THOROUGH, from_starts=True)
    starts = coarse_search(scene, tokens, actions)
    yield partial(run, scattered(starts, centres=starts.shape[1]), THOROUGH, from_starts=True)


def _nearby(scene: Scene, tokens: Tensor, actions: Tensor, expected: Tensor) -> Localisation:
    """Searches with the newest clip alone, and follows the wheels from there through the others."""
    newest = tokens[:, -1:], actions[:, -1:]
    found = localise(scene.model, scene.odometry, *newest, expected[:, None], NEARBY)
    return found._replace(paths=paths_ending_at(found.poses, scene.odometry, actions))
