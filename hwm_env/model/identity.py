"""Identities of weights: hashes that are equal exactly if the weights are."""

from hashlib import sha256

import torch
from torch import nn

LENGTH = 16
"""Number of hexadecimal digits of an identity."""


def identity_of(module: nn.Module) -> str:
    """Returns a hash of a module's named weights and buffers."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def joint_identity(*parts: str) -> str:
    """Returns a hash of several identities or texts in this order."""
    return sha256("\n".join(parts).encode()).hexdigest()[:LENGTH]
