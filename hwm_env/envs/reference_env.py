"""HWMReference-v0: the environment in the reference world. Needs MuJoCo."""

from pathlib import Path

from hwm_env.checkpoint import load
from hwm_env.decoding.config import HistoryMode
from hwm_env.envs.actions import ActionMode
from hwm_env.envs.ground_truth import GroundTruthMoment, ReferenceGroundTruth
from hwm_env.envs.humanoid import HumanoidEnv, RenderMode
from hwm_env.envs.observations import ObsMode
from hwm_env.tasks.base import Task


class HumanoidReferenceEnv(HumanoidEnv[GroundTruthMoment]):
    """The reference world with the spaces, starts and tasks of HumanoidWorldModelEnv, whose datasheet holds here too.

    What differs: the robot's joints and wheels follow the action only as fast as they can, `state` and `base_pose` are
    exact, and `confidence` is 0. The checkpoint gives the starts and the bounds of the actions.

    Args:
        task: name of a task ("drive-to-target"), a Task, or None.
        obs_mode: "pixels", "pixels_state" or "clip".
        action_mode: "chunk" or "hold".
        normalized_actions: whether actions are sent in [-1, 1].
        decoding_steps: has no meaning here; taken so that a script runs in either world.
        temperature: has no meaning here; taken so that a script runs in either world.
        history: has no meaning here; taken so that a script runs in either world.
        checkpoint: name ("reference" ships with the package), directory or Hugging Face id.
        tokenizer: directory of the tokenizer, for a checkpoint that does not hold its own.
        max_steps: env steps until truncation.
        render_mode: "rgb_array" (the last frame, 256 x 256), "human" (a window that plays all frames) or None.
        device: has no meaning here; taken so that a script runs in either world.

    Raises:
        InvalidInputError: an argument is not one of those named.
        CheckpointError: the checkpoint is unknown or damaged, or its starts have no poses.
        RenderingUnavailableError: there is no OpenGL here.
    """

    def __init__(
        self,
        *,
        task: str | Task | None = "drive-to-target",
        obs_mode: ObsMode = "pixels",
        action_mode: ActionMode = "chunk",
        normalized_actions: bool = False,
        decoding_steps: int | None = None,
        temperature: float | None = None,
        history: HistoryMode | None = None,
        checkpoint: str | Path = "reference",
        tokenizer: str | Path | None = None,
        max_steps: int = 40,
        render_mode: RenderMode | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            ReferenceGroundTruth(load(checkpoint, tokenizer=tokenizer)),
            task=task,
            obs_mode=obs_mode,
            action_mode=action_mode,
            normalized_actions=normalized_actions,
            max_steps=max_steps,
            render_mode=render_mode,
        )
