"""What a policy sees and sends."""

from dataclasses import dataclass

from hwm_env.envs.config import ActionMode, Controls, ImageSide, NumFrames, ObsMode
from hwm_env.fields import CheckedFields
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface(CheckedFields):
    """The arguments of these names that a policy's environments are made with (see EnvConfig)."""

    obs_mode: ObsMode = "pixels"
    image_size: ImageSide | None = None
    num_frames: NumFrames = FRAMES_PER_CLIP
    action_mode: ActionMode = "chunk"
    normalized_actions: bool = False
    controls: Controls | None = None
