"""What a world with a scene does when something is wrong: closed loops in which one thing was broken on purpose.

A world that knows where it is must fall where its knowledge is taken away or falsified; where it does not, that was not
what it drew from.
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
WRONG_BY_M: Final = 0.5
OUTSIDE_M: Final = 30.0
"""From the middle of the room: no room of the kind is so large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sabotaged:
    """Closed loops with one thing broken, with the recorded actions."""

    psnr: list[float]
    """Against the recorded images, dB, an entry an env step."""
    unknown_share: float
    """Of the worlds that answered at reset that they do not know the place."""
    start_error_median_m: float | None
    """From the pose at reset to where the history that was shown truly ends; `None` where no world knew its place."""


def measure_sabotage(simulator: WorldSimulator, held_out: HeldOut, *, loops: int, seed: int) -> dict[str, Sabotaged]:
    """Breaks one thing after the other.

    | case | what is broken |
    | --- | --- |
    | `nothing` | nothing, for comparison |
    | `pictures_of_another_episode` | the history at reset is another episode's |
    | `pose_half_a_metre_wrong` | the pose given at reset is the true one, moved by 0.5 m |
    | `poses_shuffled` | the poses given at reset are other worlds' |
    | `outside_the_room` | the pose given at reset is 30 m away |
    | `numbers_zeroed` | all actions of the loop are 0 but for the wheels' velocities |
    | `another_map` | the map's planes are those of the room turned by 180 degrees |
    | `scene_off` | no world knows its place: the masked model goes on alone |

    Args:
        simulator: a world with a scene.
        held_out: episodes of at least nine clips and ten steps, with true poses.
        loops: episodes to use, at most all.
        seed: of worlds and shuffles.
    """
    scene = simulator.scene
    assert scene is not None, "only a world with a scene can lose it"
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
    """True ones at the end of each episode's history, [E, 3]."""
    seed: int

    def run(
        self,
        simulator: WorldSimulator,
        shown: list[int],
        *,
        poses: Tensor | None = None,
        change: Callable[[Tensor], Tensor] = lambda chunk: chunk,
    ) -> Sabotaged:
        """Runs a loop an episode.

        Args:
            simulator: the world.
            shown: whose history each loop begins with.
            poses: what it is told about its place, [E, 3].
            change: what is done to each chunk [E, 17, 25].
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
        """Share of unknown places, and the median error of the others."""
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
