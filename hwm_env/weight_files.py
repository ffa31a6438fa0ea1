"""Writes and reads tensors and modules as safetensors files."""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor, nn

from hwm_env.building import Module, all_finite, built, misfits, shapes_of
from hwm_env.data.files import check_file
from hwm_env.errors import CheckpointError


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the content of a file with these tensors."""
    return serialise({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def module_to_bytes(module: nn.Module, dtype: torch.dtype) -> bytes:
    """Returns the content of a file with a module's weights; `read_module` restores the module's own type."""
    return tensors_to_bytes({name: weight.to(dtype) for name, weight in module.state_dict().items()})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds NaN or infinity.
    """
    check_file(path, CheckpointError, "copy the whole checkpoint directory again")
    try:
        # Not memory-mapped: later changes of the file must not change what was loaded.
        tensors = deserialise(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy it again") from error
    broken = [name for name, tensor in tensors.items() if not all_finite(tensor)]
    if broken:
        raise CheckpointError(f"{path}: NaN or infinity in {', '.join(broken[:5])}; copy it again, or train it again")
    return tensors


def read_module(path: Path, make: Callable[..., Module], *configs: Hashable) -> Module:
    """Builds the module of some configs with the weights of a file, in evaluation mode.

    Raises:
        CheckpointError: the file cannot be read, or its tensors do not fit the module.
    """
    tensors = read_tensors(path)
    # Wrong sizes are found before any memory is allocated for them.
    wrong = misfits(tensors, shapes_of(make, *configs))
    if wrong:
        raise CheckpointError(f"{path} does not fit config.json: {wrong}; copy the whole checkpoint directory again")
    module = built(make, *configs)
    module.load_state_dict(tensors)
    return module.eval()
