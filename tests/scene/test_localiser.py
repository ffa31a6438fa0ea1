"""The localiser in a room whose every token is a known function of the pose."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from hwm_env.errors import InvalidInputError
from hwm_env.model.heads import CodebookHead
from hwm_env.scene import localiser
from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise, score_ends, spread_out
from hwm_env.scene.model import KEYFRAMES, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.paths import paths_ending_at
from hwm_env.scene.pose import compose, integrate_wheels, relative
from hwm_env.scene.pose_candidates import coarse_search, from_clip_poses
from hwm_env.scene.scene import Scene, SceneUse
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY

LEVELS = (4, 3)
GRID = (4, 5)
CLIPS = 4
OFF_10_DEG = math.radians(10)


class Waves(nn.Module):
    """Every logit is a plane wave over the room and the heading's circle, of its own direction and phase."""

    def __init__(self, contrast: float = 2.0) -> None:
        super().__init__()
        self.head = CodebookHead(LEVELS, 4, 3, GRID[0])
        generator = torch.Generator().manual_seed(0)
        outputs = 3 * math.prod(GRID) * sum(LEVELS)
        self.places = nn.Parameter(1.2 * torch.randn(outputs, 2, generator=generator), requires_grad=False)
        self.headings = nn.Parameter(torch.randn(outputs, 2, generator=generator), requires_grad=False)
        self.phases = nn.Parameter(2 * math.pi * torch.rand(outputs, generator=generator), requires_grad=False)
        self.contrast = contrast

    def forward(self, poses_BF: Tensor, numbers_BFA: Tensor) -> Tensor:
        assert poses_BF.shape[1] == numbers_BFA.shape[1] == len(KEYFRAMES)
        # A latent shows its own keyframe.
        poses = poses_BF.repeat_interleave(math.prod(GRID) * sum(LEVELS), dim=1)
        yaw = torch.stack([poses[..., 2].cos(), poses[..., 2].sin()], dim=-1)
        waves = (poses[..., :2] * self.places).sum(-1) + (yaw * self.headings).sum(-1) + self.phases
        return self.contrast * waves.sin().unflatten(1, (3, *GRID, sum(LEVELS)))


class Histories(NamedTuple):
    """What bases saw that drove through the room."""

    tokens: Tensor
    actions: Tensor
    ends: Tensor


def as_scene(waves: nn.Module) -> SceneModel:
    return cast(SceneModel, waves)


