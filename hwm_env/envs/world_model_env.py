"""HWM-v0: the environment in the learned world."""

from pathlib import Path

from hwm_env.decoding.config import HistoryMode
from hwm_env.envs.actions import ActionMode
from hwm_env.envs.humanoid import HumanoidEnv, RenderMode
from hwm_env.envs.learned import LearnedMoment, LearnedWorld
from hwm_env.envs.observations import ObsMode
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import Task


class HumanoidWorldModelEnv(HumanoidEnv[LearnedMoment]):
    """A humanoid robot in a world that a trained model dreams, one clip of 17 frames (0.567 s) a step.

    ## Action Space
    An action is 25 numbers (`hwm_env.types.ACTION_NAMES`): 21 joint angles (rad), 2 hand closures (0 open, 1 closed),
    linear velocity (m/s) and angular velocity (rad/s, positive turns left).

    | action_mode | normalized_actions | space |
    | --- | --- | --- |
    | `chunk` | False | `Box(low, high, (17, 25), float32)`: an action for each frame, in physical units |
    | `hold` | False | `Box(low, high, (25,), float32)`: reached along a minimum-jerk curve in 10 frames, then held |
    | either | True | the same shape with bounds -1 and 1, mapped linearly to low and high |

    `low` and `high` are the extremes of the training data. Finite actions outside of them are clipped to them. Changes
    from frame to frame are not limited: the world is kinematic in its actions, which in the data are what the robot
    measured; changes that no robot makes show in `info["action_ood"]`. (The reference world limits them.)

    ## Observation Space
    | obs_mode | space |
    | --- | --- |
    | `pixels` | `Box(0, 255, (S, S, 3), uint8)`: the head camera at the last frame |
    | `pixels_state` | `Dict` of `pixels`, `state` (float32 [25]) and `goal` (float32, see the task) |
    | `clip` | `Box(0, 255, (17, S, S, 3), uint8)`: all frames of the step |

    `state` is the robot's 25 numbers at the last frame in physical units, clipped to low and high. There is no `goal`
    without a task.

    ## Rewards
    Those of the task; a sum of terms that `info["reward_terms"]` names. 0 with `task=None`. The learned world judges by
    the pose that a small network reads out of its own predicted tokens, the reference world by the true one.

    ## Starting State
    The last frame of a recorded history of nine clips: a random one of the checkpoint's, or `options={"start": i}`. Its
    pose is the recorded one. Equal seeds mean equal starts and goals, in the learned and in the reference world.

    ## Episode End
    Terminates where the task says so, truncates after `max_steps`. The world can be stepped on after either.

    ## Info
    `base_pose` (x m, y m, yaw rad; float32 [3]; absent without a read-out) and `confidence` (mean log-probability of
    the clip's tokens in nats, 0 is certain); after a reset `start` and the task's entries; after a step `reward_terms`,
    `is_success`, `action_clipped` and `action_ood` (share of the 17 x 25 numbers, before clipping, outside the training
    data's range or its largest change from frame to frame). Infos of equal seeds and actions are equal.

    ## Checkers
    Gymnasium's `check_env` has no warning for any setting but `hold` in physical units; that of Stable-Baselines3 for
    none with `normalized_actions=True` and `pixels` or `pixels_state`. Both recommend normalised actions (Gymnasium for
    vectors only), and Stable-Baselines3 does not know what to make of clips.

    ## Arguments
    Args:
        task: name of a task ("drive-to-target"), a Task, or None.
        obs_mode: "pixels", "pixels_state" or "clip".
        action_mode: "chunk" or "hold".
        normalized_actions: whether actions are sent in [-1, 1].
        decoding_steps: forward passes a clip; None takes the checkpoint's.
        temperature: of the sampling, 0 for the most probable tokens; None takes the checkpoint's.
        history: "window" encodes the past anew at each step, "streaming" each clip once, which is faster (see
            DecodingConfig); None takes the checkpoint's.
        checkpoint: name ("reference" ships with the package), directory or Hugging Face id.
        tokenizer: directory of the tokenizer, for a checkpoint that does not hold its own (Cosmos); None takes that of
            the environment variable HWM_TOKENIZER.
        max_steps: env steps until truncation.
        render_mode: "rgb_array" (the last frame, 256 x 256), "human" (a window that plays all frames) or None.
        device: where the model runs, such as "cpu" or "cuda".

    Raises:
        InvalidInputError: an argument is not one of those named.
        CheckpointError: the checkpoint is unknown or damaged, or has no read-out and the task needs one.
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
        simulator = WorldSimulator.from_pretrained(
            checkpoint,
            device=device,
            tokenizer=tokenizer,
            decoding_steps=decoding_steps,
            temperature=temperature,
            history=history,
        )
        super().__init__(
            LearnedWorld(simulator),
            task=task,
            obs_mode=obs_mode,
            action_mode=action_mode,
            normalized_actions=normalized_actions,
            max_steps=max_steps,
            render_mode=render_mode,
        )
