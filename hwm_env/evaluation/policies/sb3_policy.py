"""Policies that Stable-Baselines3 has trained (the extra "rl")."""

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
"""Of what is packed in a zip."""
INTERFACE_ATTRIBUTE: Final = "hwm_interface"
"""Of a model of Stable-Baselines3: the policy's Interface as a dict. Saved with the model, and needed where the spaces
do not say everything."""


class SB3Policy:
    """The policy of a zip that `model.save` wrote, whatever algorithm trained it; takes the most probable action.

    Loading a zip runs code that is in it (pickles), as a warning in the log says: load only what you trust.
    Observations that were normalised by VecNormalize are not supported.

    Args:
        path: the zip.
        interface: what the policy sees and sends; None: as INTERFACE_ATTRIBUTE says, or as its spaces show.

    Raises:
        InvalidInputError: there is no such file, it is damaged, too large or something else, or its spaces are not
            those of HWM-v0.
        MissingExtraError: Stable-Baselines3 is not installed.
    """

    def __init__(self, path: Path, interface: Interface | None = None) -> None:
        saving = require_extra("stable_baselines3.common.save_util", "rl")
        check_file(path, InvalidInputError, "give a policy that Stable-Baselines3 saved")
        self.name = str(path.with_suffix(""))
        logger.warning("loading %s, which runs code that is in it", path)
        try:
            _check_size(path)
            data, parameters, _ = saving.load_from_zip_file(path, device="cpu")
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
        except (Exception, SystemExit) as error:  # The zip's code can raise anything, and exit.
            raise InvalidInputError(
                f"{path} is not a model that Stable-Baselines3 saved, or of another version: {described(error)}"
            ) from error

    def reset(self, seeds: Sequence[int]) -> None:
        """Nothing: it has no memory and does not roll dice."""

    def act(self, observations: Sequence[Observation]) -> npt.NDArray[np.float32]:
        """See Policy.

        Raises:
            InvalidInputError: observations are not of the space that it was trained on.
        """
        # One by one, a world's action cannot depend on the others.
        return np.stack([self._act(observation) for observation in observations])

    def _act(self, observation: Observation) -> npt.NDArray[np.float32]:
        space = self._policy.observation_space
        seen: Any = observation
        if isinstance(space, spaces.Dict) and isinstance(observation, Mapping):
            seen = {key: observation[key] for key in space.spaces if key in observation}
        if _shapes(seen) not in (_shapes_of(space), _channels_last(space)):
            raise InvalidInputError(
                f"policy {self.name!r} was trained on observations {_shapes_of(space)}, got {_shapes(observation)}: it "
                "fits another task, image size or checkpoint"
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
    """What spaces show of how a policy's environments were made.

    Raises:
        InvalidInputError: they are not those of HWM-v0, or what actions mean cannot be told.
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
            'whether normalised actions mean "hold" or "delta" cannot be told from a policy\'s spaces: set '
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
    """The arguments of an environment that decide its observations."""
    if isinstance(space, spaces.Dict) and "state" in space.spaces:
        if "pixels" not in space.spaces:
            return {"obs_mode": "state"}
        return {"obs_mode": "pixels_state", "image_size": _height(space.spaces["pixels"])}
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return {"obs_mode": "pixels", "image_size": _height(space)}
    raise InvalidInputError(
        "expected a policy for HWM-v0 that sees pixels, pixels_state or state (others must say so, in "
        f"model.{INTERFACE_ATTRIBUTE}), got one for {space}"
    )


def _height(images: spaces.Space[Any]) -> int:
    """Of channels-first or channels-last images."""
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
    """As `_shapes_of`, for a model that turns images around itself (VecTransposeImage)."""
    shapes = _shapes_of(space)
    if isinstance(shapes, dict):
        return {key: (*shape[1:], shape[0]) if len(shape) == 3 else shape for key, shape in shapes.items()}
    return (*shapes[1:], shapes[0])
