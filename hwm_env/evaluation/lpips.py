"""LPIPS, a perceptual distance between images from features of AlexNet (Zhang et al., arXiv 1801.03924).

It is implemented here because that of torchmetrics needs torchvision. The weights are not included: save those of the
`lpips` package with `torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from hwm_env.data.files import check_file
from hwm_env.devices import check_device
from hwm_env.errors import CheckpointError, InvalidInputError

EPSILON = 1e-10
"""Added to the length of features before dividing by it; as in the `lpips` package."""
SMALLEST_SIDE = 31
"""Smallest side of an image (pixels) for which the last feature map is not empty."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution of AlexNet, followed by a ReLU."""

    name: str
    """Name in the state dict."""
    shape: tuple[int, int, int, int]
    """Shape of the weight: channels out, channels in, height, width."""
    stride: int
    padding: int
    pooled: bool
    """Whether a 3 x 3 max pooling with stride 2 precedes it."""


CONVOLUTIONS = (
    Convolution("net.slice1.0", (64, 3, 11, 11), stride=4, padding=2, pooled=False),
    Convolution("net.slice2.3", (192, 64, 5, 5), stride=1, padding=2, pooled=True),
    Convolution("net.slice3.6", (384, 192, 3, 3), stride=1, padding=1, pooled=True),
    Convolution("net.slice4.8", (256, 384, 3, 3), stride=1, padding=1, pooled=False),
    Convolution("net.slice5.10", (256, 256, 3, 3), stride=1, padding=1, pooled=False),
)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors in the state dict of `lpips.LPIPS(net="alex")`."""
    shapes: dict[str, tuple[int, ...]] = {"scaling_layer.shift": (1, 3, 1, 1), "scaling_layer.scale": (1, 3, 1, 1)}
    for index, convolution in enumerate(CONVOLUTIONS):
        channels = convolution.shape[0]
        shapes[f"{convolution.name}.weight"] = convolution.shape
        shapes[f"{convolution.name}.bias"] = (channels,)
        shapes[f"lin{index}.model.1.weight"] = (1, channels, 1, 1)
    return shapes


class LPIPS:
    """Learned perceptual image patch similarity: 0 for equal images, larger for more different ones."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Uses weights with the names and shapes of `weight_shapes()`."""
        self._weights = weights

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> Self:
        """Loads weights from a file, without executing code in it.

        Args:
            path: state dict of `lpips.LPIPS(net="alex")`, as .safetensors or as torch.save writes it.
            device: device of the images to compare.

        Raises:
            CheckpointError: the file does not exist, is damaged or has other contents.
            InvalidInputError: the device does not exist.
        """
        device = check_device(device)
        # Newer versions of the package store the same layers a second time under `lins`.
        tensors = {name: tensor for name, tensor in _read(path).items() if not name.startswith("lins.")}
        shapes = weight_shapes()
        missing, surplus = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
        misshapen = [
            f"{name} {tuple(tensors[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ]
        if missing or surplus or misshapen:
            raise CheckpointError(
                f'{path} is not the state dict of lpips.LPIPS(net="alex"): missing tensors {missing}, surplus '
                f"{surplus}, misshapen {misshapen}"
            )
        broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if broken:
            raise CheckpointError(f"{path}: NaN or infinity in {', '.join(broken)}; save the state_dict again")
        return cls({name: tensor.float().to(device) for name, tensor in tensors.items()})

    @torch.no_grad()
    def __call__(self, images: Tensor, truth: Tensor) -> Tensor:
        """Returns the distance between each image and its truth.

        Args:
            images: uint8 [B, H, W, 3], H and W at least 31.
            truth: uint8 [B, H, W, 3].

        Returns:
            float32 [B].

        Raises:
            InvalidInputError: the images are too small.
        """
        height, width = images.shape[1:3]
        if min(height, width) < SMALLEST_SIDE:
            raise InvalidInputError(
                f"images must be at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels for LPIPS, got {height} x {width}"
            )
        distance = torch.zeros(len(images), device=images.device)
        for index, (ours, theirs) in enumerate(zip(self._features(images), self._features(truth), strict=True)):
            squared = (_unit_length(ours) - _unit_length(theirs)).square()
            distance += functional.conv2d(squared, self._weights[f"lin{index}.model.1.weight"]).mean(dim=(1, 2, 3))
        return distance

    def _features(self, images: Tensor) -> list[Tensor]:
        """Computes the outputs of all convolutions, float32 [B, C, h, w] each, for uint8 images [B, H, W, 3]."""
        values = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        values = (values - self._weights["scaling_layer.shift"]) / self._weights["scaling_layer.scale"]
        features = []
        for layer in CONVOLUTIONS:
            if layer.pooled:
                values = functional.max_pool2d(values, kernel_size=3, stride=2)
            weight, bias = self._weights[f"{layer.name}.weight"], self._weights[f"{layer.name}.bias"]
            values = functional.conv2d(values, weight, bias, layer.stride, layer.padding).relu()
            features.append(values)
        return features


def _unit_length(features: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + EPSILON)


def _read(path: Path) -> dict[str, Tensor]:
    check_file(path, CheckpointError, 'give the weights of lpips.LPIPS(net="alex")')
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Bytes that are no pickle can raise anything, and torch's own message advises to execute the code in one.
        raise CheckpointError(
            f"{path} is damaged, or holds objects other than tensors, which could execute code and are refused "
            f"({type(error).__name__}); save the model's state_dict"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} must hold only named tensors; save the model's state_dict")
    return {str(name): tensor for name, tensor in content.items()}
