"""Features of clips from a video classifier in TorchScript, for the Fréchet video distance (FVD).

FVD (Unterthiner et al., arXiv 1812.01717) is `frechet_distance` of these features. Most papers use the I3D network in
StyleGAN-V's file `i3d_torchscript.pt`, whose calling convention is used here. The file is not included.
"""

import warnings
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.jit import ScriptModule

from hwm_env.data.files import check_file
from hwm_env.devices import check_device
from hwm_env.errors import CheckpointError, described
from hwm_env.types import FRAMES_PER_CLIP

BATCH = 8
"""Clips in a pass of the network, which enlarges them to 224 x 224 pixels."""


class VideoFeatures:
    """A TorchScript network that computes features of clips."""

    def __init__(self, network: ScriptModule, path: Path, device: torch.device) -> None:
        """Uses a loaded network; see `load`."""
        self._network = network
        self._device = device
        self.name = path.name
        """Name of its file, for reports."""

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> Self:
        """Loads a network, and tries it on a black clip. It is a program: load only files that you trust.

        Args:
            path: TorchScript file of a module that is called as `network(videos, rescale=True, resize=True,
                return_features=True)` with float32 videos [B, 3, T, H, W] in 0..255, and returns float [B, D].
            device: device that computes the features.

        Raises:
            CheckpointError: the file does not exist, is no TorchScript file, or its network cannot be called like this.
            InvalidInputError: the device does not exist.
        """
        device = check_device(device)
        check_file(path, CheckpointError, "give a video classifier in TorchScript, such as i3d_torchscript.pt")
        try:
            with warnings.catch_warnings():
                # The file that the field shares has no other format.
                warnings.filterwarnings("ignore", message=r".*torch\.jit\.load", category=DeprecationWarning)
                network: ScriptModule = torch.jit.load(path, map_location=device)
        except Exception as error:  # Damaged files can raise anything.
            raise CheckpointError(f"{path} is not a TorchScript file: {described(error)}") from error
        features = cls(network.eval(), path, device)
        features(torch.zeros((1, FRAMES_PER_CLIP, 64, 64, 3), dtype=torch.uint8))
        return features

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """Returns the features of clips.

        Args:
            clips: uint8 [B, T, H, W, 3]; I3D needs T of at least 10.

        Returns:
            float32 [B, D], on the CPU.

        Raises:
            CheckpointError: the network cannot be called like I3D, or returns something else than [B, D].
        """
        features = [self._features(part) for part in clips.split(BATCH)]
        return torch.cat(features)

    def _features(self, clips: Tensor) -> Tensor:
        videos = clips.to(self._device).permute(0, 4, 1, 2, 3).float()
        try:
            features = self._network(videos, rescale=True, resize=True, return_features=True)
        except Exception as error:  # Foreign code can raise anything.
            raise CheckpointError(
                f"{self.name} cannot be called like i3d_torchscript.pt with videos {tuple(videos.shape)}: "
                f"{described(error)}"
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(clips):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise CheckpointError(f"{self.name}: expected features [{len(clips)}, D], got {shape}")
        return features.float().cpu()
