"""Combinations of the design options, at a size at which a pass takes milliseconds."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import torch

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from tests.combinations import Cover, all_combinations
from tests.model.inputs import awake

SMALL = replace(TINY, num_past_clips=4, num_future_clips=3, mlp_width=24)

FAMILY_OPTIONS: dict[str, tuple[Any, ...]] = {
    "temporal_scope": ("patch", "pooled"),
    "temporal_mask": ("clip_causal", "bidirectional"),
    "temporal_positions": ("time", "concat"),
    "latent_layout": ("stacked", "sequential"),
}
MEMBER_OPTIONS: dict[str, tuple[Any, ...]] = {
    "position_embedding": ("grid", "window"),
    "stream_type_embedding": (True, False),
    "action_pooling": ("mean", "chunk"),
    "action_injection": ("attention", "adaln"),
    "token_embedding": ("table", "code"),
    "codebook_head": ("joint", "factored"),
    "spatial_mlp": (False, True),
}
OPTIONS = FAMILY_OPTIONS | MEMBER_OPTIONS
RARE_OPTIONS: dict[str, tuple[Any, ...]] = {
    "spatial_lookback": (False, True),
    "temporal_stream_embedding": (False, True),
    "qkv_bias": (False, True),
    "rope_base": (SMALL.rope_base, None),
}
SHARING = [
    {"shared_layers_start": start, "share_mlps": share}
    for start, share in ((0, True), (0, False), (1, True), (1, False), (2, True))
]

Family = tuple[str, ...]
"""A value for each of FAMILY_OPTIONS."""
FAMILIES: list[Family] = list(product(*FAMILY_OPTIONS.values()))


def combinations(
    options: dict[str, tuple[Any, ...]], cover: Cover = all_combinations, **fixed: object
) -> Iterator[MaskedHWMConfig]:
    """Yields combinations of some options, by default every one, together with `fixed` ones.

    The rest, sharing and RARE_OPTIONS vary pseudo-randomly.
    """
    for chosen in cover(options):
        given = fixed | chosen
        random = Random(repr(given))
        others = {field: random.choice(choices) for field, choices in OPTIONS.items() if field not in given}
        sharing = random.choice(SHARING)
        rare = {field: random.choice(choices) for field, choices in RARE_OPTIONS.items()}
        yield replace(SMALL, **(others | sharing | rare | given))


def members(family: Family, cover: Cover) -> Iterator[MaskedHWMConfig]:
    """Yields combinations of the other options."""
    return combinations(MEMBER_OPTIONS, cover, **dict(zip(FAMILY_OPTIONS, family, strict=True)))


def example(config: MaskedHWMConfig) -> MaskedHWM:
    """Returns a model whose parameters all have an effect, in float64, so that equal computations agree closely."""
    return awake(MaskedHWM(config, torch.Generator().manual_seed(0))).double()


def named(model: MaskedHWM) -> str:
    """Returns the options of a model, for the message of an assertion."""
    fields = (*OPTIONS, *SHARING[0], "past_latents", *RARE_OPTIONS)
    return ", ".join(f"{field}={getattr(model.config, field)!r}" for field in fields)
