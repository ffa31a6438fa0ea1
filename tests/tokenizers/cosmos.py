"""Replacements for NVIDIA's TorchScript files with the same signature, in which a token is the colour of its patch."""

from pathlib import Path

import torch
from torch import Tensor, nn

LEVELS = (8, 8, 8, 5, 5, 5)


class Encoder(nn.Module):
    """Encodes images [B, 3, 17, H, W] to (indices [B, 3, H / 8, W / 8], codes, a number), a tuple as NVIDIA's encoder.

    The first latent tells frame 0, the others the mean of 8 frames; three digits a colour, the others 0.
    """

    def __init__(self) -> None:
        super().__init__()
        # Real weights, so that number types matter and files differ.
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.stack([images[:, :, 0], images[:, :, 1:9].mean(2), images[:, :, 9:].mean(2)], dim=2) * self.gain
        patches = x.unfold(3, 8, 8).unfold(4, 8, 8).mean((-1, -2))  # [B, 3, L, h, w]
        digits = ((patches.float() + 1) / 2 * 7).round().clamp(0, 7).long()
        indices = digits[:, 0] + 8 * digits[:, 1] + 64 * digits[:, 2]
        return indices, patches, patches.mean()


class Decoder(nn.Module):
    """Decodes indices [B, 3, h, w] to images [B, 3, 17, 8 * h, 8 * w] in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, indices: Tensor) -> Tensor:
        digits = torch.stack([indices % 8, indices // 8 % 8, indices // 64 % 8], dim=1)
        patches = (digits.to(self.gain.dtype) / 7 * 2 - 1) * self.gain
        images = patches.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
        return torch.cat(
            [images[:, :, :1], images[:, :, 1:2].expand(-1, -1, 8, -1, -1), images[:, :, 2:].expand(-1, -1, 8, -1, -1)],
            dim=2,
        )


def write_stand_ins(directory: Path, gain: float = 1.0) -> Path:
    """Writes encoder.jit and decoder.jit."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, module in (("encoder", Encoder()), ("decoder", Decoder())):
        nn.init.constant_(module.gain, gain)
        torch.jit.script(module).save(str(directory / f"{name}.jit"))
    return directory
