"""The naive network: reads the weights of a MaskedHWM and shares no code with hwm_env/model except its configuration.

The streams [v_p, v_f, a_p, a_f] are concatenated in this order at every grid position, with the actions copied to each;
the mask is explicit.

N is the number of places in time of past and future together: clips (stacked) or latents (sequential).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.tokenizers.fsq import FSQ

Sees = Callable[[Tensor, Tensor], Tensor]
"""Maps the clip times of a viewer and of a viewed clip to whether the viewer sees the other's video and actions."""

FRAMES_OF_LATENTS = ((0, 1), (1, 9), (9, 17))
FRAMES_OF_CLIP = ((0, 17),)


def naive_logits(
    model: MaskedHWM,
    v_p: Tensor,
    v_f: Tensor,
    a_p: Tensor,
    a_f: Tensor,
    sees: Sees | None = None,
    scene: Tensor | None = None,
) -> Tensor:
    """Returns what `MaskedHWM.forward` returns: [L, B, T_f, H, W, V].

    `sees` replaces the rule of the configuration's mask; `scene` are the scene inputs of past and future clips,
    [B, T, S, C].
    """
    logits = naive_digit_logits(model, v_p, v_f, a_p, a_f, sees, scene)
    config = model.config
    if config.codebook_head == "joint":
        return logits
    codes = torch.arange(config.codebook_size, device=logits.device)
    digits = FSQ(config.fsq_levels).to(logits.device).codes_to_digits(codes)
    parts = [part.log_softmax(dim=-1) for part in logits.split(config.fsq_levels, dim=-1)]
    return torch.stack([part[..., digits[:, index]] for index, part in enumerate(parts)]).sum(dim=0)


def naive_digit_logits(
    model: MaskedHWM,
    v_p: Tensor,
    v_f: Tensor,
    a_p: Tensor,
    a_f: Tensor,
    sees: Sees | None = None,
    scene: Tensor | None = None,
) -> Tensor:
    """Returns the head's outputs for all tokens [L, B, T_f, H, W, n]: n is V, or the sum of the digits' levels."""
    config = model.config
    places = _places(config, v_p.shape[2], v_f.shape[2], v_p.device)
    condition = _embed_actions(model, torch.cat([a_p, a_f], dim=1))
    video = torch.cat([_embed_video(model, v_p, 0), _embed_video(model, v_f, config.past_latents or 0)], dim=1)
    video = video + _position_vectors(model, places)
    if scene is not None:
        given = scene.to(model.scene.project.weight.dtype)
        of_clips = F.linear(given, model.scene.project.weight, model.scene.project.bias)
        video = video + of_clips[:, places.clips]
    actions = condition
    if config.position_embedding == "window":
        actions = actions + model.action_positions[places.slots]
    if config.action_injection == "adaln":
        video = video + condition[:, :, None]
    past, future = slice(0, places.num_past), slice(places.num_past, None)
    streams = [video[:, past], video[:, future], actions[:, past], actions[:, future]]
    if config.stream_type_embedding:
        streams = [stream + kind for stream, kind in zip(streams, model.streams, strict=True)]
    conditions = [condition[:, past], condition[:, future]]
    time = _time_angles(config, places)
    grid = _grid_angles(config, v_p.device)
    visible = _visible(config, places, sees)
    for block in model.blocks:
        streams = _block(block, config, streams, conditions, grid, time, visible)
    normalised = model.norm(streams[1])
    heads = list(
        zip(model.head.project.weight.chunk(v_f.shape[1]), model.head.project.bias.chunk(v_f.shape[1]), strict=True)
    )
    logits = []
    for latent, (weight, bias) in enumerate(heads):
        x = normalised if config.latent_layout == "stacked" else normalised[:, latent :: v_f.shape[1]]
        logits.append(F.linear(x, weight, bias).unflatten(2, config.grid_size))
    return torch.stack(logits)


class Places(NamedTuple):
    """The N places in time of past and future together."""

    clips: Tensor
    """int [N]: clip times."""
    latents: Tensor
    """int [N]: index of the latent in its clip; 0 if latents are stacked."""
    slots: Tensor
    """int [N]: index counted from the oldest clip that the model can see."""
    num_past: int


