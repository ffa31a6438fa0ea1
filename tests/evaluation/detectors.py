"""Stand-ins for the network of the Fréchet video distance."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Grid(nn.Module):
    """Called like i3d_torchscript.pt; its features are the mean colours of the first and the last frame, in -1..1."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale
        assert resize
        assert return_features
        assert x.dtype == torch.float32
        assert x.shape[1] == 3
        values = 2 * x / 255 - 1
        return torch.cat([values[:, :, 0].mean(dim=(2, 3)), values[:, :, -1].mean(dim=(2, 3))], dim=1)


class Flat(nn.Module):
    """Returns one number for each video, without an axis of features."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return x.mean(dim=(1, 2, 3, 4))


class Unlike(nn.Module):
    """Takes other arguments."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def saved(network: nn.Module, file: Path) -> Path:
    """Writes a network as a TorchScript file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.script(network).save(str(file))
    return file


def grid_features(clips: Tensor) -> Tensor:
    """Computes the features of `Grid` for clips, uint8 [B, T, H, W, 3], in another way."""
    values = clips.double() / 127.5 - 1
    return torch.cat([values[:, 0].mean(dim=(1, 2)), values[:, -1].mean(dim=(1, 2))], dim=1)
