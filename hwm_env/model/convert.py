"""Converts foreign Masked-HWM checkpoints: maps their tensors to the parameters of a `MaskedHWM`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.errors import CheckpointError
from hwm_env.model.attention import Attention
from hwm_env.model.block import mlp
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.foreign import ROTATIONS, ForeignNetwork, read_network, read_tensors
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.types import LATENTS_PER_CLIP

IGNORED = re.compile(r"\.rope_[^.]*\.rotations[^.]*$")
ATTENTION_LAYERS = {"qkv": "qkv", "proj": "out"}
MLP_LAYERS = {"fc1": "0", "fc2": "2"}
UNUSED_IN_LAST_BLOCK = ("mlp_vp", "mlp_ap", "mlp_af")


def load_foreign_checkpoint(directory: str | Path) -> MaskedHWM:
    """Reads a foreign checkpoint without executing anything in it.

    Args:
        directory: holds `pytorch_model.bin` (or `model.safetensors`) and optionally `config.json`. What the latter
            leaves out is inferred from the tensors, except the number of future clips, which is then 1.

    Returns:
        The model in float32, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged, holds more than tensors or has an unsupported kind; or tensors are
            missing, surplus or misshapen.
    """
    directory = Path(directory)
    tensors = read_tensors(directory)
    network = read_network(directory, tensors)
    # The meta device finds wrong sizes before any memory is allocated for them.
    with torch.device("meta"):
        _check(directory, tensors, network, MaskedHWM(network.config))
    model = MaskedHWM(network.config)
    with torch.no_grad():
        for name, place in _places(model, network).items():
            place.copy_(tensors[name])
        for module in model.modules():
            if isinstance(module, Attention):
                for parameter in module.qkv.parameters():
                    parameter.copy_(halves_from_adjacent(parameter, module.num_heads))
    return model.eval()


def halves_from_adjacent(qkv: Tensor, num_heads: int) -> Tensor:
    """Reorders queries and keys so that rotary pairs of adjacent channels end up in a head's two halves.

    Args:
        qkv: weights [3 * D, D] of queries, keys and values, or their biases [3 * D].
        num_heads: heads, each a contiguous range of channels.

    Returns:
        Weights or biases of the same shape that attend equally under the rotation of rope.py.
    """
    q, k, v = qkv.chunk(3)
    q, k = (rearrange(x, "(head pair half) ... -> (head half pair) ...", head=num_heads, half=2) for x in (q, k))
    return torch.cat([q, k, v])


def _places(model: MaskedHWM, network: ForeignNetwork) -> dict[str, Tensor]:
    """Returns the model's parameters by the name of the foreign tensor, as views in the foreign shape."""
    places: dict[str, Tensor] = {
        "video_pos_embed": model.positions.unflatten(1, model.config.grid_size).unsqueeze(0),
        "action_pos_embed": model.action_positions.unsqueeze(0),
    }
    for latent in range(LATENTS_PER_CLIP):
        weight, bias = model.head.rows_of(latent)
        places |= {f"output_projs.{latent}.weight": weight, f"output_projs.{latent}.bias": bias}
    if network.config.temporal_stream_embedding:
        for layer in range(network.config.num_layers):
            theirs = f"transformer.layers.{layer}.temporal_attn.stream_type_emb"
            places[theirs] = model.get_parameter(f"blocks.{layer}.streams")
    for theirs, ours in _modules(model):
        places |= {f"{theirs}.{name}": parameter for name, parameter in ours.named_parameters()}
    if not network.has_proj_bias:
        places = {name: place for name, place in places.items() if not name.endswith(".proj.bias")}
    return places


def _modules(model: MaskedHWM) -> Iterator[tuple[str, nn.Module]]:
    """Yields names of foreign modules, and our modules with the same parameters."""
    config = model.config
    yield "transformer.final_norm", model.norm
    for latent in range(LATENTS_PER_CLIP):
        yield f"video_token_embed.embeddings.{latent}", model.get_submodule(f"tokens.tables.{latent}")
    for index in MLP_LAYERS.values():
        yield f"action_embedding.embedding.{index}", model.get_submodule(f"actions.mlp.{index}")
    last = config.num_layers - 1
    for layer in range(config.num_layers):
        names = _names_within_block(shared=layer >= config.shared_layers_start, last=layer == last)
        for theirs, ours in names:
            yield f"transformer.layers.{layer}.{theirs}", model.get_submodule(f"blocks.{layer}.{ours}")
    # Nothing reads these streams after the last block, so our last block has no MLPs for them: theirs are checked and
    # dropped.
    unused = mlp(config.width, config.mlp_width)
    for stream in UNUSED_IN_LAST_BLOCK:
        for theirs, index in MLP_LAYERS.items():
            yield f"transformer.layers.{last}.{stream}.{theirs}", unused.get_submodule(index)


def _names_within_block(*, shared: bool, last: bool) -> Iterator[tuple[str, str]]:
    """Yields pairs of a foreign module's name and ours."""
    for norm in ("spatial_norm", "spatial_mlp_norm", "temporal_norm", "mlp_norm"):
        yield norm, norm
    attentions = {"temporal_attn": "temporal"}
    mlps = {}
    for member, suffix in enumerate([""] if shared else ["_vp", "_vf"]):
        attentions[f"spatial_attn{suffix}"] = f"spatial.members.{member}"
        mlps[f"spatial_mlp{suffix}"] = f"spatial_mlp.members.{member}"
    if last:
        mlps["mlp_vf"] = "video_mlp.members.0"
    else:
        mlps |= {"mlp_vp": "video_mlp.members.0", "mlp_vf": "video_mlp.members.1"}
        mlps |= {"mlp_ap": "action_mlp.members.0", "mlp_af": "action_mlp.members.1"}
    for modules, layers in ((attentions, ATTENTION_LAYERS), (mlps, MLP_LAYERS)):
        for theirs, ours in modules.items():
            yield from ((f"{theirs}.{their_layer}", f"{ours}.{layer}") for their_layer, layer in layers.items())


def _check(directory: Path, tensors: Mapping[str, Tensor], network: ForeignNetwork, model: MaskedHWM) -> None:
    """Raises CheckpointError that names all tensors that are missing, surplus, or of a wrong shape or kind."""
    places = _places(model, network)
    missing = sorted(places.keys() - tensors.keys())
    surplus = sorted(name for name in tensors.keys() - places.keys() if not IGNORED.search(name))
    misshapen = [
        f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)} instead of {tuple(places[name].shape)}"
        for name in sorted(places.keys() & tensors.keys())
        if tensors[name].shape != places[name].shape or not tensors[name].is_floating_point()
    ]
    misshapen += _misshapen_rotations(tensors, model.config)
    if missing or surplus or misshapen:
        raise CheckpointError(
            f"{directory} does not hold the expected tensors: missing tensors {missing}, surplus {surplus}, "
            f"misshapen {misshapen}; copy it again, or correct its config.json"
        )


def _misshapen_rotations(tensors: Mapping[str, Tensor], config: MaskedHWMConfig) -> list[str]:
    """Returns the rotations if misshapen: no weight has an axis for the heads, so a wrong number shows only here."""
    shape = tuple(tensors[ROTATIONS].shape) if ROTATIONS in tensors else ()
    pairs = config.head_width // 2
    return [f"{ROTATIONS} {shape} instead of (any, {pairs})"] if shape and shape[1:2] != (pairs,) else []
