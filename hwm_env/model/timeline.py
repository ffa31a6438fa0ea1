"""The places in time of temporal attention, for the mask, the rotary positions and the embeddings."""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import LATENTS_PER_CLIP


class Timeline(NamedTuple):
    """N places in time (clips, or the latents of clips), past ones first."""

    clips: Tensor
    """int [N]: clip times, which the mask follows."""
    video_positions: Tensor
    """int [N] or [B, N]: rotary positions of video."""
    action_positions: Tensor
    """int [N] or [B, N]: rotary positions of actions."""
    slots: Tensor
    """int [N]: indices in the window, for the learned position embedding."""
    num_past: int
    """How many of the places are past."""

    def span(self, start: int, stop: int) -> "Timeline":
        """Returns the places from `start` up to, but not including, `stop`."""
        return Timeline(
            self.clips[start:stop],
            self.video_positions[..., start:stop],
            self.action_positions[..., start:stop],
            self.slots[start:stop],
            min(max(self.num_past - start, 0), stop - start),
        )

    def before(self, steps: int, *, follows: bool) -> Tensor:
        """Returns the place before each place, int [N]; the first place of all precedes itself.

        Args:
            steps: places per clip.
            follows: whether the places follow earlier ones, of which the last counts as place 0.
        """
        places = torch.arange(len(self.clips), device=self.clips.device)
        if follows:
            return places
        # A parallel target follows the past clip before it, not the target before it.
        moments = self.clips * steps
        is_parallel = (places % steps == 0) & (moments <= self.num_past)
        return (torch.where(is_parallel, moments, places) - 1).clamp(min=0)


def timeline_of_clips(config: MaskedHWMConfig, num_past: int, future_times: Tensor) -> Timeline:
    """Builds the timeline of whole clips.

    Args:
        config: of the model.
        num_past: number of past clips; their times are 0 to num_past - 1.
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
    """Builds the timeline of one clip, whose first `past_latents` latents are the past and whose others the future."""
    assert config.past_latents is not None, "this model's past and future are whole clips"
    latents = torch.arange(LATENTS_PER_CLIP, device=device)
    is_future = (latents >= config.past_latents).long()
    actions = latents + LATENTS_PER_CLIP if config.temporal_positions == "concat" else latents
    return Timeline(is_future, latents, actions, latents, config.past_latents)
