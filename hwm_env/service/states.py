"""Saved states as text: everything that a row's future depends on, and nothing that could execute code."""

import base64
import binascii
from dataclasses import replace
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hwm_env.envs.learned import LearnedMoment, LearnedWorld
from hwm_env.errors import InvalidInputError
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.world_state import WorldState

_WHOLE: Final = {"seed": torch.int64, "step": torch.int64, "tokens": torch.int32}
_REAL: Final = ("actions", "path_entropy")
_OPTIONAL: Final = ("poses", "covariances", "paths")
_IDENTITY: Final = "identity"


def save_state(world: LearnedWorld, moment: LearnedMoment) -> str:
    """Returns a moment's state as text.

    An encoded history is not kept, so that only tokens and actions of the window determine the future.
    """
    state = moment.state
    tensors: dict[str, Tensor] = {
        "tokens": state.tokens.int(),
        "actions": state.actions,
        "seed": torch.tensor(state.seeds),
        "step": torch.tensor(state.step_indices),
        "path_entropy": torch.tensor([moment.path_entropy], dtype=torch.float64),
        _IDENTITY: _identity(world),
    }
    if state.belief is not None:
        tensors |= {"poses": state.belief.poses, "covariances": state.belief.covariances}
    if state.paths is not None:
        tensors["paths"] = state.paths
    return base64.b64encode(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})).decode()


def load_state(world: LearnedWorld, text: str, seed: int | None) -> LearnedMoment:
    """Returns the moment of a saved state.

    Args:
        world: the world of the same checkpoint.
        text: what `save_state` returned.
        seed: another seed for the future noise; `None` keeps the state's.

    Raises:
        InvalidInputError: it is not a saved state, or one of another checkpoint.
    """
    try:
        tensors = load(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, SafetensorError) as error:
        raise InvalidInputError(f"state is not a saved state ({error}); send one as an answer held it") from error
    needed = {*_WHOLE, *_REAL, _IDENTITY}
    if not needed <= set(tensors) <= needed | set(_OPTIONAL):
        raise InvalidInputError(f"state must hold {sorted(needed)}, got {sorted(tensors)[:10]}")
    identity = tensors.pop(_IDENTITY)
    if identity.dtype != torch.uint8 or not torch.equal(identity, _identity(world)):
        raise InvalidInputError("state is one of another checkpoint; send it to a service with the same weights")
    for name, tensor in tensors.items():
        if tensor.dtype != _WHOLE.get(name, torch.float64 if name == "path_entropy" else torch.float32):
            raise InvalidInputError(f"state: {name} must not be {tensor.dtype}; send a state as an answer held it")
        if not tensor.ndim or len(tensor) != 1:
            raise InvalidInputError(f"state: {name} must be of one row, got shape {list(tensor.shape)}")
    if not all(tensors[name].ndim == 1 for name in ("seed", "step", "path_entropy")):
        raise InvalidInputError("state: seed, step and path_entropy must be one number each")
    if ("poses" in tensors) != ("covariances" in tensors):
        raise InvalidInputError("state: poses and covariances come together")
    _check_parts(world, tensors)
    device = world.simulator.device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    belief = PoseBelief(tensors["poses"], tensors["covariances"]) if "poses" in tensors else None
    state = WorldState(
        tensors["tokens"],
        tensors["actions"],
        (int(tensors["seed"]),),
        (int(tensors["step"]),),
        None,
        belief,
        tensors.get("paths"),
    )
    moment = world.resumed(state, float(tensors["path_entropy"]))
    return moment if seed is None else world.reseeded(moment, seed)


def reseeded(moment: LearnedMoment, seed: int | None) -> LearnedMoment:
    """Returns a copy with other future noise, and with the encoded history, like `WorldSimulator.fork`."""
    alone = moment.alone()
    return alone if seed is None else replace(alone, states=replace(alone.states, seeds=(seed,)))


def _check_parts(world: LearnedWorld, tensors: dict[str, Tensor]) -> None:
    """Raises InvalidInputError unless the state has a belief and paths just if this checkpoint's states do."""
    needs_paths = world.checkpoint.scene is not None and world.checkpoint.model.config.scene_width > 0
    for name, needed in (("poses", world.checkpoint.scene is not None), ("paths", needs_paths)):
        if (name in tensors) != needed:
            raise InvalidInputError(f"state: {name} must {'' if needed else 'not '}be given with this checkpoint")


def _identity(world: LearnedWorld) -> Tensor:
    return torch.tensor(list(world.simulator.identity.encode()), dtype=torch.uint8)