def drive(
    waves: Waves,
    batch: int,
    *,
    seed: int = 0,
    clips: int = CLIPS,
    motion: Callable[[Tensor, Tensor], Tensor] = integrate_wheels,
    starts: Tensor | None = None,
) -> Histories:
    """Histories with curves, whose tokens are drawn from the model."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randn(batch, clips, 17, 25, generator=generator)
    actions[..., LINEAR_VELOCITY] = 0.3 + 0.3 * torch.rand(batch, clips, 1, generator=generator)
    actions[..., ANGULAR_VELOCITY] = 0.8 * torch.randn(batch, clips, 1, generator=generator)
    if starts is None:
        starts = torch.tensor([3.0, 3.0, math.pi]) * (2 * torch.rand(batch, 3, generator=generator) - 1)
    poses = motion(starts, actions.flatten(1, 2)).unflatten(1, (clips, 17))
    frames = list(KEYFRAMES)
    logits = waves(poses[:, :, frames].flatten(0, 1), actions[:, :, frames].flatten(0, 1))
    digits = [
        torch.multinomial(part.softmax(-1).flatten(0, -2), 1, generator=generator).view(part.shape[:-1])
        for part in waves.head.split(logits)
    ]
    tokens = waves.head.fsq.digits_to_codes(torch.stack(digits, dim=-1)).int()
    return Histories(tokens.unflatten(0, (batch, clips)), actions, poses[:, -1, -1])


def away(ends: Tensor, distance_m: float = 0.3, angle_rad: float = OFF_10_DEG, seed: int = 5) -> Tensor:
    """Poses at this distance in some direction, turned by this angle to the left or right: [B, 1, 3]."""
    generator = torch.Generator().manual_seed(seed)
    bearing = 2 * math.pi * torch.rand(len(ends), generator=generator)
    side = torch.randint(2, (len(ends),), generator=generator) * 2.0 - 1
    change = torch.stack([distance_m * bearing.cos(), distance_m * bearing.sin(), angle_rad * side], dim=1)
    return (ends + change)[:, None]


def errors(found: Tensor, ends: Tensor) -> Tensor:
    """In metres, metres and radians, the last the shorter way round: [B, 3]."""
    difference = found - ends
    return torch.cat([difference[:, :2], torch.atan2(difference[:, 2:].sin(), difference[:, 2:].cos())], dim=1)


def test_it_finds_the_end_of_a_drive_from_a_beginning_that_is_off() -> None:
    waves = Waves()
    histories = drive(waves, 16, clips=8)
    off = away(histories.ends)
    found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, off)
    error = errors(found.poses, histories.ends)
    assert error[:, :2].norm(dim=1).max() < 0.1
    assert error[:, :2].norm(dim=1).median() < 0.07
    assert error[:, 2].abs().max() < math.radians(3)
    assert (found.poses[:, 2] >= -math.pi).all()
    assert (found.poses[:, 2] < math.pi).all()
    at_truth = score_ends(
        as_scene(waves),
        integrate_wheels,
        histories.tokens,
        histories.actions,
        torch.cat([histories.ends[:, None], off], dim=1),
        range(8),
    )
    assert (found.losses < at_truth[:, 0] + 0.02).all()
    assert (found.losses < at_truth[:, 1] - 0.05).all()


def test_the_covariance_is_that_of_the_errors_where_tokens_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser, "_EVIDENCE", 1.0)
    waves = Waves()
    # A room in which y shows less than x, wherever the base looks.
    waves.places *= torch.tensor([1.0, 0.3])
    histories = drive(waves, 200, clips=2)
    config = LocaliserConfig(coarse_steps=3, fine_steps=3)
    beginnings = away(histories.ends, 0.05, 0.02)
    found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, beginnings, config)
    error = errors(found.poses, histories.ends)
    whitened = torch.linalg.solve(torch.linalg.cholesky(found.covariances), error[..., None]).squeeze(-1)
    # Each of three numbers has a variance of 1: 600 of them are within 6 % of it, one sigma.
    assert (whitened**2).mean().item() == pytest.approx(1.0, abs=0.2)
    scatter = whitened.t() @ whitened / len(whitened)
    torch.testing.assert_close(scatter, torch.eye(3), atol=0.35, rtol=0)


def test_fewer_clips_tell_less() -> None:
    waves = Waves()
    histories = drive(waves, 4)
    volumes = []
    for clips in (1, 2, CLIPS):
        found = localise(
            as_scene(waves),
            integrate_wheels,
            histories.tokens[:, -clips:],
            histories.actions[:, -clips:],
            histories.ends[:, None],
        )
        torch.testing.assert_close(found.covariances, found.covariances.mT, rtol=1e-3, atol=1e-6)
        volumes.append(torch.linalg.det(found.covariances.double()))
    assert (volumes[0] > volumes[1]).all()
    assert (volumes[1] > volumes[2]).all()


def test_what_the_clips_do_not_tell_is_uncertain() -> None:
    """Where all poses look alike, and where a heading is all that shows."""
    histories = drive(Waves(), 2)

    def covariances(waves: Waves) -> Tensor:
        beginnings = histories.ends[:, None]
        found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, beginnings)
        assert found.poses.isfinite().all()
        return found.covariances

    for of_world in covariances(Waves(contrast=0.0)):
        assert of_world.diagonal().sqrt().min() > 1.0
    compass = Waves()
    compass.places.zero_()
    for of_world in covariances(compass):
        assert of_world.diagonal()[:2].sqrt().min() > 1.0
        assert of_world.diagonal()[2].sqrt() < 0.5


def pose_from(end: Tensor, change: Tensor, pose: Tensor) -> Tensor:
    """A pose of a path after the path was moved as a whole by a motion of its end, by matrices."""

    def matrix(of: Tensor) -> Tensor:
        cos, sin, one, zero = of[2].cos(), of[2].sin(), torch.ones_like(of[2]), torch.zeros_like(of[2])
        rows = [torch.stack([cos, -sin, of[0]]), torch.stack([sin, cos, of[1]]), torch.stack([zero, zero, one])]
        return torch.stack(rows)

    moved = matrix(end) @ matrix(change) @ torch.linalg.inv(matrix(end)) @ matrix(pose)
    return torch.stack([moved[0, 2], moved[1, 2], torch.atan2(moved[1, 0], moved[0, 0])])


def test_derivatives_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser, "_SHIFTS", (1e-6, 1e-6, 1e-6))
    waves = Waves()
    histories = drive(waves, 2)
    waves.double()
    actions, ends = histories.actions.double(), away(histories.ends)[:, 0].double()
    paths = localiser.Paths.ending_at(ends, integrate_wheels, actions)
    clips = [0, 2, 3]
    scene, seen = as_scene(waves), histories.tokens[:, clips]
    drawn = localiser._logits(scene, paths, clips)
    gradient, information = localiser._derivatives(scene, paths, drawn, seen, clips)
    losses = localiser._loss(scene, drawn, seen)
    origin = torch.zeros(3, dtype=torch.float64)
    for row in range(2):
        shape = integrate_wheels(origin[None], actions[row : row + 1].flatten(1, 2))[0]
        back = shape[-1]
        keyframes = [shape[17 * clip + frame] for clip in clips for frame in KEYFRAMES]

        def logits(change: Tensor, row: int = row, back: Tensor = back, keyframes: list[Tensor] = keyframes) -> Tensor:
            # The path's shape, placed so that it ends at the row's end after the change.
            placed = [pose_from(origin, relative_end(ends[row], back), pose) for pose in keyframes]
            poses = torch.stack([pose_from(ends[row], change, pose) for pose in placed]).unflatten(0, (3, 3))
            return waves(poses, torch.zeros(3, 3, 25))

        none = torch.zeros(3, dtype=torch.float64)
        values, slopes = logits(none), jacrev(logits)(none)
        digits = waves.head.fsq.codes_to_digits(histories.tokens[row, clips])
        expected, expected_information, log_likelihood = torch.zeros(3), torch.zeros(3, 3), 0.0
        for index, (value, slope) in enumerate(
            zip(values.split(LEVELS, dim=-1), slopes.split(LEVELS, dim=-2), strict=True)
        ):
            value, slope = value.flatten(0, -2), slope.flatten(0, -3)
            for token, (of_value, of_slope) in enumerate(zip(value, slope, strict=True)):
                p = of_value.softmax(0)
                chosen = digits[..., index].flatten()[token]
                log_likelihood += p[chosen].log().item()
                one_hot = torch.nn.functional.one_hot(chosen, len(p)).double()
                expected = expected + (one_hot - p) @ of_slope
                expected_information = expected_information + of_slope.t() @ (p.diag() - p[:, None] * p) @ of_slope
        torch.testing.assert_close(gradient[row].double(), expected, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(information[row].double(), expected_information, rtol=1e-3, atol=1e-2)
        assert losses[row].item() == pytest.approx(-log_likelihood / (3 * 3 * math.prod(GRID)), rel=1e-4)


def test_a_first_step_leads_towards_where_a_clip_was_taken() -> None:
    waves, apart = Waves(), torch.tensor([0.06, -0.04, 0.03])
    history = drive(waves, 1000, clips=1)
    truth = paths_ending_at(history.ends, integrate_wheels, history.actions)[:, 0]
    # The same path as seen from a little further back, to the left and turned.
    back = relative(apart.expand(1000, 3), torch.zeros(1000, 3))
    believed = paths_ending_at(compose(history.ends, back), integrate_wheels, history.actions)[:, 0]
    for path, expected in ((truth, torch.zeros(3)), (believed, apart)):
        step = localiser.first_step(as_scene(waves), path, history.actions[:, 0], history.tokens[:, 0])
        torch.testing.assert_close(step.mean(dim=0), expected, atol=0.012, rtol=0.15)


def relative_end(end: Tensor, shape_end: Tensor) -> Tensor:
    """The change of the origin that brings a path's end, as seen from the origin, to a pose."""
    yaw = end[2] - shape_end[2]
    x = end[0] - yaw.cos() * shape_end[0] + yaw.sin() * shape_end[1]
    y = end[1] - yaw.sin() * shape_end[0] - yaw.cos() * shape_end[1]
    return torch.stack([x, y, yaw])


