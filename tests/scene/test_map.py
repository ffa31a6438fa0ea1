"""The map: rendered rays against a loop over their samples."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from hwm_env.errors import InvalidInputError
from hwm_env.scene.map import MapConfig, SceneMap

CONFIG = MapConfig(
    low_m=(-2.0, -3.0, 0.0),
    high_m=(4.0, 5.0, 3.0),
    cell_m=1.0,
    cell_height_m=0.5,
    channels=3,
    hidden=8,
    features=5,
    samples=6,
    far_m=6.0,
)


def random_map(config: MapConfig = CONFIG) -> SceneMap:
    torch.manual_seed(0)
    return SceneMap(config).requires_grad_(False)


def random_rays(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    origins = torch.rand(count, 3, generator=generator) * 2
    directions = torch.randn(count, 3, generator=generator)
    return origins, directions / directions.norm(dim=-1, keepdim=True)


def edges_m(config: MapConfig) -> list[float]:
    """Returns the borders of the samples' intervals, which grow by the same factor."""
    factor = (config.far_m / config.near_m) ** (1 / config.samples)
    return [config.near_m * factor**index for index in range(config.samples + 1)]


@pytest.mark.parametrize("jittered", [False, True])
def test_rays_equal_a_loop_over_their_samples(jittered: bool) -> None:
    room = random_map()
    origins, directions = random_rays(7)
    jitter = torch.rand(7, CONFIG.samples, generator=torch.Generator().manual_seed(2)) if jittered else None
    rendered = room(origins, directions, jitter)
    assert rendered.shape == (7, CONFIG.ray_dim)
    edges = edges_m(CONFIG)
    for ray in range(7):
        light, features, log_distance = 1.0, torch.zeros(CONFIG.features), 0.0
        for index in range(CONFIG.samples):
            share = 0.5 if jitter is None else jitter[ray, index].item()
            distance = edges[index] * (edges[index + 1] / edges[index]) ** share
            outputs = room.query(origins[ray] + distance * directions[ray])
            stopped = light * (1 - math.exp(-softplus(outputs[0]).item() * (edges[index + 1] - edges[index])))
            features += stopped * outputs[1:]
            log_distance += stopped * math.log(distance)
            light -= stopped
        torch.testing.assert_close(rendered[ray, :-2], features, rtol=1e-4, atol=1e-5)
        assert rendered[ray, -2].item() == pytest.approx(log_distance + light * math.log(CONFIG.far_m), abs=1e-4)
        assert rendered[ray, -1].item() == pytest.approx(light, abs=1e-5)


def test_rays_of_any_number_of_axes_are_the_same_rays() -> None:
    room = random_map()
    origins, directions = random_rays(12)
    jitter = torch.rand(12, CONFIG.samples, generator=torch.Generator().manual_seed(2))
    flat = room(origins, directions, jitter)
    shaped = room(*(part.view(2, 3, 2, -1) for part in (origins, directions, jitter)))
    torch.testing.assert_close(shaped.flatten(0, 2), flat, rtol=1e-5, atol=1e-6)


def with_wall(config: MapConfig, x_m: float, monkeypatch: pytest.MonkeyPatch) -> SceneMap:
    """Air, then a wall from x on, whose features are ones."""
    room = random_map(config)

    def query(points_m: Tensor) -> Tensor:
        is_wall = points_m[..., :1] >= x_m
        return torch.cat([torch.where(is_wall, 1000.0, -1000.0), torch.ones_like(points_m[..., :1])], dim=-1)

    monkeypatch.setattr(room, "query", query)
    return room


def test_an_opaque_wall_is_as_far_away_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, samples=200)
    room = with_wall(config, 3.0, monkeypatch)
    slanted = [math.cos(1.0), math.sin(1.0), 0.0]
    directions = torch.tensor([[1.0, 0.0, 0.0], slanted, [-1.0, 0.0, 0.0]])
    seen, log_distance, left = room(torch.tensor([[1.0, 0.0, 1.0]]), directions).unbind(-1)
    assert log_distance[:2].exp().tolist() == pytest.approx([2.0, 2.0 / math.cos(1.0)], rel=0.02)
    assert log_distance[2].item() == pytest.approx(math.log(config.far_m))
    assert left.tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    # With all features 1, the rendered feature is the sum of the weights.
    assert (seen + left).tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_transmittance_follows_beer_and_lambert(monkeypatch: pytest.MonkeyPatch) -> None:
    room = random_map()
    monkeypatch.setattr(room, "query", lambda points_m: torch.zeros(*points_m.shape[:-1], 2))
    left = room(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))[0, -1].item()
    assert left == pytest.approx(math.exp(-math.log(2) * (CONFIG.far_m - CONFIG.near_m)), rel=1e-4)


def test_planes_span_the_axes_that_they_are_named_after() -> None:
    """A single non-zero cell is seen at its centre, at any place along the axis that its plane lacks."""
    room = random_map()
    assert CONFIG.resolution == (6, 8, 6)
    assert [tuple(plane.shape[2:]) for plane in room.planes] == [(8, 6), (6, 6), (6, 8)]
    middles = torch.tensor([[-1.5, 2.5, 0.25], [2.5, -1.5, 2.25], [0.5, 3.5, 1.25]])
    cells = torch.tensor([[0, 5, 0], [4, 1, 4], [2, 6, 2]])
    for plane, (first, second), missing in zip(room.planes, ((0, 1), (0, 2), (1, 2)), (2, 1, 0), strict=True):
        for point, cell in zip(middles, cells, strict=True):
            for each in room.planes:
                each.zero_()
            nothing = room.query(point)
            plane[0, :, cell[second], cell[first]] = 1.0
            lit = room.query(point)
            assert (lit - nothing).abs().max() > 1e-2
            elsewhere, neighbour = point.clone(), point.clone()
            elsewhere[missing] += 0.37
            neighbour[first] += 1.0 if first < 2 else 0.5
            torch.testing.assert_close(room.query(elsewhere), lit, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(room.query(neighbour), nothing, rtol=1e-4, atol=1e-5)


def test_places_outside_are_rendered_like_the_border() -> None:
    room = random_map()
    beyond = torch.tensor([[9.0, 1.0, 1.0], [1.0, -30.0, 1.0], [1.0, 1.0, 7.0], [-9.0, 90.0, -1.0]])
    border = torch.stack([point.clamp(torch.tensor(CONFIG.low_m), torch.tensor(CONFIG.high_m)) for point in beyond])
    torch.testing.assert_close(room.query(beyond), room.query(border), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low_m": (4.0, -3.0, 0.0)}, "low_m must lie below high_m"),
        ({"cell_m": 0.0}, "cell_m"),
        ({"cell_height_m": -1.0}, "cell_height_m"),
        ({"near_m": 0.0}, "near_m"),
        ({"far_m": 0.35}, "far_m must be above near_m 0.35, got 0.35"),
        *(({name: 0}, name) for name in ("channels", "hidden", "features", "samples")),
    ],
)
def test_invalid_shapes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        replace(CONFIG, **change)
