"""HWM-v0: the environment in the learned world."""

from typing import Any

from gymnasium.vector import AutoresetMode

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.learned import LearnedMoment, LearnedWorld
from hwm_env.envs.vector import HumanoidVectorEnv, vector_config
from hwm_env.simulator import WorldSimulator


class HumanoidWorldModelEnv(HumanoidEnv[LearnedMoment]):
    """A humanoid robot in a world that a trained model dreams, one clip of 17 frames (0.567 s) a step.

    ## Action Space
    An action is 25 numbers (`hwm_env.types.ACTION_NAMES`): 21 joint angles (rad), 2 hand closures (0 open, 1 closed),
    linear velocity (m/s) and angular velocity (rad/s, positive turns left).

    | action_mode | space in physical units |
    | --- | --- |
    | `chunk` | `Box(low, high, (17, 25), float32)`: an action for each frame |
    | `hold` | `Box(low, high, (25,), float32)`: reached along a minimum-jerk curve in 10 frames, then held |
    | `delta` | `Box(-reach, reach, (25,), float32)`: a change from the present numbers, spread evenly over the step |

    With `normalized_actions` each has the same shape and the bounds -1 and 1, mapped linearly to those above. `low` and
    `high` are the extremes of the training data, `reach` is 17 times its largest change from frame to frame: of the
    three, only `delta` cannot ask for motion that is faster than any in the data. With `controls` an action is only the
    named numbers; of the others, joints and hands stay as they are, and velocities go to 0.

    Finite numbers beyond `low` and `high` are clipped to them, and `info["action_clipped"]` says so; with
    `out_of_range="refuse"` they are an error. The world is kinematic in its actions, which in the data are what the
    robot measured; changes that no robot makes show in `info["action_ood"]`. (The reference world limits them.)

    ## Observation Space
    | obs_mode | space |
    | --- | --- |
    | `pixels` | `Box(0, 255, (S, S, 3), uint8)`: the head camera at the last frame |
    | `pixels_state` | `Dict` of `pixels`, `state` (float32 [25]) and `goal` (see the task) |
    | `state` | the same without `pixels`: no frame is decoded |
    | `clip` | `Box(0, 255, (num_frames, S, S, 3), uint8)`: frames spread over the step, by default all 17 |
    | `tokens` | `Box(0, V - 1, (3, h, w), int32)`: the clip's tokens |
    | `latents` | `Box(-1, 1, (3, h, w, digits), float32)`: the values that the tokens' digits stand for |

    `S` is `image_size`, by default the world's own (64 for the one that ships). `state` is the robot's 25 numbers at
    the last frame in physical units, clipped to low and high. There is no `goal` without a task. Frames are decoded
    only when an observation, a task or a person looks at them.

    ## Rewards
    Those of the task; a sum of terms that `info["reward_terms"]` names. 0 with `task=None`. The tasks of the reference
    room judge the learned world by what a small network reads out of its own predicted tokens, and the reference world
    by the truth. Tasks by name, each with a datasheet of its own: see `hwm_env.tasks.registry`.

    ## Starting State
    The last frame of a recorded history of nine clips: a random one of the checkpoint's, or `options={"start": i}`; or
    `options={"state": state}`, with what `get_state` gave. Equal seeds mean equal starts and goals, in the learned and
    in the reference world.

    ## Episode End
    Terminates where the task says so, truncates after `max_episode_steps` (an argument of `gymnasium.make` and
    `make_vec`: 40 unless given, -1 for no limit), and where `info["error_probability"]` is above `untrusted_above`. The
    world can be stepped on after any.

    ## Info
    Infos of equal seeds and actions are equal: no clock times.

    | entry | what |
    | --- | --- |
    | `start` | after a reset: which recorded start, if it was one; the task adds its own entries |
    | `confidence` | mean log-probability of the clip's tokens, nats a token; 0 is certain |
    | `entropy` | mean entropy of what they were chosen from, nats a token; 0 is certain |
    | `base_pose` | x (m), y (m), yaw (rad), float32 [3]; absent without a read-out |
    | `readout` | all that was read out, by name: `base_pose`, `head_m`, `gaze`, `left_hand_m`, `right_hand_m` |
    | `readout_source` | who says so: `scene` (the carried pose and the robot's kinematics), `network` (a small one |
    | | that reads the clip's tokens: without a scene, and where the place is not known), `recording` (after a reset) |
    | `pose` | the pose that the world carries along, like `base_pose`; absent without a scene or a known place |
    | `pose_std` | standard deviations of its three numbers |
    | `painted_offset` | how far the clip seems to be painted from another pose than that (m); 0 after a reset; absent |
    | | where the calibration does not ask for it (see `WorldSimulator.painted_offset`) |
    | `reward_terms`, `is_success` | after a step: how the task judges it |
    | `action_clipped` | whether numbers beyond the training data were asked for |
    | `action_ood` | share of the 17 x 25 numbers, before clipping, outside the data's range or its largest change |
    | `action_ood_joints` | the largest excess of each number that is, by name (see `hwm_env.trust.action_excess`) |
    | `drift` | how far the clip's tokens leave the data's statistics; 0 is typical; absent without calibration |
    | `error_probability` | that the clip is further from the truth than a stated bound; absent without calibration |
    | `untrusted` | whether that is above `untrusted_above` |

    ## Checkers
    With `normalized_actions=True`, Gymnasium's `check_env` has no warning for any mode. That of Stable-Baselines3 wants
    observations to be images or vectors: it has none for `pixels` and `pixels_state`, nor for the other modes inside
    `gymnasium.wrappers.FlattenObservation`. In physical units both recommend normalised actions (Gymnasium for vectors
    only).

    ## Arguments
    All keyword arguments are fields of `hwm_env.envs.config.EnvConfig`.

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or has not what the task or `untrusted_above` needs.
    """

    def __init__(self, **arguments: Any) -> None:
        config = EnvConfig(**arguments)
        self.simulator = config.make_simulator()
        """The model behind the world, for planners: `simulator.step(moment.state, ...)` goes on from here."""
        super().__init__(LearnedWorld(self.simulator), config)


class HumanoidWorldModelVectorEnv(HumanoidVectorEnv[LearnedMoment]):
    """Many independent worlds like that of HumanoidWorldModelEnv, whose datasheet holds here, predicted in one batch.

    `gymnasium.make_vec("HWM-v0", num_envs=16)` makes one. World i, reset with seed s, lives what a single environment
    lives that is reset with seed s (with `strict=True` to the bit, see `WorldSimulator`), also after it has begun
    another episode.

    Args:
        num_envs: how many worlds.
        autoreset_mode: "NEXT_STEP", "SAME_STEP" or "DISABLED", or Gymnasium's AutoresetMode.
        max_episode_steps: env steps until truncation; None: 40, as registered; -1: no limit.
        arguments: fields of `hwm_env.envs.config.EnvConfig`; of the render modes, only "rgb_array".

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or has not what the task or `untrusted_above` needs.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        config = vector_config(max_episode_steps, arguments)
        self.simulator: WorldSimulator = config.make_simulator()
        """The model behind the worlds."""
        super().__init__(LearnedWorld(self.simulator), config, num_envs, autoreset_mode)
