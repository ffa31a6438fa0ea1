"""Runs closed loops of worlds with a scene in which one thing is broken on purpose.

The PSNR must fall if an input that the world uses is removed or falsified; if it does not, the world ignores that
input.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.action_variations import derangement
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.scene.pose import relative
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator, WorldState
from hwm_env.types import ANGULAR_VELOCITY, HISTORY_CLIPS, LINEAR_VELOCITY

STEPS: Final = 10
"""Env steps of each loop."""
WRONG_BY_M: Final = 0.5
OUTSIDE_M: Final = 30.0
"""Distance of a pose that is outside of every room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sabotaged:
    """Closed loops with the recorded actions and one thing broken."""

    psnr: list[float]
    """PSNR against the recorded images (dB), one entry per env step."""
    unknown_share: float
    """Share of worlds whose pose is unknown at reset, 0..1."""
    start_error_median_m: float | None
    """Median distance of the pose at reset from the true end of the given history; `None` if no pose is known."""


def measure_sabotage(simulator: WorldSimulator, held_out: HeldOut, *, loops: int, seed: int) -> dict[str, Sabotaged]:
    """Runs closed loops, each time with another thing broken.

    | case | what is broken |
    | --- | --- |
    | `nothing` | nothing, for comparison |
    | `pictures_of_another_episode` | the history at reset is that of another episode |
    | `pose_half_a_metre_wrong` | the pose given at reset is 0.5 m from the true one |
    | `poses_shuffled` | the poses given at reset are exchanged between rows |
    | `outside_the_room` | the pose given at reset is 30 m away |
    | `numbers_zeroed` | all actions of the loop except the wheels' velocities are 0 |
    | `another_map` | the map's planes are those of the room turned by 180 degrees |
    | `scene_off` | all poses are unknown, so that the masked model predicts alone |

    Args:
        simulator: simulator with a scene.
        held_out: episodes of at least 9 + STEPS clips, with true poses.
        loops: largest number of loops, one per episode.
        seed: seed of worlds and shuffles.

    Returns:
        The loops by case.
    """
    scene = simulator.scene
    assert scene is not None, "sabotage needs a scene"
    episodes = min(loops, len(held_out))
    poses = held_out.poses()[:episodes, HISTORY_CLIPS - 1]
    others = torch.from_numpy(derangement(episodes, seed))
    own = list(range(episodes))
    moved, away = poses.clone(), poses.clone()
    moved[:, 0] += WRONG_BY_M
    away[:, :2] += OUTSIDE_M
    wheels = torch.zeros(held_out.actions.shape[-1])
    wheels[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] = 1.0
    loop = _Loops(held_out, poses, seed)
    checkpoint = replace(simulator.checkpoint, scene=_turned(scene))
    turned = WorldSimulator(checkpoint, simulator.decoding, precision=simulator.precision, strict=simulator.strict)
    return {
        "nothing": loop.run(simulator, own),
        "pictures_of_another_episode": loop.run(simulator, others.tolist()),
        "pose_half_a_metre_wrong": loop.run(simulator, own, poses=moved),
        "poses_shuffled": loop.run(simulator, own, poses=poses[others]),
        "outside_the_room": loop.run(simulator, own, poses=away),
        "numbers_zeroed": loop.run(simulator, own, change=lambda chunk: chunk * wheels),
        "another_map": loop.run(turned, own),
        "scene_off": loop.run(simulator, own, poses=torch.full_like(poses, torch.nan)),
    }


@dataclass(frozen=True, slots=True)
class _Loops:
    """Closed loops over the same episodes."""

    held_out: HeldOut
    poses: Tensor
    """True poses at the end of each episode's history, [E, 3]."""
    seed: int

    def run(
        self,
        simulator: WorldSimulator,
        shown: list[int],
        *,
        poses: Tensor | None = None,
        change: Callable[[Tensor], Tensor] = lambda chunk: chunk,
    ) -> Sabotaged:
        """Runs one loop per episode.

        Args:
            simulator: predicts the clips.
            shown: the episode whose history each loop begins with.
            poses: poses given at reset, [E, 3]; `None`: the worlds locate themselves.
            change: changes each chunk, [E, 17, 25].
        """
        held_out, episodes = self.held_out, range(len(shown))
        state = simulator.begin(
            held_out.tokens[shown, :HISTORY_CLIPS],
            held_out.actions[shown, :HISTORY_CLIPS],
            [self.seed + episode for episode in episodes],
            poses=poses,
        )
        start = state
        psnr = []
        for step in range(HISTORY_CLIPS, HISTORY_CLIPS + STEPS):
            state, clip = simulator.step(state, change(held_out.actions[: len(shown), step]))
            truth = torch.stack([held_out.frames(episode)[step] for episode in episodes])
            psnr.append(psnr_db(clip.frames.cpu(), truth).mean().item())
        unknown, error_m = self._of_start(start, shown)
        return Sabotaged(psnr=psnr, unknown_share=unknown, start_error_median_m=error_m)

    def _of_start(self, start: WorldState, shown: list[int]) -> tuple[float, float | None]:
        """Returns the share of unknown poses, and the median error (m) of the others."""
        if start.belief is None or not start.belief.known.any():
            return 1.0, None
        known = start.belief.known.cpu()
        errors = relative(self.poses[shown], start.belief.poses.cpu())[known, :2].norm(dim=1)
        return 1 - known.float().mean().item(), errors.median().item()


def _turned(scene: Scene) -> Scene:
    """Returns a scene whose map is that of the room turned by 180 degrees around its middle."""
    turned = deepcopy(scene)
    floor, along_x, along_y = turned.model.map.planes
    for plane, axes in ((floor, (2, 3)), (along_x, (3,)), (along_y, (3,))):
        plane.data = plane.data.flip(axes)
    return turned
