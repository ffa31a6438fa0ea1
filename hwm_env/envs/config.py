"""The arguments of the environments."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import torch
from annotated_types import Ge, Le, Len
from pydantic import SkipValidation

from hwm_env.decoding.config import HistoryMode, Order
from hwm_env.devices import check_device
from hwm_env.engine.base import Backend
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero, NotNegative, Share, short
from hwm_env.model.precision import Precision
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import Task
from hwm_env.tasks.function import RewardFunction
from hwm_env.types import FRAMES_PER_CLIP

ObsMode = Literal["pixels", "pixels_state", "state", "clip", "tokens", "latents"]
ActionMode = Literal["chunk", "hold", "delta"]
OutOfRange = Literal["clip", "refuse"]
RenderMode = Literal["rgb_array", "rgb_array_list", "human"]

ImageSide = Annotated[int, Ge(16), Le(512)]
"""Height and width of an image in an observation, in pixels."""
NumFrames = Annotated[int, Ge(1), Le(FRAMES_PER_CLIP)]
"""Number of frames of a `clip` observation."""
Controls = Annotated[Sequence[str], Len(1)]
"""Names of the joints that actions consist of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface(CheckedFields):
    """The arguments that define observations and actions."""

    obs_mode: ObsMode = "pixels"
    """Content of observations."""
    image_size: ImageSide | None = None
    """Height and width of images in observations, in pixels, 16 to 512; None: the world's own size."""
    num_frames: NumFrames = FRAMES_PER_CLIP
    """Frames of a `clip` observation, evenly spread over the 17 of a step; the last frame is always included."""
    action_mode: ActionMode = "chunk"
    """Meaning of actions."""
    normalized_actions: bool = False
    """Whether actions are in [-1, 1] instead of physical units."""
    controls: Controls | None = None
    """Names of the robot's joints (of EVE: `hwm_env.types.ACTION_NAMES`) that actions consist of, in this order; None:
    all. The others keep their values, but velocities go to 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig(Interface):
    """Arguments of `gymnasium.make("HWM-v0", ...)` and `make_vec`, and of the same in the reference world.

    The reference world accepts the arguments about the model's predictions too but ignores them, so that a script runs
    in both worlds.
    """

    task: SkipValidation[str | Task | RewardFunction | None] = "drive-to-target"
    """Name of a task (see `hwm_env.tasks.registry`), a Task, a function of two moments that returns a reward (see
    `hwm_env.tasks.function`), or None for no reward."""
    out_of_range: OutOfRange = "clip"
    """Treatment of actions beyond those of the training data: `clip` them, or `refuse` them with an error."""
    checkpoint: str | Path = "room-64"
    """Name ("room-64" comes with the package), directory or Hugging Face id."""
    tokenizer: str | Path | None = None
    """Directory of the tokenizer, for a checkpoint without its own (Cosmos); None: that of the environment variable
    HWM_TOKENIZER."""
    decoding_steps: CountOrZero | None = None
    """Decoding steps a clip (K), usually 1 to 12: more are slower and may be more accurate; 0: the scene alone predicts
    clips, see docs/decoding.md; None: the checkpoint's."""
    temperature: NotNegative | None = None
    """Temperature of the sampling; 0 takes the most probable tokens; None: the checkpoint's."""
    order: Order | None = None
    """Order in which tokens are revealed; None: the checkpoint's."""
    history: HistoryMode | None = None
    """`window` encodes the whole history at each step; `streaming` encodes each clip once, which is faster (see
    DecodingConfig); None: the checkpoint's."""
    precision: Precision = "float32"
    """Number type of the model's matrix products; `auto`: bfloat16 if the device has it in hardware, else float32."""
    strict: bool = False
    """Whether a row's results are equal to the bit whatever the size of its batch."""
    backend: Backend = "torch"
    """What computes: `torch`, or `openvino` (needs the engine extra), which is faster on CPUs, see WorldSimulator."""
    pictures: bool = True
    """Whether the learned world predicts pictures. False: only the carried pose and what follows from it, many
    times as fast; for a checkpoint with a scene, `obs_mode="state"`, and no task or one that uses read-outs."""
    max_episode_steps: Count | Literal[-1] | None = None
    """Env steps until truncation; None or -1: no limit. `gymnasium.make` does not pass on its argument of this name but
    wraps the environment in TimeLimit; vector environments, and environments made without it, apply this limit."""
    untrusted_above: Share | None = None
    """Truncates an episode when `info["error_probability"]` is above this, with `info["untrusted"]`; None: never."""
    render_mode: RenderMode | None = None
    """`rgb_array`: the last frame, 256 x 256; `rgb_array_list`: all frames since the last call; `human`: a window that
    plays all frames; None: nothing."""
    device: str | torch.device = "cpu"
    """Device of the model: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"; the reference world always runs
    on the CPU."""

    def check_together(self) -> None:
        """Raises InvalidInputError if the device is absent or a control is named twice."""
        if self.controls is not None and len(set(self.controls)) < len(self.controls):
            raise InvalidInputError(f"controls must be different names, got {short(self.controls)}")
        check_device(self.device)

    @property
    def step_limit(self) -> float:
        """Env steps until truncation; infinite without a limit."""
        return float("inf") if self.max_episode_steps in (None, -1) else self.max_episode_steps

    def make_simulator(self) -> WorldSimulator:
        """Makes the simulator that these arguments describe.

        Raises:
            InvalidInputError: decoding settings that the model does not support.
            CheckpointError: the checkpoint is unknown or damaged.
        """
        return simulator_of(self)


MODEL_ARGUMENTS: Final = (
    "checkpoint",
    "tokenizer",
    "decoding_steps",
    "temperature",
    "order",
    "history",
    "precision",
    "strict",
    "backend",
    "device",
)
"""Arguments that describe a simulator, here and in the config of the service."""


def simulator_of(config: object) -> WorldSimulator:
    """Makes the simulator that a config's MODEL_ARGUMENTS describe; see `EnvConfig.make_simulator`."""
    chosen = {name: getattr(config, name) for name in MODEL_ARGUMENTS}
    return WorldSimulator.from_pretrained(chosen.pop("checkpoint"), **chosen)