def test_the_likelier_beginning_is_gone_on_from() -> None:
    waves = Waves()
    histories = drive(waves, 6)
    near, far = away(histories.ends, 0.2, 0.05), away(histories.ends, 2.5, 1.5, seed=6)
    expected = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, near)
    for beginnings in (torch.cat([far, near], dim=1), torch.cat([near, far, far], dim=1)):
        found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, beginnings)
        torch.testing.assert_close(found.poses, expected.poses, atol=1e-4, rtol=0)


def test_several_refined_beginnings_are_no_worse_than_one() -> None:
    waves = Waves()
    histories = drive(waves, 6)
    beginnings = torch.cat([away(histories.ends, 0.9, 0.6, seed=seed) for seed in range(6)], dim=1)
    one, three = (
        localise(
            as_scene(waves),
            integrate_wheels,
            histories.tokens,
            histories.actions,
            beginnings,
            LocaliserConfig(refined=refined, coarse_steps=8, coarse_clips=CLIPS, fine_steps=2),
        )
        for refined in (1, 3)
    )
    assert (three.losses <= one.losses + 1e-5).all()
    assert errors(three.poses, histories.ends)[:, :2].norm(dim=1).median() < 0.1


def test_worlds_of_a_batch_are_found_like_alone() -> None:
    waves = Waves()
    histories = drive(waves, 5)
    beginnings = torch.cat([away(histories.ends), away(histories.ends, 1.0, seed=7)], dim=1)

    def found(rows: slice) -> Localisation:
        arguments = (histories.tokens[rows], histories.actions[rows], beginnings[rows])
        return localise(as_scene(waves), integrate_wheels, *arguments, LocaliserConfig(refined=2))

    together = found(slice(None))
    for row in range(5):
        for part, alone in zip(together, found(slice(row, row + 1)), strict=True):
            torch.testing.assert_close(part[row], alone[0], rtol=1e-2, atol=1e-4)


