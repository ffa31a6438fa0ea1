"""Plays policies of LeRobot, such as ACT, SmolVLA or pi0: `policies.lerobot:policy@PATH` on a command line.

The policy must have been trained on data of the checkpoint's robot at 30 Hz: one camera, and the robot's J joints in
their order (of EVE: the 25 numbers of ACTION_NAMES) as `observation.state` and as `action`, in physical units.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from hwm_env.errors import InvalidInputError, MissingExtraError
from hwm_env.policy import Interface
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, UInt8Array

STATE: Final = "observation.state"
GOAL: Final = "observation.environment_state"
ACTION: Final = "action"
_IMAGES: Final = ("observation.image", "observation.images.")
_EMPTY_CAMERA: Final = "observation.images.empty_camera"

Processor = Callable[[Any], Any]


class PretrainedPolicy(Protocol):
    """The part of LeRobot's PreTrainedPolicy that is used here."""

    @property
    def config(self) -> Any:
        """Its PreTrainedConfig; `input_features`, `output_features`, `n_obs_steps` and `device` are used."""
        ...

    def reset(self) -> None:
        """Forgets earlier observations and actions."""
        ...

    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        """Returns the actions of the next frames, float [B, N, J], for preprocessed observations."""
        ...


class LeRobotPolicy:
    """Plays the first 17 actions of a chunk that a policy of LeRobot predicts, once in each env step.

    The policy sees a batch of one: `observation.images.<camera>` (its only camera, whatever its name), the last frame,
    float32 [1, 3, H, W] in 0..1, scaled to the policy's size and padded with black if that is not square;
    `observation.state`, float32 [1, J]; `observation.environment_state`, the task's goal as numbers, if the policy
    wants it; and `task`, a text. A chunk of fewer than 17 actions is continued by its last one.

    Each prediction depends on nothing but the observation, the episode's seed and the env step.

    Args:
        name: name for reports.
        policy: the policy, in evaluation mode.
        preprocess: from observations to the policy's batch, such as LeRobot's preprocessor.
        postprocess: from the policy's actions [1, J] to physical units, such as LeRobot's postprocessor.
        task: what the policy is asked to do.

    Raises:
        InvalidInputError: the policy needs other inputs, or a history of observations.
    """

    def __init__(
        self, name: str, policy: PretrainedPolicy, preprocess: Processor, postprocess: Processor, task: str
    ) -> None:
        self.name = name
        self._policy, self._preprocess, self._postprocess, self._task = policy, preprocess, postprocess, task
        inputs = _shapes(policy.config.input_features)
        self._inputs = inputs
        self._camera = _check_inputs(name, inputs)
        actions = _shapes(policy.config.output_features).get(ACTION)
        if actions is None or len(actions) != 1:
            raise InvalidInputError(f"{name}: expected a policy whose action has shape (J,), got {actions}")
        self._num_joints = actions[0]
        if policy.config.n_obs_steps != 1:
            raise InvalidInputError(
                f"{name}: n_obs_steps must be 1, got {policy.config.n_obs_steps}: an env step shows one observation in "
                f"{FRAMES_PER_CLIP} frames, so that there is none for the frames in between; train with n_obs_steps=1"
            )
        self.interface = Interface(obs_mode="pixels_state" if self._camera else "state")

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in each row; see Policy."""
        self._seeds = list(seeds)
        self._step = 0

    def act(self, observations: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Returns the next chunk of each row, float32 [B, 17, J]; see Policy.

        Raises:
            InvalidInputError: the policy is for another robot, wants another goal, or returns something else than a
                chunk of actions.
        """
        # One by one, so that the chunk of a row cannot depend on the others.
        chunks = [self._chunk(observation, seed) for observation, seed in zip(observations, self._seeds, strict=True)]
        self._step += 1
        return np.stack(chunks)

    def _chunk(self, observation: Mapping[str, Any], seed: int) -> Float32Array:
        device = torch.device(self._policy.config.device or "cpu")
        noise = int(np.random.SeedSequence([seed, self._step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._policy.reset()
        with torch.inference_mode(), torch.random.fork_rng([] if device.type == "cpu" else [device]):
            torch.manual_seed(noise)  # policies draw their noise from the global generator
            actions = self._policy.predict_action_chunk(self._preprocess(self._batch(observation, device)))
            if not isinstance(actions, Tensor) or actions.ndim != 3 or len(actions) != 1 or not actions.shape[1]:
                shape = tuple(actions.shape) if isinstance(actions, Tensor) else type(actions).__name__
                raise InvalidInputError(
                    f"{self.name}: expected a chunk of actions [1, N, {self._num_joints}], got {shape}"
                )
            frames = [self._postprocess(actions[:, min(n, actions.shape[1] - 1)]) for n in range(FRAMES_PER_CLIP)]
        chunk: Float32Array = torch.cat(frames).float().cpu().numpy()
        return chunk

    def _batch(self, observation: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        """Returns an observation as LeRobot gives it to a policy's preprocessor."""
        batch: dict[str, Any] = {"task": self._task, "robot_type": ""}
        if STATE in self._inputs:
            state = observation["state"]
            if state.shape != self._inputs[STATE]:
                raise InvalidInputError(
                    f"{self.name}: expected a robot whose {STATE} has shape {self._inputs[STATE]}, got {state.shape}; "
                    "use a checkpoint of the robot that the policy was trained for"
                )
            batch[STATE] = torch.tensor(state, dtype=torch.float32, device=device)[None]
        if self._camera:
            batch[self._camera] = fitted(observation["pixels"], self._inputs[self._camera][-2:]).to(device)
        if GOAL in self._inputs:
            goal = np.asarray(observation.get("goal", ()), np.float32)
            if goal.shape != self._inputs[GOAL]:
                raise InvalidInputError(
                    f"{self.name}: expected a task whose goal ({GOAL}) has shape {self._inputs[GOAL]}, got {goal.shape}"
                )
            batch[GOAL] = torch.tensor(goal, device=device)[None]
        return batch


def fitted(image: UInt8Array, size: tuple[int, ...]) -> Tensor:
    """Scales an image into a frame without distortion, with black borders.

    Args:
        image: uint8 [S, S, 3].
        size: height and width of the frame in pixels.

    Returns:
        float32 [1, 3, height, width] in 0..1.
    """
    height, width = size
    values = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    side = min(height, width)
    if image.shape[0] != side:
        values = interpolate(values, (side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    left, top = (width - side) // 2, (height - side) // 2
    return pad(values, (left, width - side - left, top, height - side - top))


def policy(task: str, path: str) -> LeRobotPolicy:
    """Loads a policy of LeRobot (0.4): `policies.lerobot:policy@PATH`.

    The text that it is given is the task's name with spaces, such as "drive to target".

    Args:
        task: name of the task.
        path: directory that `save_pretrained` wrote, with its processors, or its name on the Hugging Face Hub.

    Raises:
        MissingExtraError: lerobot is not installed.
        InvalidInputError: see LeRobotPolicy.
    """
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise MissingExtraError(
            f"lerobot is required but cannot be imported ({error}); install it with: pip install 'lerobot>=0.4' (0.4.4 "
            "needs torch below 2.11, so use an environment of its own)"
        ) from error
    config = PreTrainedConfig.from_pretrained(path)
    loaded = get_policy_class(config.type).from_pretrained(path, config=config)
    device = {"device_processor": {"device": config.device}}
    preprocess, postprocess = make_pre_post_processors(config, path, preprocessor_overrides=device)
    return LeRobotPolicy(path, loaded, preprocess, postprocess, task.replace("-", " "))


def _shapes(features: Mapping[str, Any] | None) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of features, without those of cameras that a policy pretends to have."""
    shapes = {name: tuple(feature.shape) for name, feature in (features or {}).items()}
    return {name: shape for name, shape in shapes.items() if not name.startswith(_EMPTY_CAMERA)}


def _check_inputs(name: str, inputs: Mapping[str, tuple[int, ...]]) -> str | None:
    """Returns the name of the policy's camera, or `None` if it has none.

    Raises:
        InvalidInputError: it has several, or another input that there is not.
    """
    cameras = [key for key in inputs if key == _IMAGES[0] or key.startswith(_IMAGES[1])]
    if len(cameras) > 1:
        raise InvalidInputError(f"{name}: expected a policy with one camera, got {', '.join(cameras)}")
    unknown = inputs.keys() - {STATE, GOAL, *cameras}
    if unknown or not inputs:
        wrong = ", ".join(sorted(unknown)) or "none"
        raise InvalidInputError(f"{name}: expected inputs {STATE}, observation.images.<camera> or {GOAL}, got {wrong}")
    return cameras[0] if cameras else None
