"""Estimates the memory and operations of a training run with a model without weights, before anything is allocated."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.precision import resolve_precision
from hwm_env.training.world_model.objective import ELEMENTS_AT_ONCE, SampleBatch, arrange, features_of
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP

BYTES_PER_NUMBER = 4
"""Size of a float32."""
PEAK_OVER_KEPT = 2.0
"""Peak memory of a step divided by what the forward pass keeps, since the backward pass holds gradients beside the
activations (1.9 in bfloat16 and in float32, tests/benchmarks/test_training.py)."""
MASKED_SHARE = 2 / torch.pi
"""Mean share of masked tokens: the mean of cos(r * pi / 2) over r ~ U(0, 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """The cost of training in one process; a multiplication and an addition are two operations."""

    parameters: int
    """Number of weights."""
    weight_bytes: int
    """Size of the weights, the gradients, and two copies of the averaged weights (one to update, one to validate)."""
    optimizer_bytes: int
    """Size of the optimizers' states: two numbers for each weight, which is more than Muon keeps."""
    activation_bytes: int
    """Size of what a micro-batch keeps for its gradients, and of the logits that exist at the same time."""
    step_flops: int
    """Operations of all micro-batches of a step, forwards and backwards."""

    @property
    def memory_bytes(self) -> int:
        """Approximate peak memory, without the library and the data."""
        return self.weight_bytes + self.optimizer_bytes + int(PEAK_OVER_KEPT * self.activation_bytes)


def training_cost(model_config: MaskedHWMConfig, config: TrainingConfig, device_type: str = "cpu") -> TrainingCost:
    """Computes the cost of training.

    Args:
        model_config: shape of the model.
        config: the recipe.
        device_type: type of the device to train on, since attention keeps other tensors on the CPU than on a GPU.
    """
    num_past, num_future = config.sample_clips(model_config)
    batch = config.micro_batch_size
    in_bfloat16 = resolve_precision(config.precision, device_type) == "bfloat16"
    backbone = _backbone(model_config, batch, num_past, num_future, config.parallel_targets, in_bfloat16, device_type)
    activation_bytes, backbone_flops = backbone.kept_bytes, backbone.flops
    if config.checkpoint_activations:
        of_block_input = batch * backbone.num_clips * (model_config.num_positions + 1) * model_config.width
        activation_bytes = activation_bytes // model_config.num_layers + (
            model_config.num_layers * of_block_input * BYTES_PER_NUMBER
        )
        backbone_flops = backbone_flops * 4 // 3
    outputs = sum(model_config.head_levels)
    hidden = int(backbone.num_targets * MASKED_SHARE)
    is_sliced = hidden * outputs > ELEMENTS_AT_ONCE
    head_flops = (8 if is_sliced else 6) * hidden * model_config.width * outputs
    # The logits of a slice, their softmax and its gradient.
    activation_bytes += 3 * BYTES_PER_NUMBER * min(hidden * outputs, ELEMENTS_AT_ONCE)
    return TrainingCost(
        parameters=backbone.parameters,
        weight_bytes=4 * BYTES_PER_NUMBER * backbone.parameters,
        optimizer_bytes=2 * BYTES_PER_NUMBER * backbone.parameters,
        activation_bytes=activation_bytes,
        step_flops=(backbone_flops + head_flops) * (config.batch_size // batch),
    )


class _Backbone(NamedTuple):
    """What a model without its head needs for a micro-batch."""

    parameters: int
    """Number of weights, those of the head included."""
    kept_bytes: int
    """Size of what the forward pass keeps for the gradients."""
    flops: int
    """Operations forwards and backwards."""
    num_clips: int
    """Clips of a sample, with all of its targets."""
    num_targets: int
    """Tokens that may be hidden."""


@cache
def _backbone(
    model_config: MaskedHWMConfig,
    batch: int,
    num_past: int,
    num_future: int,
    parallel_targets: bool,
    in_bfloat16: bool,
    device_type: str,
) -> _Backbone:
    """Computes a micro-batch forwards on tensors without content, which takes up to a second.

    The backward pass has two products for each of the forward pass.
    """
    with FakeTensorMode(), torch.device(device_type):
        model = MaskedHWM(model_config)
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage.nbytes()
            return tensor

        scene_inputs = None
        if model_config.scene_width > 0:
            clips = num_past + num_future
            scene_inputs = torch.empty(batch, clips, model_config.num_positions, model_config.scene_width)
        samples = _samples(model_config, batch, num_past, num_future)
        targets = arrange(model, samples, parallel_targets=parallel_targets, scene_BTSC=scene_inputs)
        with (
            FlopCounterMode(display=False) as counter,
            saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast(device_type, torch.bfloat16, enabled=in_bfloat16),
        ):
            features_of(model, targets, parallel_targets=parallel_targets)
        return _Backbone(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            kept_bytes=sum(saved.values()),
            flops=3 * counter.get_total_flops(),
            num_clips=targets.past.shape[1] + targets.future.shape[1],
            num_targets=targets.tokens.numel(),
        )


def _samples(model_config: MaskedHWMConfig, batch: int, num_past: int, num_future: int) -> SampleBatch:
    """Returns a micro-batch without content."""

    def tokens(clips: int) -> Tensor:
        return torch.empty(batch, clips, LATENTS_PER_CLIP, *model_config.grid_size, dtype=torch.int32)

    return SampleBatch(
        video_past=tokens(num_past),
        video_future=tokens(num_future),
        actions_past=torch.empty(batch, FRAMES_PER_CLIP * num_past, ACTION_DIM),
        actions_future=torch.empty(batch, FRAMES_PER_CLIP * num_future, ACTION_DIM),
    )