def test_wheels_that_slipped_at_a_wall_are_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base drove against a wall at x = 1 and turned there."""
    odometry = Odometry(OdometryConfig(hidden=8))
    monkeypatch.setattr(odometry, "free_logit", lambda xy_m: 1000 * (1.0 - xy_m[..., 0]))
    waves = Waves()
    starts = torch.tensor([[0.6, -1.0, 0.1], [0.8, 0.5, -0.3], [0.7, 1.5, 0.2]])
    histories = drive(waves, 3, motion=odometry, starts=starts)
    slipped = (integrate_wheels(starts, histories.actions.flatten(1, 2))[:, -1] - histories.ends)[:, :2].norm(dim=1)
    assert slipped.min() > 0.2
    inside = histories.ends - torch.tensor([0.15, 0.0, 0.05])
    config = LocaliserConfig(coarse_steps=6, fine_steps=3)
    found, blind = (
        localise(as_scene(waves), motion, histories.tokens, histories.actions, inside[:, None], config)
        for motion in (odometry, integrate_wheels)
    )
    assert errors(found.poses, histories.ends)[:, :2].norm(dim=1).max() < 0.1
    assert (found.losses < blind.losses).all()
    assert (blind.poses[:, 0] > 1.2).all()


def test_scores_are_the_losses_of_the_clips_along_a_path_with_that_end() -> None:
    waves = Waves()
    histories = drive(waves, 2)
    ends = torch.cat([histories.ends[:, None], away(histories.ends)], dim=1)
    scores = score_ends(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, ends, [1, 3])
    assert scores.shape == (2, 2)
    assert not score_ends(
        as_scene(waves.requires_grad_(True)), integrate_wheels, histories.tokens, histories.actions, ends, [1]
    ).requires_grad
    for world in range(2):
        for number in range(2):
            numbers = histories.actions[world].flatten(0, 1)
            shape = integrate_wheels(torch.zeros(1, 3), numbers[None])[0]
            placed = [pose_from(torch.zeros(3), relative_end(ends[world, number], shape[-1]), pose) for pose in shape]
            frames = [[17 * clip + frame for frame in KEYFRAMES] for clip in (1, 3)]
            poses = torch.stack([torch.stack([placed[frame] for frame in of_clip]) for of_clip in frames])
            logits = waves(poses, torch.zeros(2, 3, 25))
            log_probs = waves.head.joint(logits)
            tokens = histories.tokens[world, [1, 3]].long()
            expected = -log_probs.gather(-1, tokens[..., None]).mean()
            assert scores[world, number].item() == pytest.approx(expected.item(), abs=1e-3)


def test_a_pose_half_a_metre_wrong_shows_in_the_loss() -> None:
    waves = Waves()
    histories = drive(waves, 8)
    ends = torch.cat([histories.ends[:, None], away(histories.ends, 0.5, 0.0)], dim=1)
    scores = score_ends(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, ends, range(CLIPS))
    assert (scores[:, 1] > scores[:, 0] + 0.1).all()


def test_spread_out_takes_the_first_of_each_place_and_heading() -> None:
    ordered = torch.tensor(
        [
            [0.0, 0.0, 0.0],
            [0.1, 0.0, 0.1],  # like the first
            [0.0, 0.4, 2 * math.pi - 0.1],  # like the first too, a turn further
            [0.0, 0.0, 0.5],  # another heading
            [0.4, 0.4, 0.0],  # another place: 0.57 m away
            [3.0, 3.0, math.pi],
            [3.0, 3.1, -math.pi + 0.1],  # like the one before
        ]
    )
    assert torch.equal(spread_out(ordered, 4), ordered[[0, 3, 4, 5]])
    assert torch.equal(spread_out(ordered, 2), ordered[[0, 3]])
    assert torch.equal(spread_out(ordered[:3], 3), ordered[[0, 0, 0]])
    assert torch.equal(spread_out(ordered[[0, 3]], 3), ordered[[0, 3, 0]])


@pytest.mark.parametrize("heading", [0.0, math.pi - 0.02, -math.pi + 0.01, 2.0])
def test_the_middle_of_what_clips_show_ignores_a_wild_one(heading: float) -> None:
    generator = torch.Generator().manual_seed(0)
    histories = drive(Waves(), 1, clips=9, starts=torch.tensor([[1.0, -2.0, 0.0]]))
    turn = heading - histories.ends[0, 2]
    turned = drive(Waves(), 1, clips=9, starts=torch.tensor([[1.0, -2.0, turn]]))
    poses = integrate_wheels(torch.tensor([[1.0, -2.0, turn]]), turned.actions.flatten(1, 2))
    estimates = poses[:, 16::17] + 0.05 * torch.randn(1, 9, 3, generator=generator)
    estimates[..., 2] = torch.atan2(estimates[..., 2].sin(), estimates[..., 2].cos())
    estimates[0, 3] = torch.tensor([4.0, 4.0, heading + math.pi])
    candidates = from_clip_poses(estimates, turned.actions)
    assert candidates.shape == (1, 10, 3)
    error = errors(candidates[0], turned.ends.expand(10, 3))
    # An error of the heading is a lever: 9 clips are two or three metres long.
    assert error[0, :2].norm() < 0.15
    assert error[0, 2].abs() < 0.1
    assert error[1 + 3, :2].norm() > 1
    assert error[0, 2].item() == pytest.approx(error[1:, 2].median().item(), abs=1e-5)
    torch.testing.assert_close(candidates[0, -1], estimates[0, -1])


def free_within(half_m: float) -> Odometry:
    """The odometry of a square room without obstacles, 2 * half_m wide."""
    odometry = Odometry(OdometryConfig(hidden=8, low_m=(-half_m, -half_m), high_m=(half_m, half_m)))
    torch.nn.init.zeros_(odometry.third.weight)
    torch.nn.init.ones_(odometry.third.bias)
    return odometry


def test_a_coarse_search_finds_the_place_without_any_hint() -> None:
    waves = Waves()
    histories = drive(waves, 3, starts=torch.tensor([[0.3, -0.2, 2.0], [-0.8, 0.1, -1.0], [0.0, 0.8, 0.5]]))
    scene = Scene(as_scene(waves), free_within(1.8), SceneUse())
    candidates = coarse_search(scene, histories.tokens, histories.actions, count=3)
    assert candidates.shape == (3, 3, 3)
    error = errors(candidates.flatten(0, 1), histories.ends.repeat_interleave(3, dim=0)).unflatten(0, (3, 3))
    assert error[..., :2].norm(dim=-1).min(dim=1).values.max() < 0.6
    found = localise(
        as_scene(waves),
        scene.odometry,
        histories.tokens,
        histories.actions,
        candidates,
        LocaliserConfig(refined=3, coarse_steps=8, fine_steps=2),
    )
    assert errors(found.poses, histories.ends)[:, :2].norm(dim=1).max() < 0.15


def test_a_coarse_search_looks_only_where_the_base_can_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = drive(Waves(), 1)
    scene = Scene(as_scene(Waves()), free_within(1.8), SceneUse())
    monkeypatch.setattr(scene.odometry, "free_logit", lambda xy_m: xy_m[..., 1] - 0.5)
    assert (coarse_search(scene, histories.tokens, histories.actions, count=8)[..., 1] > 0.5).all()
    # Where nothing is free, the map of the floor is wrong.
    monkeypatch.setattr(scene.odometry, "free_logit", lambda xy_m: -torch.ones(xy_m.shape[:-1]))
    assert coarse_search(scene, histories.tokens, histories.actions).isfinite().all()


@pytest.mark.parametrize("name", ["refined", "coarse_steps", "coarse_clips", "fine_steps"])
def test_searches_that_cannot_be_are_refused(name: str) -> None:
    changed: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidInputError, match=name):
        LocaliserConfig(**changed)
