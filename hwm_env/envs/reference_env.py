"""HWMReference-v0: the environment in the reference world. Needs MuJoCo."""

from typing import Any

from gymnasium.vector import AutoresetMode

from hwm_env.checkpoint import load
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.ground_truth import GroundTruthMoment, ReferenceGroundTruth
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.vector import HumanoidVectorEnv, vector_config


class HumanoidReferenceEnv(HumanoidEnv[GroundTruthMoment]):
    """The reference world with the spaces, starts and tasks of HumanoidWorldModelEnv, whose datasheet holds here too.

    What differs: the robot's joints and wheels follow the action only as fast as they can; `state`, `readout` and
    `base_pose` are exact; `confidence`, `entropy`, `drift` and `error_probability` are 0; tokens and latents are what
    the checkpoint's tokenizer makes of the frames. The checkpoint gives starts and bounds of actions.

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or its starts have no poses.

    Drawing the first frame raises RenderingUnavailableError where there is no OpenGL.
    """

    def __init__(self, **arguments: Any) -> None:
        config = EnvConfig(**arguments)
        super().__init__(ReferenceGroundTruth(load(config.checkpoint, tokenizer=config.tokenizer)), config)


class HumanoidReferenceVectorEnv(HumanoidVectorEnv[GroundTruthMoment]):
    """Many reference worlds, one after the other, with the interface of HumanoidWorldModelVectorEnv."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        config = vector_config(max_episode_steps, arguments)
        world = ReferenceGroundTruth(load(config.checkpoint, tokenizer=config.tokenizer))
        super().__init__(world, config, num_envs, autoreset_mode)
