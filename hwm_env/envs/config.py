"""The arguments that all environments take."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import torch
from annotated_types import Ge, Le, Len
from pydantic import SkipValidation

from hwm_env.decoding.config import HistoryMode, Order
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError
from hwm_env.fields import ActionName, CheckedFields, Count, NotNegative, Share, short
from hwm_env.model.precision import Precision
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import Task
from hwm_env.tasks.function import RewardFunction
from hwm_env.tokenizers.tokens_only import TokensOnly
from hwm_env.types import FRAMES_PER_CLIP

ObsMode = Literal["pixels", "pixels_state", "state", "clip", "tokens", "latents"]
ActionMode = Literal["chunk", "hold", "delta"]
OutOfRange = Literal["clip", "refuse"]
RenderMode = Literal["rgb_array", "rgb_array_list", "human"]

_WITHOUT_FRAMES: Final = ("tokens", "latents", "state")

ImageSide = Annotated[int, Ge(16), Le(512)]
"""Pixels of an image in an observation."""
NumFrames = Annotated[int, Ge(1), Le(FRAMES_PER_CLIP)]
"""Of a clip that are shown."""
Controls = Annotated[Sequence[ActionName], Len(1)]
"""Names of the numbers that actions consist of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig(CheckedFields):
    """Arguments of `gymnasium.make("HWM-v0", ...)`, `make_vec`, and of the same in the reference world.

    In the reference world, those about the model's predictions have no meaning; they are taken so that a script runs in
    either world.
    """

    task: SkipValidation[str | Task | RewardFunction | None] = "drive-to-target"
    """Name of a task (see `hwm_env.tasks.registry`), a Task, a function of two moments that gives a reward (see
    `hwm_env.tasks.function`), or None for no reward."""
    obs_mode: ObsMode = "pixels"
    """What observations show."""
    image_size: ImageSide | None = None
    """Height and width of images in observations, in pixels, 16 to 512; None: as the world makes them."""
    num_frames: NumFrames = FRAMES_PER_CLIP
    """Frames of a `clip` observation, evenly spread over the 17 of a step; the last frame is always the last."""
    action_mode: ActionMode = "chunk"
    """What actions mean."""
    normalized_actions: bool = False
    """Whether actions are sent in [-1, 1] in place of physical units."""
    controls: Controls | None = None
    """Names (`hwm_env.types.ACTION_NAMES`) of the numbers that actions consist of, in this order; None: all 25. Of the
    others, joints and hands stay as they are, and velocities go to 0."""
    out_of_range: OutOfRange = "clip"
    """What happens to actions beyond those of the training data: clipped to them, or refused with an error."""
    checkpoint: str | Path = "room-64"
    """Name ("room-64" ships with the package), directory or Hugging Face id."""
    tokenizer: str | Path | None = None
    """Directory of the tokenizer, for a checkpoint that does not hold its own (Cosmos); None takes that of the
    environment variable HWM_TOKENIZER."""
    decoding_steps: Count | None = None
    """Passes of the model a clip (K), 1 to 12 are sensible: more are slower and may be truer; None: as in the
    checkpoint."""
    temperature: NotNegative | None = None
    """Of the sampling, 0 for the most probable tokens; None: as in the checkpoint."""
    order: Order | None = None
    """In which tokens are revealed; None: as in the checkpoint."""
    history: HistoryMode | None = None
    """`window` encodes the past anew at each step, `streaming` each clip once, which is faster (see DecodingConfig);
    None: as in the checkpoint."""
    precision: Precision = "float32"
    """Number type of the model's matrix products; `auto`: bfloat16 where the device has it in hardware, float32
    elsewhere."""
    strict: bool = False
    """Whether a world's results do not depend, to the bit, on how many others are computed with it."""
    tokens_only: bool = False
    """Whether nothing may decode frames: the fastest way to run, and an error where something would look at some."""
    max_episode_steps: Count | Literal[-1] | None = None
    """Env steps until truncation; None or -1: no limit. `gymnasium.make` keeps its argument of this name for itself and
    puts Gymnasium's TimeLimit around the environment; many worlds, and environments made without it, keep it here."""
    untrusted_above: Share | None = None
    """Truncates an episode when `info["error_probability"]` is above this, with `info["untrusted"]`; None: never."""
    render_mode: RenderMode | None = None
    """`rgb_array`: the last frame, 256 x 256; `rgb_array_list`: all frames since the last call; `human`: a window that
    plays all frames; None."""
    device: str | torch.device = "cpu"
    """Where the model runs, such as "cpu" or "cuda"; the reference world always runs on the CPU."""

    def check_together(self) -> None:
        """Raises InvalidInputError for a device that is not here, and naming arguments that do not fit each other."""
        if self.controls is not None and len(set(self.controls)) < len(self.controls):
            raise InvalidInputError(f"controls must be different names, got {short(self.controls)}")
        check_device(self.device)
        if self.tokens_only and (self.obs_mode not in _WITHOUT_FRAMES or self.render_mode is not None):
            raise InvalidInputError(
                "tokens_only decodes no frames: expected obs_mode 'tokens', 'latents' or 'state', and render_mode "
                f"None, got {self.obs_mode!r} and {self.render_mode!r}"
            )

    @property
    def step_limit(self) -> float:
        """Env steps until truncation; infinite without a limit."""
        return float("inf") if self.max_episode_steps in (None, -1) else self.max_episode_steps

    def make_simulator(self) -> WorldSimulator:
        """The simulator that these arguments describe.

        Raises:
            InvalidInputError: decoding settings that the model cannot have.
            CheckpointError: the checkpoint is unknown or damaged.
        """
        simulator = WorldSimulator.from_pretrained(
            self.checkpoint,
            device=self.device,
            tokenizer=self.tokenizer,
            decoding_steps=self.decoding_steps,
            temperature=self.temperature,
            order=self.order,
            history=self.history,
            precision=self.precision,
            strict=self.strict,
        )
        if self.tokens_only:
            simulator.tokenizer = TokensOnly(simulator.tokenizer)
        return simulator
