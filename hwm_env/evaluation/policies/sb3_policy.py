"""Runs policies that Stable-Baselines3 trained (the extra "rl")."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from hwm_env.data.files import check_file
from hwm_env.envs.observations import Observation
from hwm_env.errors import HWMError, InvalidInputError, described, require_extra
from hwm_env.fields import checked
from hwm_env.policy import Interface
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 2**29
"""Largest size of a zip's unpacked contents."""
INTERFACE_ATTRIBUTE: Final = "hwm_interface"
"""Attribute of a Stable-Baselines3 model that holds the policy's Interface as a dict. It is saved with the model, and
needed if the spaces alone do not determine the interface."""
FAMILY_ATTRIBUTE: Final = "hwm_family"
"""Attribute of such a model that holds the policy's family, which the checkpoints of one training run share."""


class SB3Policy:
    """A policy from a zip that `model.save` wrote, by any algorithm; takes the most probable action.

    Loading a zip runs code in it (pickles): load only zips that you trust. Observations that were normalised by
    VecNormalize are not supported.

    Args:
        path: the zip.
        interface: the policy's observations and actions; `None`: read from INTERFACE_ATTRIBUTE, or else from its
            spaces.

    Raises:
        InvalidInputError: the file does not exist, is damaged, too large or of another kind, or its spaces are not
            those of HWM-v0.
        MissingExtraError: Stable-Baselines3 is not installed.
    """

    def __init__(self, path: Path, interface: Interface | None = None) -> None:
        saving = require_extra("stable_baselines3.common.save_util", "rl")
        check_file(path, InvalidInputError, "give a policy that Stable-Baselines3 saved")
        self.name = str(path.with_suffix(""))
        logger.warning("loading %s, which runs code in it", path)
        try:
            _check_size(path)
            data, parameters, _ = saving.load_from_zip_file(path, device="cpu")
            self.family: str = checked("its family", data.get(FAMILY_ATTRIBUTE, self.name), str)
            stored, spaces_of = data.get(INTERFACE_ATTRIBUTE), (data["observation_space"], data["action_space"])
            self.interface: Interface = interface or (
                Interface(**checked("its interface", stored, dict[str, Any])) if stored else interface_of(*spaces_of)
            )
            arguments = {**data["policy_kwargs"], **({"use_sde": True} if data.get("use_sde") else {})}
            self._policy = data["policy_class"](*spaces_of, lambda _: 0.0, **arguments)
            self._policy.load_state_dict(parameters["policy"])
            broken = [name for name, weight in self._policy.state_dict().items() if not weight.isfinite().all()]
            if broken:
                raise InvalidInputError(f"NaN or infinity in {', '.join(broken[:5])}; train the policy again")
        except HWMError as error:
            raise InvalidInputError(f"{path}: {error}") from error
        except (Exception, SystemExit) as error:  # Code in the zip can raise anything.
            raise InvalidInputError(
                f"{path} is not a model saved by Stable-Baselines3, or by another version: {described(error)}"
            ) from error

    def reset(self, seeds: Sequence[int]) -> None:
        """Does nothing: the policy is deterministic and has no memory."""

    def act(self, observations: Sequence[Observation]) -> npt.NDArray[np.float32]:
        """Returns an action for each observation; see Policy.

        Raises:
            InvalidInputError: observations are not of the space that it was trained on.
        """
        # One by one, so that the action of a row cannot depend on the others.
        return np.stack([self._act(observation) for observation in observations])

    def _act(self, observation: Observation) -> npt.NDArray[np.float32]:
        space = self._policy.observation_space
        seen: Any = observation
        if isinstance(space, spaces.Dict) and isinstance(observation, Mapping):
            seen = {key: observation[key] for key in space.spaces if key in observation}
        if _shapes(seen) not in (_shapes_of(space), _channels_last(space)):
            raise InvalidInputError(
                f"policy {self.name!r} was trained on observations {_shapes_of(space)}, got {_shapes(observation)}; "
                "use the task, image size and checkpoint that it was trained with"
            )
        with torch.inference_mode():
            action: npt.NDArray[np.float32] = self._policy.predict(seen, deterministic=True)[0]
        return action


def _check_size(path: Path) -> None:
    with ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_BYTES:
        raise InvalidInputError(f"expected a model of at most {MAX_BYTES} bytes, got {size}")


def interface_of(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Interface:
    """Infers a policy's interface from its spaces.

    Raises:
        InvalidInputError: they are not those of HWM-v0, or they do not determine the action mode.
    """
    if not isinstance(action_space, spaces.Box) or action_space.shape not in (
        (ACTION_DIM,),
        (FRAMES_PER_CLIP, ACTION_DIM),
    ):
        raise InvalidInputError(
            f"expected a policy for HWM-v0, with actions of {ACTION_DIM} or {FRAMES_PER_CLIP} x {ACTION_DIM} numbers, "
            f"got one for {action_space}"
        )
    normalized = bool((action_space.low == -1).all() and (action_space.high == 1).all())
    if action_space.shape == (ACTION_DIM,) and normalized:
        raise InvalidInputError(
            'normalised actions can mean "hold" or "delta", which a policy\'s spaces do not determine; set '
            f'model.{INTERFACE_ATTRIBUTE} = {{"obs_mode": ..., "action_mode": ..., "normalized_actions": True}} before '
            "model.save()"
        )
    symmetric = bool((action_space.low == -action_space.high).all())
    return Interface(
        **_seen(observation_space),
        action_mode="chunk" if len(action_space.shape) == 2 else "delta" if symmetric else "hold",
        normalized_actions=normalized,
    )


def _seen(space: spaces.Space[Any]) -> dict[str, Any]:
    """Infers the arguments that determine an environment's observations."""
    if isinstance(space, spaces.Dict) and "state" in space.spaces:
        if "pixels" not in space.spaces:
            return {"obs_mode": "state"}
        return {"obs_mode": "pixels_state", "image_size": _height(space.spaces["pixels"])}
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return {"obs_mode": "pixels", "image_size": _height(space)}
    raise InvalidInputError(
        f"expected a policy for HWM-v0 that observes pixels, pixels_state or state, got one for {space}; set "
        f"model.{INTERFACE_ATTRIBUTE} before model.save() for other observations"
    )


def _height(images: spaces.Space[Any]) -> int:
    """Returns the height of images whose channels are first or last."""
    assert images.shape is not None
    return int(images.shape[1])


def _shapes(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: np.shape(value) for key, value in observation.items()}
    return np.shape(observation)


def _shapes_of(space: spaces.Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: one.shape for key, one in space.spaces.items()}
    return space.shape


def _channels_last(space: spaces.Space[Any]) -> Any:
    """Returns the shapes for a model that transposes images itself (VecTransposeImage)."""
    shapes = _shapes_of(space)
    if isinstance(shapes, dict):
        return {key: (*shape[1:], shape[0]) if len(shape) == 3 else shape for key, shape in shapes.items()}
    return (*shapes[1:], shapes[0])
