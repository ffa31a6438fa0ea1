"""HWM-v0: the environments of the learned world."""

from typing import Any, Unpack

from gymnasium.vector import AutoresetMode

from hwm_env.envs.arguments import EnvArguments
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseWorld
from hwm_env.envs.vector import HumanoidVectorEnv, vector_config
from hwm_env.envs.world import World
from hwm_env.simulator import WorldSimulator


class HumanoidWorldModelEnv(HumanoidEnv[Any]):
    """A humanoid robot in a world that a trained model predicts, one clip of 17 frames (0.567 s) a step.

    ## Action Space
    An action is 25 numbers (`hwm_env.types.ACTION_NAMES`): 21 joint angles (rad), 2 hand closures (0 open, 1 closed),
    linear velocity (m/s) and angular velocity (rad/s, positive turns left). If the checkpoint is of another robot, it
    is the joints of `env.unwrapped.robot` instead, in their order and number, within the limits that it states.

    | action_mode | space in physical units |
    | --- | --- |
    | `chunk` | `Box(low, high, (17, 25), float32)`: an action for each frame |
    | `hold` | `Box(low, high, (25,), float32)`: reached along a minimum-jerk curve in 10 frames, then held |
    | `delta` | `Box(-reach, reach, (25,), float32)`: a change from the present numbers, spread evenly over the step |

    With `normalized_actions` the shapes are the same and the bounds are -1 and 1, mapped linearly to those above. `low`
    and `high` are the extremes of the training data, `reach` is 17 times its largest change from frame to frame: only
    `delta` cannot ask for motion that is faster than any in the data. With `controls` an action consists of the named
    numbers only; of the others, joints and hands keep their values, and velocities go to 0.

    Finite numbers beyond `low` and `high` are clipped, and `info["action_clipped"]` is `True`; with
    `out_of_range="refuse"` they are an error. The learned world executes actions exactly, since the actions in its data
    are what the robot measured; `info["action_ood"]` shows changes that no robot makes. (The reference world limits
    them.)

    ## Observation Space
    | obs_mode | space |
    | --- | --- |
    | `pixels` | `Box(0, 255, (S, S, 3), uint8)`: the last frame of the head camera |
    | `pixels_state` | `Dict` of `pixels`, `state` (float32 [25], or the robot's joints) and `goal` (see the task) |
    | `state` | the same without `pixels`: no frame is decoded |
    | `clip` | `Box(0, 255, (num_frames, S, S, 3), uint8)`: frames spread over the step, by default all 17 |
    | `tokens` | `Box(0, V - 1, (3, h, w), int32)`: the clip's tokens |
    | `latents` | `Box(-1, 1, (3, h, w, digits), float32)`: the values of the tokens' digits |

    `S` is `image_size`, by default the checkpoint's own (64 for `room-64`). `state` is the robot's 25 numbers at the
    last frame in physical units, clipped to `low` and `high`. Without a task there is no `goal`. Frames are decoded
    only when an observation, a task or rendering needs them.

    With `pictures=False` none are predicted at all, nor tokens: the carried pose and the robot's kinematics move alone,
    many times as fast (docs/performance.md), and states, rewards and terminations of tasks that use read-outs are the
    same. That needs a checkpoint with a scene and `obs_mode="state"`.

    ## Rewards
    The reward of the task, a sum of terms that `info["reward_terms"]` names; 0 with `task=None`. The tasks of the
    reference room use read-outs, which are estimated in the learned world and exact in the reference world.
    `hwm_env.tasks.registry` lists the tasks by name; each has a datasheet of its own.

    ## Starting State
    The last frame of a recorded history of nine clips: a random start of the checkpoint, or `options={"start": i}`; or
    a saved state, `options={"state": state}`, as `get_state` returned it. Equal seeds mean equal starts and goals, in
    the learned and in the reference world.

    ## Episode End
    Terminates as the task defines. Truncates after `max_episode_steps` (an argument of `gymnasium.make` and `make_vec`:
    40 by default, -1 for no limit), and if `info["error_probability"]` is above `untrusted_above`. Stepping on is
    possible after both.

    ## Info
    Equal seeds and actions give equal infos: there are no clock times.

    | entry | meaning |
    | --- | --- |
    | `start` | after a reset: index of the recorded start, if there is one; the task adds its own entries |
    | `confidence` | mean log-probability of the clip's tokens, nats a token; 0 is certain; absent without pictures |
    | `entropy` | mean entropy of their distributions, nats a token; 0 is certain; absent without pictures |
    | `base_pose` | x (m), y (m), yaw (rad), float32 [3]; absent without a read-out |
    | `readout` | the whole read-out by name: `base_pose`, `head_m`, `gaze`, `left_hand_m`, `right_hand_m` |
    | `readout_source` | its source: `scene` (the carried pose and the robot's kinematics), `network` (a small network |
    | | on the clip's tokens: without a scene, or if the pose is unknown), `recording` (after a reset) |
    | `pose` | the carried pose, like `base_pose`; absent without a scene or with an unknown pose |
    | `pose_std` | standard deviations of its three numbers |
    | `painted_offset` | distance of the painted pose from the carried one (m); 0 after a reset; absent if the |
    | | calibration does not need it (see `WorldSimulator.painted_offset`) |
    | `reward_terms`, `is_success` | after a step: the task's judgement |
    | `action_clipped` | whether the action was beyond the bounds |
    | `action_ood` | share of the 17 x 25 numbers, before clipping, outside the data's range or its largest change |
    | `action_ood_joints` | the largest excess of each such number, by name (see `hwm_env.trust.action_excess`) |
    | `drift` | deviation of the clip's tokens from the data's statistics; 0 is typical; absent without calibration |
    | `error_probability` | probability that the clip's error is above a stated bound; absent without calibration |
    | `untrusted` | whether `error_probability` is above `untrusted_above` |

    ## Checkers
    With `normalized_actions=True`, Gymnasium's `check_env` has no warning for any mode. The checker of
    Stable-Baselines3 expects observations to be images or vectors: it has no warning for `pixels` and `pixels_state`,
    nor for the other modes inside `gymnasium.wrappers.FlattenObservation`. In physical units both recommend normalised
    actions (Gymnasium for vectors only).

    ## Arguments
    The keyword arguments are the fields of `hwm_env.envs.config.EnvConfig`, which documents each.

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or lacks what the task or `untrusted_above` needs.
    """

    def __init__(self, **arguments: Unpack[EnvArguments]) -> None:
        config = EnvConfig(**arguments)
        self.simulator = config.make_simulator()
        """The model behind the world, for planners: `simulator.step(moment.state, ...)` continues from here."""
        super().__init__(_world_of(self.simulator, config, frames_together=False), config)


