"""The fields of `EnvConfig` as keyword arguments, for editors and type checkers."""

from pathlib import Path
from typing import Literal, TypedDict

import torch

from hwm_env.decoding.config import HistoryMode, Order
from hwm_env.engine.base import Backend
from hwm_env.envs.config import ActionMode, Controls, ObsMode, OutOfRange, RenderMode
from hwm_env.model.precision import Precision
from hwm_env.tasks.base import Task
from hwm_env.tasks.function import RewardFunction


class EnvArguments(TypedDict, total=False):
    """Keyword arguments of the environments; `EnvConfig` has their meanings, limits and defaults."""

    obs_mode: ObsMode
    image_size: int | None
    num_frames: int
    action_mode: ActionMode
    normalized_actions: bool
    controls: Controls | None
    task: str | Task | RewardFunction | None
    out_of_range: OutOfRange
    checkpoint: str | Path
    tokenizer: str | Path | None
    decoding_steps: int | None
    temperature: float | None
    order: Order | None
    history: HistoryMode | None
    precision: Precision
    strict: bool
    backend: Backend
    pictures: bool
    max_episode_steps: int | Literal[-1] | None
    untrusted_above: float | None
    render_mode: RenderMode | None
    device: str | torch.device
