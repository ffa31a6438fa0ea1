"""Presets against closed forms of their size, and against their descriptions."""

from dataclasses import asdict, replace

import pytest
import torch

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import (
    MASKED_HWM_FULL,
    MASKED_HWM_FULL_FAST,
    MASKED_HWM_FULL_PATCH,
    MASKED_HWM_FULL_SHARED,
    MASKED_HWM_FULL_UNSHARED,
    MASKED_HWM_PAPER,
    MODEL_PRESETS,
    ROOM_64,
    TINY,
)


def build(config: MaskedHWMConfig) -> MaskedHWM:
    """Returns a model with shapes and no memory."""
    with torch.device("meta"):
        return MaskedHWM(config)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def changes(config: MaskedHWMConfig, base: MaskedHWMConfig) -> dict[str, object]:
    other = asdict(base)
    return {field: value for field, value in asdict(config).items() if value != other[field]}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_every_preset_can_be_built(name: str) -> None:
    assert build(MODEL_PRESETS[name]).config == MODEL_PRESETS[name]


def block_size(width: int, mlp: int, *, shared: bool, last: bool) -> int:
    """QKV without bias; an output projection and two-layer MLPs with; three norms. The last block has one MLP."""
    attention = 3 * width * width + width * width + width
    a_mlp = width * mlp + mlp + mlp * width + width
    copies = 1 if shared else 2
    mlps = 1 if last else 2 * copies
    return copies * attention + attention + mlps * a_mlp + 3 * 2 * width


def test_the_full_size_model_has_the_parameters_of_its_closed_form() -> None:
    width, mlp, vocabulary, positions = 512, 2048, 65_536, 32 * 32
    tables = 3 * (vocabulary + 1) * width
    heads = 3 * (vocabulary * width + vocabulary)
    blocks = sum(block_size(width, mlp, shared=layer >= 4, last=layer == 23) for layer in range(24))
    actions = 25 * width + width + width * width + width
    embeddings = actions + positions * width + 4 * width
    model = build(MASKED_HWM_FULL)
    assert count(model.tokens) == tables
    assert count(model.head) == heads
    assert count(model.blocks) == blocks
    assert count(model) == tables + heads + blocks + embeddings + 2 * width
    assert tables + heads == pytest.approx(201.5e6, rel=0.002)
    assert count(model) == pytest.approx(375e6, rel=0.02)


def test_the_sharing_ablations_differ_in_sharing_only() -> None:
    assert changes(MASKED_HWM_FULL_UNSHARED, MASKED_HWM_FULL) == {"shared_layers_start": 24}
    assert changes(MASKED_HWM_FULL_SHARED, MASKED_HWM_FULL) == {"shared_layers_start": 0}
    blocks = {
        start: sum(block_size(512, 2048, shared=layer >= start, last=layer == 23) for layer in range(24))
        for start in (0, 24)
    }
    assert count(build(MASKED_HWM_FULL_SHARED).blocks) == blocks[0]
    assert count(build(MASKED_HWM_FULL_UNSHARED).blocks) == blocks[24]


def test_the_full_size_model_is_the_one_first_described() -> None:
    config = MASKED_HWM_FULL
    assert (config.num_layers, config.num_heads, config.width, config.mlp_width) == (24, 8, 512, 2048)
    assert (config.grid_size, config.codebook_size, config.num_past_clips) == ((32, 32), 65_536, 9)
    assert (config.shared_layers_start, config.temporal_scope, config.latent_layout) == (4, "pooled", "stacked")
    assert (config.token_embedding, config.codebook_head, config.action_injection) == ("table", "joint", "attention")
    assert changes(MASKED_HWM_FULL_PATCH, config) == {"temporal_scope": "patch"}


def test_the_papers_setting_completes_a_clip() -> None:
    assert changes(MASKED_HWM_PAPER, MASKED_HWM_FULL_PATCH) == {
        "num_past_clips": 1,
        "num_future_clips": 1,
        "past_latents": 2,
        "latent_layout": "sequential",
    }
    assert build(MASKED_HWM_PAPER).head.num_latents == 1


def test_the_fast_model_has_no_tables_and_small_heads() -> None:
    config = MASKED_HWM_FULL_FAST
    assert (config.codebook_size, sum(config.head_levels)) == (64_000, 39)
    assert (config.num_layers, config.width, config.grid_size) == (24, 512, (32, 32))
    model = build(config)
    assert count(model.tokens) + count(model.head) < 2e6


def test_the_shipped_model_is_small_and_looks_back() -> None:
    assert replace(MaskedHWMConfig(), spatial_lookback=True) == ROOM_64
    assert count(build(ROOM_64)) < 6e6


def test_the_model_of_the_tests_has_shared_and_unshared_layers() -> None:
    assert 0 < TINY.shared_layers_start < TINY.num_layers
    assert min(TINY.grid_size) > 1
    assert TINY.grid_size[0] != TINY.grid_size[1]