class HumanoidWorldModelVectorEnv(HumanoidVectorEnv[Any]):
    """A batch of independent rows, each like a HumanoidWorldModelEnv, whose datasheet applies, predicted together.

    `gymnasium.make_vec("HWM-v0", num_envs=16)` makes one. A row that is reset with a seed has the same episodes as a
    single environment that is reset with this seed (with `strict=True` to the bit, see `WorldSimulator`), also after
    autoresets.

    Args:
        num_envs: number of rows.
        autoreset_mode: "NEXT_STEP", "SAME_STEP" or "DISABLED", or Gymnasium's AutoresetMode.
        arguments: fields of `hwm_env.envs.config.EnvConfig`; of the render modes, only "rgb_array". With
            `max_episode_steps=None`, episodes are truncated after 40 env steps, as registered; -1: no limit.

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or lacks what the task or `untrusted_above` needs.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **arguments: Unpack[EnvArguments],
    ) -> None:
        config = vector_config(arguments)
        self.simulator: WorldSimulator = config.make_simulator()
        """The model behind the rows."""
        # With other observations, frames of single rows are decoded: those that a task or a user looks at.
        observes_frames = config.obs_mode in ("pixels", "pixels_state", "clip")
        world = _world_of(self.simulator, config, frames_together=observes_frames)
        super().__init__(world, config, num_envs, autoreset_mode)


def _world_of(simulator: WorldSimulator, config: EnvConfig, *, frames_together: bool) -> World[Any]:
    if not config.pictures:
        return PoseWorld(simulator)
    return LearnedWorld(simulator, frames_together=frames_together)
