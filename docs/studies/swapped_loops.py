"""Closed loops in which parts of what a world carries are swapped for the truth."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.checkpoint import Checkpoint
from hwm_env.evaluation.worlds.closed_loops import BATCH
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS
from hwm_env.world_state import WorldState


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap:
    """What of a closed loop is the truth; by default nothing."""

    start: bool = False
    """The pose at the end of the history, instead of the localiser's."""
    poses: bool = False
    """The pose at the end of each later clip, instead of the carried one. Odometry moves it within the next clip."""
    tokens: bool = False
    """The tokens of each clip of the past, instead of the predicted ones."""
    weight: Literal["shipped", "first", "none"] = "shipped"
    """Weight of the masked model's logits: by env step as shipped, always that of the first env step after a recorded
    clip, or 0, so that the scene predicts alone."""


def run_swapped(checkpoint: Checkpoint, held_out: HeldOut, swap: Swap, steps: int) -> Tensor:
    """Runs a closed loop for each episode, from its first nine clips and with its recorded actions.

    Args:
        checkpoint: checkpoint with a scene.
        held_out: E episodes of at least 9 + `steps` clips, with true poses.
        swap: what is the truth.
        steps: env steps of each loop.

    Returns:
        Tokens of the predicted clips, int32 [E, steps, 3, H, W].
    """
    simulator = _weighted(checkpoint, swap)
    poses = held_out.poses()
    predicted = []
    for rows in torch.arange(len(held_out)).split(BATCH):
        state = simulator.begin(
            held_out.tokens[rows, :HISTORY_CLIPS],
            held_out.actions[rows, :HISTORY_CLIPS],
            rows.tolist(),
            poses=poses[rows, HISTORY_CLIPS - 1] if swap.start else None,
        )
        clips = []
        for step in tqdm(range(HISTORY_CLIPS, HISTORY_CLIPS + steps), desc="closed loops", unit="env step"):
            state, clip = simulator.step(state, held_out.actions[rows, step])
            clips.append(clip.tokens)
            state = _swapped(state, simulator, swap, held_out.tokens[rows, step], poses[rows, step])
        predicted.append(torch.stack(clips, dim=1))
    return torch.cat(predicted)


def _weighted(checkpoint: Checkpoint, swap: Swap) -> WorldSimulator:
    """Returns a simulator whose masked model has the weight that is asked for."""
    scene = checkpoint.scene
    assert scene is not None, "worlds without a scene carry no pose"
    shipped = scene.use.history_weights
    weights = {"shipped": shipped, "first": shipped[:1], "none": (0.0,)}[swap.weight]
    weighted = Scene(scene.model, scene.odometry, replace(scene.use, history_weights=weights)).eval()
    return WorldSimulator(replace(checkpoint, scene=weighted))


def _swapped(state: WorldState, simulator: WorldSimulator, swap: Swap, tokens: Tensor, poses: Tensor) -> WorldState:
    """Returns the state after a clip with its true tokens [B, 3, H, W] and end [B, 3], as far as they are swapped."""
    if swap.tokens:
        # The newest clip has not been encoded yet.
        state = replace(state, tokens=torch.cat([state.tokens[:, :-1], tokens[:, None]], dim=1))
    if swap.poses and simulator.scene is not None:
        state = replace(state, belief=simulator.scene.belief_in(poses))
    return state
