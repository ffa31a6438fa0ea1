"""Checks of what a masked world model is asked for, against its configuration."""

from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, FRAMES_PER_LATENT, LATENTS_PER_CLIP


def check_clips(config: MaskedHWMConfig, v_p: Tensor, v_f: Tensor, a_p: Tensor, a_f: Tensor) -> None:
    """Checks the shapes of past and future, see `MaskedHWM.forward`.

    Raises:
        InvalidInputError: a shape does not fit the others or the configuration.
    """
    past_latents = LATENTS_PER_CLIP if config.past_latents is None else config.past_latents
    first_frame = 0 if config.past_latents is None else sum(FRAMES_PER_LATENT[: config.past_latents])
    for name, video, actions, latents, frames, limit in (
        ("past", v_p, a_p, past_latents, first_frame or FRAMES_PER_CLIP, config.num_past_clips),
        ("future", v_f, a_f, config.future_latents, FRAMES_PER_CLIP - first_frame, config.num_future_clips),
    ):
        expected = (len(v_p), latents, video.shape[2] if video.ndim == 5 else "T", *config.grid_size)
        if tuple(video.shape) != expected:
            raise InvalidInputError(f"{name} video must have shape {expected}, got {tuple(video.shape)}")
        wanted = (len(v_p), frames * video.shape[2], ACTION_DIM)
        if tuple(actions.shape) != wanted:
            raise InvalidInputError(f"{name} actions must have shape {wanted}, got {tuple(actions.shape)}")
        if not 1 <= video.shape[2] <= limit:
            raise InvalidInputError(
                f"the {name} must have 1 to {limit} clips (num_{name}_clips), got {video.shape[2]}; leave out "
                f"{'the oldest' if name == 'past' else 'the last'} ones"
            )


def check_scene_inputs(config: MaskedHWMConfig, scene_BTSC: Tensor | None, batch: int, clips: int) -> None:
    """Checks that scene inputs are given exactly if the model reads them, and their shape.

    Raises:
        InvalidInputError: they are missing, not read, or of another shape.
    """
    if config.scene_width == 0:
        if scene_BTSC is not None:
            raise InvalidInputError(
                f"scene inputs must be None for a model with scene_width 0, got shape {tuple(scene_BTSC.shape)}; "
                "leave them out"
            )
        return
    expected = (batch, clips, config.num_positions, config.scene_width)
    given = None if scene_BTSC is None else tuple(scene_BTSC.shape)
    if given != expected:
        raise InvalidInputError(
            f"scene inputs of past and future clips must have shape {expected} for a model with scene_width "
            f"{config.scene_width}, got {given}; compute them with Scene.inputs"
        )


def check_parallel_targets(config: MaskedHWMConfig) -> None:
    """Checks that each future clip can be a target of its own.

    Raises:
        InvalidInputError: a target depends on the clips around it.
    """
    # In a fixed window, a target's place depends on the number of clips before it.
    if (config.temporal_mask, config.temporal_positions, config.position_embedding) != ("clip_causal", "time", "grid"):
        raise InvalidInputError(
            "parallel targets need temporal_mask 'clip_causal', temporal_positions 'time' and position_embedding "
            f"'grid', got {config.temporal_mask!r}, {config.temporal_positions!r} and "
            f"{config.position_embedding!r}; predict with parallel_targets=False"
        )


def check_encoding(config: MaskedHWMConfig) -> None:
    """Checks that the past can be encoded without the future.

    Raises:
        InvalidInputError: the past of this model depends on the future.
    """
    if config.temporal_mask == "bidirectional" or config.past_latents is not None:
        raise InvalidInputError(
            "encoding a history needs temporal_mask 'clip_causal' and past_latents None, got "
            f"{config.temporal_mask!r} and {config.past_latents}; use future_features, which takes past and future"
        )
