"""Reads foreign Masked-HWM checkpoints: their named tensors, and the options under which our network equals theirs."""

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from hwm_env.data.files import read_json, shown
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.fields import short
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP

FILES = ("pytorch_model.bin", "model.safetensors")
SIZES = (
    "num_layers",
    "num_heads",
    "d_model",
    "mlp_hidden",
    "num_past_clips",
    "num_future_clips",
    "vocab_size",
    "spatial_size",
    "shared_layers_start",
)
"""Sizes that a foreign config.json may set."""
FRAMES = ("num_past_frames", "num_future_frames")
"""Fields that determine the numbers of clips if a config.json does not name those."""
SWITCHES = ("qkv_bias", "proj_bias", "use_rope", "use_stream_type_emb")
"""Options that a foreign config.json may set."""
FIXED = {
    "action_dim": (ACTION_DIM, "the numbers of an action"),
    "num_factored_vocabs": (LATENTS_PER_CLIP, "the latents of a clip"),
    "frames_per_clip": (FRAMES_PER_CLIP, "the frames of a clip"),
}
"""Fields with the only value that our network supports, and its meaning."""
ROTATIONS = "transformer.layers.0.temporal_attn.rope_1d.rotations"
"""A tensor that follows from the sizes, but is the only one that shows the width of a head."""
FIRST_ATTENTION = "transformer.layers.0.temporal_attn"


class ForeignNetwork(NamedTuple):
    """The network of a foreign checkpoint."""

    config: MaskedHWMConfig
    """The options under which our network equals it."""
    has_proj_bias: bool
    """Whether its attention outputs have biases. Ours always have; a bias of zero equals none."""


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint without executing anything in it.

    Raises:
        CheckpointError: the file is missing, damaged, or holds more than named tensors.
    """
    path = next((directory / name for name in FILES if os.path.isfile(directory / name)), None)
    if path is None:
        raise CheckpointError(
            f"expected {' or '.join(FILES)} in {shown(directory)}, found neither; copy the checkpoint again"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files from before torch 1.6 are not zip archives and cannot be memory-mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        # Bytes that are not a pickle can raise anything, and torch's own message would advise to run the code.
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which is refused because it could execute code "
            f"({type(error).__name__}); copy it again, or save only the model's state_dict"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold named tensors, got {type(content).__name__}; save a state_dict")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path} must hold tensors only, but also has {others}; save the model's state_dict")
    return {str(name): tensor for name, tensor in content.items()}


def read_network(directory: Path, tensors: Mapping[str, Tensor]) -> ForeignNetwork:
    """Reads the network's options from config.json, and infers the missing ones from the tensors.

    The tensors do not show how many clips are future ones; without config.json, it is 1.

    Raises:
        CheckpointError: config.json is damaged or names an unsupported option, or a size is found nowhere.
    """
    fields = _read_fields(directory / "config.json")
    unknown: list[str] = []

    def size(field: str, name: str, axis: int, derive: Callable[[int], int] = int) -> int:
        if field in fields:
            return int(fields[field])
        shape = tuple(tensors[name].shape) if name in tensors else ()
        if len(shape) <= axis or shape[axis] == 0:
            unknown.append(f"{field} (from axis {axis} of {name}, which is {shape or 'missing'})")
            return 1
        return derive(shape[axis])

    def switch(field: str, name: str) -> bool:
        return bool(fields.get(field, f"{FIRST_ATTENTION}.{name}" in tensors))

    num_layers = fields.get("num_layers", _layers_with("", tensors))
    shared_layers_start = fields.get("shared_layers_start", _layers_with("spatial_attn_v", tensors))
    width = size("d_model", "transformer.final_norm.weight", 0)
    num_heads = size("num_heads", ROTATIONS, 1, lambda pairs: width // (2 * pairs))
    mlp_width = size("mlp_hidden", "transformer.layers.0.mlp_vp.fc1.bias", 0)
    grid_size = size("spatial_size", "video_pos_embed", 2), size("spatial_size", "video_pos_embed", 3)
    codebook_size = size("vocab_size", "output_projs.0.bias", 0)
    num_past_clips = size(
        "num_past_clips",
        "action_pos_embed",
        1,
        lambda clips: clips - int(fields.get("num_future_clips", _future_clips(fields, clips))),
    )
    num_future_clips = size("num_future_clips", "action_pos_embed", 1, lambda clips: clips - num_past_clips)
    if unknown:
        raise CheckpointError(
            f"neither config.json nor the tensors in {directory} contain {'; '.join(unknown)}; add them to config.json"
        )
    try:
        config = MaskedHWMConfig(
            num_layers=num_layers,
            num_heads=num_heads,
            width=width,
            mlp_width=mlp_width,
            grid_size=grid_size,
            fsq_levels=(codebook_size,),
            num_past_clips=num_past_clips,
            num_future_clips=num_future_clips,
            # No layer after the last one exists to share weights.
            shared_layers_start=min(shared_layers_start, num_layers),
            share_mlps=False,
            rope_base=10_000.0 if fields.get("use_rope", True) else None,
            qkv_bias=switch("qkv_bias", "qkv.bias"),
            temporal_scope="patch",
            temporal_mask="bidirectional",
            temporal_positions="concat",
            position_embedding="window",
            stream_type_embedding=False,
            temporal_stream_embedding=switch("use_stream_type_emb", "stream_type_emb"),
            latent_layout="stacked",
            action_pooling="mean",
            action_injection="attention",
            token_embedding="table",
            codebook_head="joint",
            spatial_mlp=True,
        )
    except InvalidInputError as error:
        raise CheckpointError(f"{directory} cannot be imported: {error}") from error
    return ForeignNetwork(config, has_proj_bias=switch("proj_bias", "proj.bias"))


def _read_fields(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        return {}
    fields = read_json(path, CheckpointError)
    problems = [
        f"{field} must be {kind}, got {short(fields[field])}"
        for names, of_type, kind in (((*SIZES, *FRAMES), int, "an integer"), (SWITCHES, bool, "true or false"))
        for field in names
        if field in fields and type(fields[field]) is not of_type
    ]
    last_row = fields.get("vocab_size", fields.get("mask_token_id"))
    fixed = {**FIXED, "mask_token_id": (last_row, "vocab_size: a masked token has the last row of the token tables")}
    problems += [
        f"{field} must be {short(value)} ({reason}), got {short(fields[field])}"
        for field, (value, reason) in fixed.items()
        if field in fields and fields[field] != value
    ]
    if problems:
        raise CheckpointError(f"{path} describes a network that cannot be imported: {'; '.join(problems)}")
    return fields


def _future_clips(fields: Mapping[str, Any], clips: int) -> int:
    """Returns how many of all clips are future ones, from numbers of frames as the original reads them; else 1."""
    counts = [fields[field] // FRAMES_PER_CLIP + 1 for field in FRAMES if field in fields]
    return counts[1] if len(counts) == 2 and sum(counts) == clips else 1


def _layers_with(part: str, names: Mapping[str, Tensor]) -> int:
    """Returns one more than the last layer with a tensor whose name within the layer begins with `part`."""
    found = (re.match(rf"transformer\.layers\.([0-9]+)\.{part}", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)
