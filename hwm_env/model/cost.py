"""Counts the parameters, operations and memory of a configuration, on a model without weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, FRAMES_PER_LATENT, LATENTS_PER_CLIP

R = TypeVar("R")

BYTES_PER_NUMBER = 4
"""Bytes of a float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Cost of a model and of simulating one episode with it; a multiply-add counts as two operations."""

    backbone_parameters: int
    """Parameters of the blocks and the last norm."""
    embedding_parameters: int
    """Parameters of token, action, position and stream embeddings."""
    head_parameters: int
    """Parameters of the head."""
    history_flops: int
    """Operations to encode a full history; 0 if the past cannot be encoded without the future."""
    pass_flops: int
    """Operations of one of the K decoding steps of a clip, without the head: over that clip alone with an encoded
    history, else over past and future together."""
    head_flops: int
    """Operations of the head at all tokens of a clip."""
    history_bytes: int
    """Memory of a full history's keys and values in float32."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return self.backbone_parameters + self.embedding_parameters + self.head_parameters

    @property
    def weight_bytes(self) -> int:
        """Memory of all weights in float32."""
        return BYTES_PER_NUMBER * self.parameters


@torch.no_grad()
def cost_of(config: MaskedHWMConfig) -> Cost:
    """Counts the cost of a configuration at batch size 1."""
    with torch.device("meta"):
        model = MaskedHWM(config)
        history, history_flops = None, 0
        if config.temporal_mask == "clip_causal" and config.past_latents is None:
            tokens, a_p = _clips(config, config.num_past_clips)
            scene_p = _scene_inputs(config, config.num_past_clips)
            history, history_flops = _counted(lambda: model.encode_history(tokens, a_p, scene_p=scene_p))
        features, pass_flops = _counted(_pass(model, history))
        _, head_flops = _counted(lambda: model.head(features))
    backbone = _size(model.blocks.parameters()) + _size(model.norm.parameters())
    heads = _size(model.head.parameters())
    return Cost(
        backbone_parameters=backbone,
        embedding_parameters=_size(model.parameters()) - backbone - heads,
        head_parameters=heads,
        history_flops=history_flops,
        pass_flops=pass_flops,
        head_flops=head_flops,
        history_bytes=0 if history is None else BYTES_PER_NUMBER * sum(_size(clip) for clip in history.clips),
    )


def table(configs: dict[str, MaskedHWMConfig]) -> str:
    """Returns the costs of several configurations as a Markdown table."""
    lines = [
        "| preset | parameters | backbone | embeddings | heads | GFLOP: history | a pass | head, all tokens "
        "| GB: weights | history |",
        "|" + " --- |" * 10,
    ]
    for name, config in configs.items():
        cost = cost_of(config)
        millions = (cost.parameters, cost.backbone_parameters, cost.embedding_parameters, cost.head_parameters)
        giga = (cost.history_flops, cost.pass_flops, cost.head_flops, cost.weight_bytes, cost.history_bytes)
        cells = [f"{number / 1e6:.2f} M" for number in millions] + [_three_digits(number / 1e9) for number in giga]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pass(model: MaskedHWM, history: EncodedHistory | None) -> Callable[[], Tensor]:
    """Prepares a decoding step and returns the function that runs it."""
    config = model.config
    tokens, a_f = _clips(config, 1)
    scene_f = _scene_inputs(config, 1)
    if history is not None:
        next_context = model.prepare_next(history, a_f.unsqueeze(1), scene_BTSC=scene_f)
        return lambda: model.next_features(next_context, tokens)[0].unsqueeze(1)
    past, a_p = _clips(config, config.num_past_clips)
    if config.past_latents is not None:
        known_frames = sum(FRAMES_PER_LATENT[: config.past_latents])
        past, tokens = tokens.split([config.past_latents, config.future_latents], dim=2)
        a_p, a_f = a_f.split([known_frames, FRAMES_PER_CLIP - known_frames], dim=1)
    time = torch.tensor([past.shape[1]])
    scene_p = _scene_inputs(config, config.num_past_clips)
    context = model.prepare(past.shape[1], a_p, a_f, time, parallel_targets=False, scene_p=scene_p, scene_f=scene_f)
    return lambda: model.future_features(context, past, tokens)


def _clips(config: MaskedHWMConfig, count: int) -> tuple[Tensor, Tensor]:
    """Returns tokens [1, T, 3, H, W] and actions [1, 17 * T, 25]."""
    tokens = torch.empty(1, count, LATENTS_PER_CLIP, *config.grid_size, dtype=torch.int32)
    return tokens, torch.empty(1, FRAMES_PER_CLIP * count, ACTION_DIM)


def _scene_inputs(config: MaskedHWMConfig, count: int) -> Tensor | None:
    """Returns scene inputs [1, T, S, C], or `None` if the model reads none."""
    return torch.empty(1, count, config.num_positions, config.scene_width) if config.scene_width else None


def _counted(function: Callable[[], R]) -> tuple[R, int]:
    """Returns a function's result and the number of its operations."""
    with FlopCounterMode(display=False) as counter:
        result = function()
    return result, counter.get_total_flops()


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
