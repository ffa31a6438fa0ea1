"""Estimates, compared with the memory and operations of a real model."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.training.world_model.estimate import BYTES_PER_NUMBER, MASKED_SHARE, training_cost
from hwm_env.training.world_model.objective import MaskedModelling, SampleBatch, arrange, draw_targets
from hwm_env.training.world_model.recipe import TWO_CORES, TrainingConfig

pytestmark = pytest.mark.slow

RECIPE = replace(TWO_CORES, batch_size=4, micro_batch_size=2, precision="float32", own_predictions=0.0)
WIDE = replace(TINY, width=32, mlp_width=128, grid_size=(4, 4), num_past_clips=3, num_layers=3)


def measured(model_config: MaskedHWMConfig, config: TrainingConfig) -> tuple[int, int]:
    """Returns the bytes that autograd keeps for one micro-batch, and the operations of its passes, on real tensors."""
    model = MaskedHWM(model_config, torch.Generator().manual_seed(0))
    model.checkpoint_activations = config.checkpoint_activations
    past, future = config.sample_clips(model_config)
    generator = torch.Generator().manual_seed(0)
    shape = (3, *model_config.grid_size)
    batch = SampleBatch(
        video_past=torch.randint(12, (2, past, *shape), generator=generator),
        video_future=torch.randint(12, (2, future, *shape), generator=generator),
        actions_past=torch.randn(2, 17 * past, 25, generator=generator),
        actions_future=torch.randn(2, 17 * future, 25, generator=generator),
    )
    targets = draw_targets(
        arrange(model, batch, parallel_targets=config.parallel_targets), torch.tensor([1, 2]), 12, 0.2
    )
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = MaskedModelling(model, parallel_targets=config.parallel_targets)(targets).loss.sum()
        loss.backward()
    return sum(kept.values()), counter.get_total_flops()


def test_auto_costs_what_it_comes_to(fast_bfloat16: Callable[[bool], None]) -> None:
    model = replace(WIDE, num_layers=1)
    named = {name: training_cost(model, replace(RECIPE, precision=name)) for name in ("float32", "bfloat16")}
    assert named["float32"].activation_bytes != named["bfloat16"].activation_bytes
    for is_fast, expected in ((True, "bfloat16"), (False, "float32")):
        fast_bfloat16(is_fast)
        assert training_cost(model, replace(RECIPE, precision="auto")) == named[expected]


@pytest.mark.parametrize(
    "changes", [{}, {"parallel_targets": False, "future_clips": 2}], ids=["parallel targets", "single targets"]
)
def test_memory_and_operations_are_those_of_a_real_step(changes: dict[str, object]) -> None:
    config = replace(RECIPE, **changes)  # type: ignore[arg-type]
    cost = training_cost(WIDE, config)
    kept, operations = measured(WIDE, config)
    assert cost.activation_bytes == pytest.approx(kept, rel=0.15)
    # The number of hidden tokens differs from its mean.
    assert cost.step_flops == pytest.approx(2 * operations, rel=0.05)
    parameters = sum(parameter.numel() for parameter in MaskedHWM(WIDE).parameters())
    assert cost.parameters == parameters
    assert cost.weight_bytes + cost.optimizer_bytes == 6 * BYTES_PER_NUMBER * parameters


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_layout": "sequential", "past_latents": 2, "num_past_clips": 1, "num_future_clips": 1},
        {"latent_layout": "sequential", "action_pooling": "mean"},
        {"temporal_mask": "bidirectional", "temporal_positions": "concat", "position_embedding": "window"},
        {"temporal_scope": "pooled", "token_embedding": "table", "codebook_head": "joint", "spatial_mlp": True},
    ],
    ids=str,
)
def test_every_kind_of_model_can_be_counted(changes: dict[str, object]) -> None:
    model_config = replace(WIDE, fsq_levels=(4, 3), **changes)  # type: ignore[arg-type]
    config = replace(RECIPE, parallel_targets=False)
    kept, operations = measured(model_config, config)
    cost = training_cost(model_config, config)
    assert cost.activation_bytes == pytest.approx(kept, rel=0.15)
    assert cost.step_flops == pytest.approx(2 * operations, rel=0.1)


def test_running_blocks_again_costs_a_third_more_and_keeps_little() -> None:
    deep = replace(WIDE, num_layers=6)
    plain, again = (training_cost(deep, replace(RECIPE, checkpoint_activations=flag)) for flag in (False, True))
    _, operations = measured(deep, replace(RECIPE, checkpoint_activations=True))
    assert again.step_flops == pytest.approx(2 * operations, rel=0.05)
    assert again.activation_bytes < plain.activation_bytes / 3


def test_a_large_head_costs_what_its_products_cost() -> None:
    """Three products for each hidden token, of a multiplication and an addition each; no memory is allocated."""
    small, large = (
        training_cost(replace(WIDE, codebook_head="joint", token_embedding="table", fsq_levels=(codes,)), RECIPE)
        for codes in (1000, 65_536)
    )
    hidden = int(2 * 3 * 3 * 16 * MASKED_SHARE)  # Two samples, three targets, three latents, 16 positions.
    expected = 2 * 6 * hidden * 32 * (65_536 - 1000)
    assert large.step_flops - small.step_flops == pytest.approx(expected, rel=0.02)
