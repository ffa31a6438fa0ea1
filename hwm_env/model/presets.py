"""Named model configurations."""

from dataclasses import replace

from hwm_env.model.config import MaskedHWMConfig

ROOM_64 = MaskedHWMConfig(spatial_lookback=True)
"""The model of the checkpoint that comes with the package; it trains on two CPU cores."""

TINY = replace(
    ROOM_64,
    num_layers=2,
    num_heads=2,
    width=16,
    mlp_width=32,
    shared_layers_start=1,
    grid_size=(2, 3),
    fsq_levels=(4, 3),
)
"""For tests: uses every mechanism of the model and runs in milliseconds."""

MASKED_HWM_FULL = replace(
    ROOM_64,
    num_layers=24,
    num_heads=8,
    width=512,
    mlp_width=2048,
    shared_layers_start=4,
    grid_size=(32, 32),
    fsq_levels=(65536,),
    rope_base=10_000.0,
    temporal_scope="pooled",
    action_pooling="mean",
    action_injection="attention",
    token_embedding="table",
    codebook_head="joint",
    spatial_lookback=False,
)
"""The full-size design as first described: temporal attention on pooled video."""

MASKED_HWM_FULL_PATCH = replace(MASKED_HWM_FULL, temporal_scope="patch")
"""Full size, with temporal attention at every grid position."""

MASKED_HWM_FULL_UNSHARED = replace(MASKED_HWM_FULL, shared_layers_start=MASKED_HWM_FULL.num_layers)
"""Sharing ablation: past and future have separate weights in every layer."""

MASKED_HWM_FULL_SHARED = replace(MASKED_HWM_FULL, shared_layers_start=0)
"""Sharing ablation: past and future share their weights in every layer."""

MASKED_HWM_PAPER = replace(
    MASKED_HWM_FULL_PATCH,
    num_past_clips=1,
    num_future_clips=1,
    past_latents=2,
    latent_layout="sequential",
)
"""The task of arXiv 2506.01182: the first 9 frames of a clip are known, its last 8 are predicted."""

MASKED_HWM_FULL_FAST = replace(
    MASKED_HWM_FULL_PATCH,
    fsq_levels=(8, 8, 8, 5, 5, 5),
    action_injection="adaln",
    token_embedding="code",
    codebook_head="factored",
)
"""Full size without joint tables and heads: tokens are embedded and predicted as digits of Cosmos's 64,000 codes."""

MODEL_PRESETS = {
    "room-64": ROOM_64,
    "tiny": TINY,
    "masked_hwm_full": MASKED_HWM_FULL,
    "masked_hwm_full_patch": MASKED_HWM_FULL_PATCH,
    "masked_hwm_full_unshared": MASKED_HWM_FULL_UNSHARED,
    "masked_hwm_full_shared": MASKED_HWM_FULL_SHARED,
    "masked_hwm_paper": MASKED_HWM_PAPER,
    "masked_hwm_full_fast": MASKED_HWM_FULL_FAST,
}
"""All model presets by name."""
