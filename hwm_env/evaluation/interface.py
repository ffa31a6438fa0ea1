"""What a policy sees and sends."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwm_env.envs.config import ActionMode, ObsMode
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """The arguments of these names that a policy's environments are made with (see EnvConfig)."""

    obs_mode: ObsMode = "pixels"
    image_size: int | None = None
    num_frames: int = FRAMES_PER_CLIP
    action_mode: ActionMode = "chunk"
    normalized_actions: bool = False
    controls: Sequence[str] | None = None
