"""LPIPS against a slow computation in float64, its properties, and files that are no weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.evaluation.lpips import LPIPS, weight_shapes

KEYS_OF_THE_PACKAGE = {
    "scaling_layer.shift",
    "scaling_layer.scale",
    *(f"net.{layer}.{kind}" for layer in ("slice1.0", "slice2.3", "slice3.6") for kind in ("weight", "bias")),
    *(f"net.{layer}.{kind}" for layer in ("slice4.8", "slice5.10") for kind in ("weight", "bias")),
    *(f"lin{index}.model.1.weight" for index in range(5)),
}
"""Names in `lpips.LPIPS(net="alex").state_dict()` of lpips 0.1."""


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights whose size keeps the features of all layers above 0; the last ones are positive, as in LPIPS."""
    random = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in weight_shapes().items():
        values = torch.randn(shape, generator=random)
        fan_in = values[0].numel()
        made[name] = values.abs() / fan_in if name.startswith("lin") else values * (2 / fan_in) ** 0.5
    made["scaling_layer.shift"] = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    made["scaling_layer.scale"] = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    return made


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (3, 64, 67, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def convolved(image: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Computes a convolution and ReLU pixel by pixel, [C, H, W] to [C', h, w]."""
    image = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    size = weight.shape[-1]
    height, width = ((side - size) // stride + 1 for side in image.shape[1:])
    out = np.empty((len(weight), height, width))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            out[:, row, column] = np.tensordot(weight, image[:, top : top + size, left : left + size], axes=3) + bias
    return np.maximum(out, 0)


def pooled(image: np.ndarray) -> np.ndarray:
    height, width = ((side - 3) // 2 + 1 for side in image.shape[1:])
    rows = [
        [image[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max(axis=(1, 2)) for c in range(width)] for r in range(height)
    ]
    return np.array(rows).transpose(2, 0, 1)


def naive_features(image: Tensor, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Strides, padding and pooling are those of AlexNet's paper and of torchvision."""
    scaled = image.double().numpy().transpose(2, 0, 1) * 2 / 255 - 1
    scaled = (scaled - weights["scaling_layer.shift"][0]) / weights["scaling_layer.scale"][0]

    def layer(values: np.ndarray, name: str, stride: int, padding: int) -> np.ndarray:
        return convolved(values, weights[f"net.{name}.weight"], weights[f"net.{name}.bias"], stride, padding)

    first = layer(scaled, "slice1.0", 4, 2)
    second = layer(pooled(first), "slice2.3", 1, 2)
    third = layer(pooled(second), "slice3.6", 1, 1)
    fourth = layer(third, "slice4.8", 1, 1)
    return [first, second, third, fourth, layer(fourth, "slice5.10", 1, 1)]


def naive_distance(image: Tensor, truth: Tensor, weights: dict[str, Tensor]) -> float:
    numbers = {name: weight.double().numpy() for name, weight in weights.items()}
    total = 0.0
    for index, pair in enumerate(zip(naive_features(image, numbers), naive_features(truth, numbers), strict=True)):
        one, other = (features / (np.sqrt((features**2).sum(axis=0)) + 1e-10) for features in pair)
        total += np.tensordot(numbers[f"lin{index}.model.1.weight"][0, :, 0, 0], (one - other) ** 2, axes=1).mean()
    return total


def test_equals_the_slow_computation(weights: dict[str, Tensor], images: Tensor) -> None:
    expected = [naive_distance(images[0], images[1], weights), naive_distance(images[2], images[1], weights)]
    assert min(expected) > 1e-3
    measured = LPIPS(weights)(images[[0, 2]], images[[1, 1]])
    assert measured.tolist() == pytest.approx(expected, rel=1e-4)
    assert measured.dtype == torch.float32


def test_each_layer_counts(weights: dict[str, Tensor], images: Tensor) -> None:
    """The distance is the sum of the layers' shares: zeroing a layer's last weights removes its share."""
    whole = LPIPS(weights)(images[:1], images[1:2]).item()
    shares = []
    for index in range(5):
        name = f"lin{index}.model.1.weight"
        without = LPIPS({**weights, name: torch.zeros_like(weights[name])})
        shares.append(whole - without(images[:1], images[1:2]).item())
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(whole, rel=1e-4)


def test_a_distance(weights: dict[str, Tensor], images: Tensor) -> None:
    lpips = LPIPS(weights)
    assert lpips(images, images).tolist() == [0.0] * 3
    assert torch.equal(lpips(images, images.flip(0)), lpips(images.flip(0), images))


def test_grows_with_noise(weights: dict[str, Tensor]) -> None:
    random = torch.Generator().manual_seed(2)
    row = torch.linspace(0, 255, 64)
    truth = (row[:, None, None] / 2 + row[None, :, None] / 2).expand(64, 64, 3)
    noise = torch.randn(truth.shape, generator=random)
    noisy = torch.stack([truth + level * noise for level in (4, 16, 64)]).clamp(0, 255).to(torch.uint8)
    distances = LPIPS(weights)(noisy, truth.to(torch.uint8).expand_as(noisy)).tolist()
    assert 0 < distances[0] < distances[1] < distances[2]


def test_the_names_are_those_of_the_package() -> None:
    assert weight_shapes().keys() == KEYS_OF_THE_PACKAGE


def test_the_last_layers_are_those_that_torchmetrics_ships() -> None:
    """The five last layers, the only LPIPS weights available offline, load under the package's names."""
    lpips_of_torchmetrics = pytest.importorskip("torchmetrics.functional.image.lpips")
    path = Path(lpips_of_torchmetrics.__file__).parent / "lpips_models/alex.pth"
    shipped = torch.load(path, map_location="cpu", weights_only=True)
    shapes = weight_shapes()
    assert {name: tuple(weight.shape) for name, weight in shipped.items()} == {name: shapes[name] for name in shipped}
    assert len(shipped) == 5


@pytest.mark.parametrize("name", ["alex.pth", "alex.safetensors"])
def test_reads_both_kinds_of_file(weights: dict[str, Tensor], images: Tensor, tmp_path: Path, name: str) -> None:
    """Loads files of lpips 0.1.4 too, which store the last layers a second time."""
    again = {f"lins.{index}.model.1.weight": weights[f"lin{index}.model.1.weight"].clone() for index in range(5)}
    save = save_file if name.endswith("safetensors") else torch.save
    save({**weights, **again}, tmp_path / name)
    assert torch.equal(LPIPS.load(tmp_path / name)(images, images.flip(0)), LPIPS(weights)(images, images.flip(0)))


def test_weights_that_do_not_fit_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    changed = {**weights, "lin5.model.1.weight": torch.zeros(1), "net.slice1.0.bias": torch.zeros(65)}
    del changed["lin3.model.1.weight"]
    torch.save(changed, path)
    with pytest.raises(
        CheckpointError,
        match=r"missing tensors \['lin3.model.1.weight'\], surplus \['lin5.model.1.weight'\], misshapen "
        r"\['net.slice1.0.bias \(65,\) instead of \(64,\)'\]",
    ):
        LPIPS.load(path)


def test_files_that_are_no_weights_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"found nothing"):
        LPIPS.load(tmp_path / "nowhere.pth")
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(CheckpointError, match="is damaged"):
            LPIPS.load(tmp_path / name)
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match="holds objects other than tensors"):
        LPIPS.load(tmp_path / "module.pth")
    for content in (weights["lin0.model.1.weight"], {**weights, "epoch": 3}):
        torch.save(content, tmp_path / "content.pth")
        with pytest.raises(CheckpointError, match="must hold only named tensors"):
            LPIPS.load(tmp_path / "content.pth")


@pytest.mark.parametrize("side", [30, 31])
def test_the_smallest_image(weights: dict[str, Tensor], side: int) -> None:
    image = torch.zeros(1, side, 64, 3, dtype=torch.uint8)
    if side == 30:
        with pytest.raises(InvalidInputError, match="at least 31 x 31 pixels for LPIPS, got 30 x 64"):
            LPIPS(weights)(image, image)
    else:
        assert LPIPS(weights)(image, image).item() == 0
