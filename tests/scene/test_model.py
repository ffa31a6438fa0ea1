"""The scene model: the geometry of its rays, and training."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel, _Block
from hwm_env.types import ACTION_NAMES
from tests.scene.scenes import CAMERA, CONFIG, make_model


def posed(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns poses and numbers at the keyframes of some clips."""
    generator = torch.Generator().manual_seed(seed)
    poses = 3 * torch.rand(batch, 3, 3, generator=generator) - 1.5
    return poses, 0.5 * torch.randn(batch, 3, 25, generator=generator)


def rays_on_grid(config: SceneConfig) -> Tensor:
    """Returns rays [H, W, R, 3]."""
    return SceneModel(config).rays.unflatten(0, config.grid_size)


@pytest.mark.parametrize("grid", [(8, 8), (4, 6), (6, 3)])
def test_the_middle_looks_ahead_the_left_column_left_and_the_top_row_up(grid: tuple[int, int]) -> None:
    rays = rays_on_grid(replace(CONFIG, grid_size=grid)).squeeze(2)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(grid))
    middle = rays.mean(dim=(0, 1))
    torch.testing.assert_close(middle / middle.norm(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    columns, rows = rays[..., 1] / rays[..., 0], rays[..., 2] / rays[..., 0]
    assert (columns[:, 0] > 0).all()
    assert (columns[:, -1] < 0).all()
    assert (rows[0] > 0).all()
    assert (rows[-1] < 0).all()


@pytest.mark.parametrize("field_of_view_deg", [60.0, 90.0])
def test_pixels_are_square_and_fill_the_field_of_view(field_of_view_deg: float) -> None:
    grid = (4, 6)
    rays = rays_on_grid(replace(CONFIG, grid_size=grid, field_of_view_deg=field_of_view_deg)).squeeze(2)
    columns, rows = rays[..., 1] / rays[..., 0], rays[..., 2] / rays[..., 0]
    pixel = 2 * math.tan(math.radians(field_of_view_deg) / 2) / grid[0]
    torch.testing.assert_close(columns[:, :-1] - columns[:, 1:], torch.full((4, 5), pixel))
    torch.testing.assert_close(rows[:-1] - rows[1:], torch.full((3, 6), pixel))
    # The picture's upper edge is half a pixel above the middle of the top row.
    assert math.degrees(math.atan(rows[0, 0].item() + pixel / 2)) == pytest.approx(field_of_view_deg / 2, abs=1e-3)


def test_several_rays_of_a_position_are_those_of_a_finer_grid() -> None:
    coarse = rays_on_grid(replace(CONFIG, grid_size=(4, 6), rays_per_side=2))
    fine = rays_on_grid(replace(CONFIG, grid_size=(8, 12))).squeeze(2)
    assert coarse.shape == (4, 6, 4, 3)
    for row in range(4):
        for column in range(6):
            expected = fine[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(0, 1)
            torch.testing.assert_close(coarse[row, column], expected)


class Recorder(nn.Module):
    """Stands in for a map and records the rays."""

    def __init__(self, ray_dim: int) -> None:
        super().__init__()
        self.ray_dim = ray_dim

    def forward(self, origins: Tensor, directions: Tensor, jitter: Tensor | None) -> Tensor:
        self.origins, self.directions, self.jitter = origins, directions, jitter
        return directions.new_zeros(*directions.shape[:-1], self.ray_dim)


def recording(config: SceneConfig) -> tuple[SceneModel, Recorder]:
    model, recorder = make_model(config), Recorder(config.map.ray_dim)
    model.map = recorder  # type: ignore[assignment]
    return model, recorder


def test_rays_begin_at_the_camera_and_turn_with_base_and_neck() -> None:
    model, recorder = recording(replace(CONFIG, camera=CAMERA, grid_size=(3, 5)))
    poses, numbers = torch.zeros(1, 3, 3), torch.zeros(1, 3, 25)
    poses[0, 1] = torch.tensor([2.0, 1.0, math.pi / 2])
    poses[0, 2, 2] = math.pi / 2
    numbers[0, 2, ACTION_NAMES.index("neck_pitch")] = math.pi / 2
    model(poses, numbers)
    origins, directions = recorder.origins, recorder.directions
    assert origins.shape == directions.shape == (1, 3, 15, 1, 3)
    assert (origins == origins[:, :, :1]).all()
    middle = 1 * 5 + 2
    for frame, (place, ahead) in enumerate(
        [
            ([0.1, 0.0, 1.3], [1.0, 0.0, 0.0]),
            ([2.0, 1.1, 1.3], [0.0, 1.0, 0.0]),
            # The neck's axis points left: a quarter of a turn around it looks down.
            ([0.0, 0.1, 1.3], [0.0, 0.0, -1.0]),
        ]
    ):
        assert origins[0, frame, 0, 0].tolist() == pytest.approx(place, abs=1e-6)
        assert directions[0, frame, middle, 0].tolist() == pytest.approx(ahead, abs=1e-6)
    # Facing y, the left of the picture points towards smaller x.
    assert directions[0, 1, middle - 1, 0, 0] < 0


def test_a_learned_camera_begins_by_looking_ahead() -> None:
    model, recorder = recording(CONFIG)
    poses, numbers = posed(2)
    model(poses, numbers)
    torch.testing.assert_close(recorder.origins[:, :, 0, 0, :2], poses[..., :2])
    torch.testing.assert_close(recorder.origins[..., 2], torch.full((2, 3, 64, 1), 1.2))
    ahead = recorder.directions.mean(dim=(2, 3))
    torch.testing.assert_close(torch.atan2(ahead[..., 1], ahead[..., 0]), poses[..., 2])


@pytest.mark.parametrize("grid", [(4, 6), (3, 2)])
def test_logits_of_any_grid_and_codebook(grid: tuple[int, int]) -> None:
    model = make_model(replace(CONFIG, grid_size=grid, fsq_levels=(3, 2), rays_per_side=2))
    poses, numbers = posed(5)
    logits = model(poses, numbers)
    assert logits.shape == (5, 3, *grid, 5)
    features = model.features(poses, numbers)
    assert features.shape == (5, math.prod(grid), CONFIG.width)
    # The head's outputs of latent l, at position s.
    weight, bias = model.head.project.weight.view(3, 5, -1), model.head.project.bias.view(3, 5)
    for latent in range(3):
        expected = features @ weight[latent].t() + bias[latent]
        torch.testing.assert_close(logits[:, latent].flatten(1, 2), expected, rtol=1e-4, atol=1e-4)


def test_jitter_may_be_one_for_all_rays() -> None:
    model, (poses, numbers) = make_model(), posed(2)
    jitter = torch.rand(CONFIG.map.samples, generator=torch.Generator().manual_seed(0))
    expanded = jitter.expand(2, 3, 64, 1, -1)
    torch.testing.assert_close(model(poses, numbers, jitter), model(poses, numbers, expanded))
    assert not torch.allclose(model(poses, numbers, jitter), model(poses, numbers))


def test_numbers_are_normalised_by_the_statistics() -> None:
    model, (poses, numbers) = make_model(), posed(4)
    with torch.no_grad():
        model.camera.second.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    mean, std = torch.linspace(-1, 1, 25), torch.linspace(0.1, 2, 25)
    expected = model(poses, (numbers - mean) / std)
    assert not torch.allclose(model(poses, numbers), expected)
    model.set_statistics(mean, std)
    torch.testing.assert_close(model(poses, numbers), expected, rtol=1e-4, atol=1e-4)


def test_numbers_that_never_move_are_not_blown_up() -> None:
    model, (poses, numbers) = make_model(), posed(1)
    model.set_statistics([0.0] * 25, [0.0] * 25)
    assert model(poses, numbers).isfinite().all()
    assert model.number_std.min().item() == pytest.approx(0.01)


def test_a_room_that_moves_with_the_base_looks_the_same() -> None:
    """The room moves by whole cells, far from the border, and the network does not get the pose."""
    room = MapConfig(
        low_m=(-8.0, -8.0, 0.0), high_m=(8.0, 8.0, 3.0), cell_m=1.0, cell_height_m=1.0, samples=4, far_m=3.0, features=4
    )
    model = make_model(replace(CONFIG, map=room))
    with torch.no_grad():
        model.from_moment.weight.zero_()
    poses, numbers = posed(4)
    before = model(poses, numbers)
    moved = poses + torch.tensor([2.0, -3.0, 0.0])
    assert (model(moved, numbers) - before).abs().max() > 0.1
    floor, along_x, along_y = model.map.planes
    with torch.no_grad():
        floor.copy_(floor.roll((-3, 2), dims=(2, 3)))
        along_x.copy_(along_x.roll(2, dims=3))
        along_y.copy_(along_y.roll(-3, dims=3))
    torch.testing.assert_close(model(moved, numbers), before, rtol=1e-3, atol=1e-3)


def test_a_whole_turn_changes_nothing_and_any_other_pose_does() -> None:
    model, (poses, numbers) = make_model(), posed(4)
    before = model(poses, numbers)
    torch.testing.assert_close(model(poses + torch.tensor([0, 0, 2 * math.pi]), numbers), before, rtol=1e-3, atol=1e-3)
    for change in ([0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]):
        assert (model(poses + torch.tensor(change), numbers) - before).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [lambda poses, numbers: (poses.roll(1, 0), numbers), lambda poses, numbers: (poses, torch.zeros_like(numbers))],
    ids=["poses of other clips", "numbers zeroed"],
)
def test_it_overfits_posed_clips_and_depends_on_pose_and_numbers(spoil: Callable[..., tuple[Tensor, Tensor]]) -> None:
    model = make_model(replace(CONFIG, grid_size=(3, 4), fsq_levels=(4, 3), width=32)).train().requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    poses, numbers = posed(8)
    # Two clips at each place, which differ only in the numbers.
    poses = poses[:4].repeat(2, 1, 1)
    tokens = torch.randint(12, (8, 3, 3, 4), generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        model.head.cross_entropy(model(poses, numbers), tokens).mean().backward()
        optimizer.step()
    with torch.no_grad():
        learned = model.head.cross_entropy(model(poses, numbers), tokens).mean().item()
        spoilt = model.head.cross_entropy(model(*spoil(poses, numbers)), tokens).mean().item()
    assert learned < 0.1 * math.log(12)
    assert spoilt > learned + 1.0


@pytest.mark.parametrize(
    "change",
    [
        *({name: 0} for name in ("rays_per_side", "width", "num_blocks", "mlp_ratio", "conv_groups")),
        {"conv_groups": 3},
        {"field_of_view_deg": 180.0},
        {"field_of_view_deg": 0.0},
    ],
    ids=str,
)
def test_invalid_shapes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(change))):
        replace(CONFIG, **change)


def test_rays_are_as_exact_in_a_training_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = make_model(replace(CONFIG, camera=CAMERA)), []
    kept = SceneModel._room_rays

    def keep(self: SceneModel, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(kept(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(SceneModel, "_room_rays", keep)
    poses, numbers = torch.randn(2, 3, 3), torch.randn(2, 3, 25)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model.features(poses, numbers)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


def test_a_dense_convolution_equals_the_grouped_one() -> None:
    block = _Block(replace(CONFIG, width=12, conv_groups=3, grid_size=(4, 5)))
    x = torch.randn(2, 12, 4, 5, generator=torch.Generator().manual_seed(0))
    results = []
    for convolve in (block.conv, block._convolve_densely):
        block.zero_grad()
        y = convolve(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        results.append([y, block.conv.weight.grad, block.conv.bias.grad])
    for grouped, dense in zip(*results, strict=True):
        torch.testing.assert_close(dense, grouped, rtol=1e-4, atol=1e-5)
