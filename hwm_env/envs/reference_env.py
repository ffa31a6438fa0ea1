"""HWMReference-v0: the environments of the reference world. Need MuJoCo."""

from typing import Unpack

from gymnasium.vector import AutoresetMode

from hwm_env.checkpoint import load
from hwm_env.envs.arguments import EnvArguments
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.ground_truth import GroundTruthMoment, ReferenceGroundTruth
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.vector import HumanoidVectorEnv, vector_config


class HumanoidReferenceEnv(HumanoidEnv[GroundTruthMoment]):
    """A humanoid robot in the reference world, with the interface of HumanoidWorldModelEnv, whose datasheet applies.

    ## Action Space
    As in HWM-v0; `low`, `high` and `reach` come from the checkpoint. The robot's joints and wheels follow the action
    only as fast as they can.

    ## Observation Space
    As in HWM-v0; `state` is exact. Tokens and latents are the checkpoint's tokenizer's encoding of the frames.

    ## Rewards
    As in HWM-v0, from exact read-outs.

    ## Starting State
    As in HWM-v0: the checkpoint's starts, which must have poses.

    ## Episode End
    As in HWM-v0; never truncated by `untrusted_above`.

    ## Info
    As in HWM-v0; `readout` and `base_pose` are exact; `confidence`, `entropy`, `drift` and `error_probability` are 0.

    ## Arguments
    As of HWM-v0; those about the model's predictions have no effect.

    Raises:
        InvalidInputError: an argument has a value that is not allowed.
        CheckpointError: the checkpoint is unknown or damaged, or its starts have no poses.

    The first rendering raises RenderingUnavailableError if there is no OpenGL on this machine.
    """

    def __init__(self, **arguments: Unpack[EnvArguments]) -> None:
        config = EnvConfig(**arguments)
        super().__init__(_world_of(config), config)


class HumanoidReferenceVectorEnv(HumanoidVectorEnv[GroundTruthMoment]):
    """Rows of the reference world, computed one after the other; arguments as of HumanoidWorldModelVectorEnv."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **arguments: Unpack[EnvArguments],
    ) -> None:
        config = vector_config(arguments)
        super().__init__(_world_of(config), config, num_envs, autoreset_mode)


def _world_of(config: EnvConfig) -> ReferenceGroundTruth:
    return ReferenceGroundTruth(load(config.checkpoint, tokenizer=config.tokenizer))
