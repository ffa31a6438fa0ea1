"""When things happen: the places in time of temporal attention, for the mask, the rotations and the embeddings."""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import LATENTS_PER_CLIP


class Timeline(NamedTuple):
    """Places in time of video and of its actions, past ones first; N of them: clips, or the latents of clips."""

    clips: Tensor
    """int [N]: the clip time that the mask goes by."""
    video_positions: Tensor
    """int [N] or [B, N]: rotary positions of video."""
    action_positions: Tensor
    """int [N] or [B, N]: rotary positions of actions."""
    slots: Tensor
    """int [N]: places in the window, for the learned position embedding."""
    num_past: int
    """How many of them are past."""

    def span(self, start: int, stop: int) -> "Timeline":
        """The places from `start` up to `stop`."""
        return Timeline(
            self.clips[start:stop],
            self.video_positions[..., start:stop],
            self.action_positions[..., start:stop],
            self.slots[start:stop],
            min(max(self.num_past - start, 0), stop - start),
        )

    def before(self, steps: int, *, follows: bool) -> Tensor:
        """The place before each place: int [N], counted as in `place_before`. Before the very first is itself.

        Args:
            steps: places a clip.
            follows: whether the places follow others, of which the last is counted as place 0.
        """
        places = torch.arange(len(self.clips), device=self.clips.device)
        if follows:
            return places
        # Of parallel targets, each follows the clean clip before it and not the target before it.
        moments = self.clips * steps
        is_parallel = (places % steps == 0) & (moments <= self.num_past)
        return (torch.where(is_parallel, moments, places) - 1).clamp(min=0)


def timeline_of_clips(config: MaskedHWMConfig, num_past: int, future_times: Tensor) -> Timeline:
    """The timeline of whole clips.

    Args:
        config: of the model.
        num_past: past clips; their times are 0 to num_past - 1.
        future_times: int [T_f], clip times of the future clips.
    """
    steps = config.steps_per_clip
    within = torch.arange(steps, device=future_times.device)
    times = torch.cat([torch.arange(num_past, device=future_times.device), future_times])
    moments = (times[:, None] * steps + within).flatten()
    video = actions = moments
    if config.temporal_positions == "concat":
        video = torch.arange(len(moments), device=moments.device)
        actions = video + len(moments)
    # A short history is the newest part of the window.
    slots = moments + (config.num_past_clips - num_past) * steps
    return Timeline(times.repeat_interleave(steps), video, actions, slots, num_past * steps)


def timeline_within_clip(config: MaskedHWMConfig, device: torch.device) -> Timeline:
    """The timeline of a clip whose first `past_latents` latents are the past, and whose others are the future."""
    assert config.past_latents is not None, "this model's past and future are whole clips"
    latents = torch.arange(LATENTS_PER_CLIP, device=device)
    is_future = (latents >= config.past_latents).long()
    actions = latents + LATENTS_PER_CLIP if config.temporal_positions == "concat" else latents
    return Timeline(is_future, latents, actions, latents, config.past_latents)
