"""Counted costs against sums by hand."""

import math
from dataclasses import replace

import pytest

from hwm_env.model.cost import cost_of, table
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import MASKED_HWM_FULL_PATCH, TINY

LAYERS, WIDTH, HIDDEN, HEADS = 2, 16, 32, 2
GRID, LATENTS, CODES, CLIPS = 6, 3, 12, 9
PLAIN = replace(
    TINY,
    token_embedding="table",
    codebook_head="joint",
    action_injection="attention",
    action_pooling="mean",
    spatial_lookback=False,
)


def test_operations_of_a_decoding_pass_are_those_of_its_matrix_products() -> None:
    linear = GRID * (8 * WIDTH**2 + 2 * WIDTH * HIDDEN)  # spatial and temporal QKV and output, the MLP
    spatial = 2 * GRID**2 * WIDTH
    actions_embedding = 0  # prepared once a clip
    keys = 2 * (CLIPS + 1)  # video and actions, past and own
    # Video gathers in both layers, actions in the first only: scores, and the values that they weight.
    temporal = 2 * GRID * keys * WIDTH
    in_actions = 4 * WIDTH**2 + 2 * WIDTH * HIDDEN + temporal
    last_actions = 3 * WIDTH**2  # QKV: the last block's actions are attended to, but gather nothing
    products = LAYERS * (linear + spatial + temporal) + in_actions + last_actions + actions_embedding
    assert cost_of(PLAIN).pass_flops == 2 * products
    # With lookback, each grid also attends to the one before, and is projected to keys and values for the next.
    looked_back = LAYERS * (2 * GRID**2 * WIDTH + 2 * GRID * WIDTH**2)
    assert cost_of(replace(PLAIN, spatial_lookback=True)).pass_flops == 2 * (products + looked_back)


def test_operations_of_the_head_and_numbers_of_a_history() -> None:
    cost = cost_of(PLAIN)
    assert cost.head_flops == 2 * LATENTS * GRID * WIDTH * CODES
    assert cost.head_parameters == LATENTS * (WIDTH + 1) * CODES
    assert cost.history_bytes == 4 * LAYERS * CLIPS * 2 * (GRID + 1) * WIDTH
    grids = 4 * LAYERS * CLIPS * 2 * GRID * WIDTH
    assert cost_of(replace(PLAIN, spatial_lookback=True)).history_bytes == cost.history_bytes + grids


def test_parameters_add_up() -> None:
    model = MaskedHWM(TINY)
    assert cost_of(TINY).parameters == sum(math.prod(parameter.shape) for parameter in model.parameters())


@pytest.mark.slow
def test_joint_tables_and_heads_of_the_full_size() -> None:
    """Each latent has a table of V + 1 vectors and a head with biases."""
    cost = cost_of(replace(MASKED_HWM_FULL_PATCH, num_layers=4))
    assert cost.head_parameters == 3 * 65_536 * 513
    assert 0 <= cost.embedding_parameters - 3 * 65_537 * 512 < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"temporal_mask": "bidirectional"}, {"latent_layout": "sequential"}])
def test_without_a_history_every_pass_costs_all_clips(options: dict[str, str]) -> None:
    cost = cost_of(replace(PLAIN, **options))
    assert (cost.history_flops == 0) == ("temporal_mask" in options)
    assert cost.pass_flops > 2.5 * cost_of(PLAIN).pass_flops


def test_the_table_has_one_line_per_preset() -> None:
    lines = table({"one": TINY, "other": PLAIN}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`one`", "`other`"]
