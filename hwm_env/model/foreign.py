"""What foreign Masked-HWM checkpoints hold: named tensors, and the options under which our network is theirs."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hwm_env.data.files import read_json
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
"""The fields of a foreign config.json that a checkpoint may choose."""
SUPPORTED = {
    "action_dim": ACTION_DIM,
    "num_factored_vocabs": LATENTS_PER_CLIP,
    "frames_per_clip": FRAMES_PER_CLIP,
    "qkv_bias": False,
    "proj_bias": True,
    "use_rope": True,
    "use_stream_type_emb": False,
}
"""The only values of these fields for which our network is theirs."""
ROTATIONS = "transformer.layers.0.temporal_attn.rope_1d.rotations"
"""Follows from the sizes, like all tensors named so, but is the only one that shows how wide a head is."""


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: there is no file, or it is damaged or holds more than named tensors.
    """
    path = next((directory / name for name in FILES if (directory / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"expected {' or '.join(FILES)} in {directory}, found neither; copy the checkpoint again")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        # Bytes that are no pickle can raise anything; and torch's own message would advise to let the code in one run.
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which could execute code and is refused "
            f"({type(error).__name__}); copy it again, or save only the model's state_dict"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold named tensors, got {type(content).__name__}; save a state_dict")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path} must hold tensors only, but has also {others}; save the model's state_dict")
    return {str(name): tensor for name, tensor in content.items()}


def read_config(directory: Path, tensors: Mapping[str, Tensor]) -> MaskedHWMConfig:
    """The options under which our network is theirs; sizes that no config.json names are read from the tensors.

    How many of the clips that have a position are future ones cannot be seen there; without config.json it is 1.

    Raises:
        CheckpointError: config.json is damaged, names what our network cannot do, or a size is found nowhere.
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

    width = size("d_model", "transformer.final_norm.weight", 0)
    num_heads = size("num_heads", ROTATIONS, 1, lambda pairs: width // (2 * pairs))
    mlp_width = size("mlp_hidden", "transformer.layers.0.mlp_vp.fc1.bias", 0)
    grid_size = size("spatial_size", "video_pos_embed", 2), size("spatial_size", "video_pos_embed", 3)
    codebook_size = size("vocab_size", "output_projs.0.bias", 0)
    num_future_clips = int(fields.get("num_future_clips", 1))
    num_past_clips = size("num_past_clips", "action_pos_embed", 1, lambda clips: clips - num_future_clips)
    if unknown:
        raise CheckpointError(f"neither config.json nor the tensors in {directory} tell {'; '.join(unknown)}")
    try:
        return MaskedHWMConfig(
            num_layers=fields.get("num_layers", _layers_with("", tensors)),
            num_heads=num_heads,
            width=width,
            mlp_width=mlp_width,
            grid_size=grid_size,
            fsq_levels=(codebook_size,),
            num_past_clips=num_past_clips,
            num_future_clips=num_future_clips,
            shared_layers_start=fields.get("shared_layers_start", _layers_with("spatial_attn_v", tensors)),
            share_mlps=False,
            rope_base=10_000.0,
            temporal_scope="patch",
            temporal_mask="bidirectional",
            temporal_positions="concat",
            position_embedding="window",
            stream_type_embedding=False,
            latent_layout="stacked",
            action_pooling="mean",
            action_injection="attention",
            token_embedding="table",
            codebook_head="joint",
            spatial_mlp=True,
        )
    except InvalidInputError as error:
        raise CheckpointError(f"{directory} cannot be imported: {error}") from error


def _read_fields(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    fields = read_json(path, CheckpointError)
    problems = [
        f"{field} must be an integer, got {short(fields[field])}"
        for field in SIZES
        if field in fields and type(fields[field]) is not int
    ]
    supported = {**SUPPORTED, "mask_token_id": fields.get("vocab_size", fields.get("mask_token_id"))}
    problems += [
        f"{field} must be {short(value)}, got {short(fields[field])}"
        for field, value in supported.items()
        if field in fields and fields[field] != value
    ]
    if problems:
        raise CheckpointError(f"{path} describes a network that cannot be imported: {'; '.join(problems)}")
    return fields


def _layers_with(part: str, names: Mapping[str, Tensor]) -> int:
    """One more than the last layer that has a tensor whose name within the layer begins with `part`."""
    found = (re.match(rf"transformer\.layers\.([0-9]+)\.{part}", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)
