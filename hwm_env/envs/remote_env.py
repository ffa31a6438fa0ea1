"""HWM-v0 at a service: the environments whose world another program computes."""

from typing import Any, Final

from gymnasium.vector import AutoresetMode

from hwm_env.envs.config import MODEL_ARGUMENTS, EnvConfig
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.remote import RemoteMoment, RemoteWorld
from hwm_env.envs.vector import HumanoidVectorEnv, vector_config
from hwm_env.errors import InvalidInputError
from hwm_env.remote.client import ServiceClient
from hwm_env.remote.messages import ShownFrames

OF_THE_SERVICE: Final = (*MODEL_ARGUMENTS, "pictures")
"""Arguments of HWM-v0 that `hwm-env serve` has instead."""


class HumanoidRemoteEnv(HumanoidEnv[RemoteMoment]):
    """HWM-v0 whose world is computed by a service (`hwm-env serve`), with the datasheet of HumanoidWorldModelEnv.

    Spaces, starts, tasks, rewards and infos are those of an environment on the service's machine; with a strict
    service (the default), they equal those of one made with `strict=True` to the bit. Tasks are computed here; nothing
    but `hwm_env` has to be installed, and no checkpoint is needed.

    Saved states belong to environments of services of the same checkpoint. Continuing from one that the service's
    session has gone beyond repeats the episode there, up to that state. A pickled state contains the token.

    ## Arguments
    - *url*: address of the service, such as "http://127.0.0.1:8766".
    - *token*: its token; by default that of the environment variable HWM_SERVICE_TOKEN, if there is one.
    - those of HumanoidWorldModelEnv, except the ones that the service has: `OF_THE_SERVICE`.

    Raises:
        InvalidInputError: an argument has a value that is not allowed, or is the service's to choose.
        CheckpointError: the checkpoint lacks what the task or `untrusted_above` needs.
        ServiceError: the service cannot be reached, refuses the token, or does not answer as one; so do `reset` and
            `step`.
    """

    def __init__(self, url: str, token: str | None = None, **arguments: Any) -> None:
        config = EnvConfig(**_own(arguments))
        super().__init__(RemoteWorld(ServiceClient(url, token), _shown(config)), config)


class HumanoidRemoteVectorEnv(HumanoidVectorEnv[RemoteMoment]):
    """Rows of HWM-v0 at a service, which computes them together; arguments as of HumanoidWorldModelVectorEnv.

    Args:
        num_envs: number of rows.
        url: address of the service.
        token: its token.
        autoreset_mode: as of HumanoidWorldModelVectorEnv.
        arguments: as of HumanoidRemoteEnv.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        url: str,
        token: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **arguments: Any,
    ) -> None:
        config = vector_config(_own(arguments))  # type: ignore[arg-type]
        super().__init__(RemoteWorld(ServiceClient(url, token), _shown(config)), config, num_envs, autoreset_mode)


def _own(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments; raises InvalidInputError if the service has one of them."""
    others = [name for name in arguments if name in OF_THE_SERVICE]
    if others:
        raise InvalidInputError(
            f"{', '.join(others)}: the service at url has decided this; leave it out, or give it to `hwm-env serve`"
        )
    return arguments


def _shown(config: EnvConfig) -> ShownFrames:
    """Returns the frames that every step will need."""
    if config.obs_mode == "clip" or config.render_mode in ("human", "rgb_array_list"):
        return "all"
    return "last" if config.obs_mode in ("pixels", "pixels_state") or config.render_mode == "rgb_array" else "none"