def _places(config: MaskedHWMConfig, past_clips: int, future_clips: int, device: torch.device) -> Places:
    if config.past_latents is not None:
        latents = torch.arange(3, device=device)
        return Places((latents >= config.past_latents).long(), latents, latents, config.past_latents)
    steps = 3 if config.latent_layout == "sequential" else 1
    index = torch.arange((past_clips + future_clips) * steps, device=device)
    unused = (config.num_past_clips - past_clips) * steps
    return Places(index // steps, index % steps, unused + index, past_clips * steps)


def _embed_video(model: MaskedHWM, tokens_BLTHW: Tensor, first_latent: int) -> Tensor:
    """Embeds tokens: [B, N, S, D]."""
    config = model.config
    tokens = tokens_BLTHW.flatten(3).unbind(dim=1)
    latents = range(first_latent, first_latent + len(tokens))
    if config.token_embedding == "table":
        vectors = [
            F.embedding(x, model.tokens.tables[latent].weight) for latent, x in zip(latents, tokens, strict=True)
        ]
        return sum(vectors) if config.latent_layout == "stacked" else torch.stack(vectors, dim=2).flatten(1, 2)
    fsq = FSQ(config.fsq_levels).to(tokens_BLTHW.device)
    projection = model.tokens.project
    columns = projection.weight.chunk(3, dim=1)
    vectors = []
    for latent, x in zip(latents, tokens, strict=True):
        masked = (x == config.codebook_size)[..., None]
        values = fsq.digits_to_values(fsq.codes_to_digits(torch.where(masked[..., 0], 0, x)))
        code = torch.cat([torch.where(masked, 0, values), masked], dim=-1).to(projection.weight.dtype)
        vectors.append(F.linear(code, columns[latent]))
    x = sum(vectors) if config.latent_layout == "stacked" else torch.stack(vectors, dim=2).flatten(1, 2)
    x = x + projection.bias
    return x + _mlp(model.tokens.mlp, model.tokens.norm(x), F.gelu)


def _embed_actions(model: MaskedHWM, actions: Tensor) -> Tensor:
    """Embeds actions float [B, 17 * T, 25]: [B, N, D]."""
    normalised = (actions - model.actions.action_mean) / model.actions.action_std
    chunks = normalised.unflatten(1, (-1, 17))
    groups = FRAMES_OF_CLIP if model.config.latent_layout == "stacked" else FRAMES_OF_LATENTS
    if model.config.action_pooling == "mean":
        frames = _mlp(model.actions.mlp, chunks, F.gelu)
        vectors = [frames[:, :, start:stop].mean(dim=2) for start, stop in groups]
    else:
        first, _, second = model.actions.mlp
        columns = first.weight.unflatten(1, (17, 25))
        vectors = [
            second(F.silu(F.linear(chunks[:, :, start:stop].flatten(2), columns[:, start:stop].flatten(1), first.bias)))
            for start, stop in groups
        ]
    return torch.stack(vectors, dim=2).flatten(1, 2)


def _position_vectors(model: MaskedHWM, places: Places) -> Tensor:
    """Returns learned position vectors [N, S, D]."""
    if model.config.position_embedding == "window":
        return model.positions[places.slots]
    if model.config.latent_layout == "sequential":
        return model.positions[places.latents]
    return model.positions.expand(len(places.slots), -1, -1)


def _visible(config: MaskedHWMConfig, places: Places, sees: Sees | None) -> Tensor:
    """Returns the mask bool [2N, 2N], queries by keys, over the sequence [v_p, v_f, a_p, a_f]."""

    def by_config(viewer: Tensor, viewed: Tensor) -> Tensor:
        return (viewed <= viewer) | (config.temporal_mask == "bidirectional")

    clips = torch.cat([places.clips, places.clips])
    return (sees or by_config)(clips[:, None], clips[None, :])


def _angles(positions: Tensor, num_pairs: int, base: float | None) -> Tensor:
    """Returns rotary angles [N, pairs]: pair i rotates with frequency base^(-i / pairs); base `None`: not at all."""
    if base is None:
        return torch.zeros(len(positions), num_pairs, device=positions.device)
    frequencies = base ** -(torch.arange(num_pairs, device=positions.device, dtype=torch.float32) / num_pairs)
    return torch.outer(positions.float(), frequencies)


def _time_angles(config: MaskedHWMConfig, places: Places) -> Tensor:
    """Returns rotary angles in time, [2N, pairs]."""
    video = actions = torch.arange(len(places.clips), device=places.clips.device)
    if config.temporal_positions == "concat":
        actions = video + len(video)
    return _angles(torch.cat([video, actions]), config.width // config.num_heads // 2, config.rope_base)


def _grid_angles(config: MaskedHWMConfig, device: torch.device) -> Tensor:
    """Returns rotary angles on the grid, [S, pairs]: the first half of the pairs for rows, the second for columns."""
    rows, columns = config.grid_size
    position = torch.arange(rows * columns, device=device)
    pairs = config.width // config.num_heads // 4
    by_axis = [_angles(axis, pairs, config.rope_base) for axis in (position // columns, position % columns)]
    return torch.cat(by_axis, dim=-1)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates channels i and i + C/2 of x [..., N, C] by angle i, as in GPT-NeoX."""
    cos, sin = (torch.cat([part, part], dim=-1).to(x.dtype) for part in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _attention(
    layer: nn.Module,
    x: Tensor,
    heads: int,
    angles: Tensor,
    visible: Tensor | None,
    before: tuple[nn.Module, Tensor] | None = None,
) -> Tensor:
    """Computes self-attention among the N vectors of each sequence: [M, N, D] to [M, N, D].

    `before` is a projection to keys and values, and the vectors [M, N, D] of another sequence that are also seen.
    """
    q, k, v = F.linear(x, layer.qkv.weight, layer.qkv.bias).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    k = _rotate(k, angles)
    if before is not None:
        projection, other = before
        projected = F.linear(other, projection.weight, projection.bias)
        other_k, other_v = projected.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        k, v = torch.cat([_rotate(other_k, angles), k], dim=2), torch.cat([other_v, v], dim=2)
    mixed = F.scaled_dot_product_attention(_rotate(q, angles), k, v, attn_mask=visible)
    return F.linear(mixed.transpose(1, 2).flatten(2), layer.out.weight, layer.out.bias)


def _mlp(layers: nn.Sequential, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    first, _, second = layers
    return F.linear(activation(F.linear(x, first.weight, first.bias)), second.weight, second.bias)


def _block(
    block: nn.Module,
    config: MaskedHWMConfig,
    streams: list[Tensor],
    conditions: list[Tensor],
    grid: Tensor,
    time: Tensor,
    visible: Tensor,
) -> list[Tensor]:
    """Applies a block to [v_p, v_f, a_p, a_f], video [B, N, S, D] and actions [B, N, D]."""
    video, actions = streams[:2], streams[2:]
    modulations = None
    if config.action_injection == "adaln":
        modulations = [
            F.linear(c, block.modulation.weight, block.modulation.bias)[:, :, None].unflatten(-1, (-1, 2, config.width))
            for c in conditions
        ]

    def norm(layer: nn.LayerNorm, index: int) -> list[Tensor]:
        x = [layer(v) for v in video]
        if modulations is None:
            return x
        return [v * (1 + m[..., index, 0, :]) + m[..., index, 1, :] for v, m in zip(x, modulations, strict=True)]

    def of_stream(modules: nn.Module, stream: int) -> nn.Module:
        return modules.members[stream if len(modules.members) == 2 else 0]

    mixing = norm(block.spatial_norm, 0)
    before = [None, None]
    if config.spatial_lookback:
        whole = torch.cat(mixing, dim=1)
        shifted = torch.cat([whole[:, :1], whole[:, :-1]], dim=1).split([x.shape[1] for x in mixing], dim=1)
        before = [(block.lookback.kv, x.flatten(0, 1)) for x in shifted]
    spatial = [
        _attention(of_stream(block.spatial, i), x.flatten(0, 1), config.num_heads, grid, None, before[i]).view_as(x)
        for i, x in enumerate(mixing)
    ]
    video = [v + update for v, update in zip(video, spatial, strict=True)]
    if config.spatial_mlp:
        updates = [
            _mlp(of_stream(block.spatial_mlp, i), x, F.gelu) for i, x in enumerate(norm(block.spatial_mlp_norm, 3))
        ]
        video = [v + update for v, update in zip(video, updates, strict=True)]

    asking = norm(block.temporal_norm, 1)
    if config.temporal_scope == "pooled":
        asking = [x.mean(dim=2, keepdim=True) for x in asking]
    positions = asking[0].shape[2]
    copies = [block.temporal_norm(a)[:, :, None].expand(-1, -1, positions, -1) for a in actions]
    read = [*asking, *copies]
    if config.temporal_stream_embedding:
        read = [x + kind for x, kind in zip(read, block.streams, strict=True)]
    sequence = torch.cat(read, dim=1)
    batch = len(sequence)
    mixed = _attention(
        block.temporal, sequence.transpose(1, 2).flatten(0, 1), config.num_heads, time, visible
    ).unflatten(0, (batch, positions))
    parts = mixed.transpose(1, 2).split([x.shape[1] for x in streams], dim=1)
    video = [v + update for v, update in zip(video, parts[:2], strict=True)]
    actions = [a + update.mean(dim=2) for a, update in zip(actions, parts[2:], strict=True)]

    updates = [_mlp(of_stream(block.video_mlp, i), x, F.gelu) for i, x in enumerate(norm(block.mlp_norm, 2))]
    video = [v + update for v, update in zip(video, updates, strict=True)]
    if block.action_mlp is not None:
        actions = [a + _mlp(of_stream(block.action_mlp, i), block.mlp_norm(a), F.gelu) for i, a in enumerate(actions)]
    return [*video, *actions]
