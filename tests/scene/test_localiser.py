"""The localiser in a room where every token is a known function of the pose."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from hwm_env.errors import InvalidInputError
from hwm_env.scene import localiser
from hwm_env.scene.localiser import Localisation, LocaliserConfig, localise, score, spread_out
from hwm_env.scene.model import KEYFRAMES
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.paths import paths_ending_at
from hwm_env.scene.pose import compose, integrate_wheels, relative
from tests.scene.waves import (
    CLIPS,
    GRID,
    LEVELS,
    Waves,
    as_scene,
    away,
    drive,
    errors,
)


def test_it_finds_the_end_of_a_drive_from_a_wrong_candidate() -> None:
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
    candidates = torch.cat([found.poses[:, None], histories.ends[:, None], off], dim=1)
    losses = score(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, candidates, range(8))
    assert (losses[:, 0] < losses[:, 1] + 0.02).all()
    assert (losses[:, 0] < losses[:, 2] - 0.05).all()


def test_the_covariance_is_that_of_the_errors_where_tokens_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser, "_EVIDENCE", 1.0)
    waves = Waves()
    # A room where tokens depend less on y than on x.
    waves.places *= torch.tensor([1.0, 0.3])
    histories = drive(waves, 200, clips=2)
    config = LocaliserConfig(coarse_steps=3, fine_steps=3)
    candidates = away(histories.ends, 0.05, 0.02)
    found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, candidates, config)
    error = errors(found.poses, histories.ends)
    whitened = torch.linalg.solve(torch.linalg.cholesky(found.covariances), error[..., None]).squeeze(-1)
    # Three numbers of variance 1 each: the estimate from 600 of them is within 6 %, one sigma.
    assert (whitened**2).mean().item() == pytest.approx(1.0, abs=0.2)
    scatter = whitened.t() @ whitened / len(whitened)
    torch.testing.assert_close(scatter, torch.eye(3), atol=0.35, rtol=0)


def test_fewer_clips_give_a_larger_covariance() -> None:
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


def test_directions_without_information_are_uncertain() -> None:
    """In one room all poses look alike; in the other only the yaw shows."""
    histories = drive(Waves(), 2)

    def covariances(waves: Waves) -> Tensor:
        candidates = histories.ends[:, None]
        found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, candidates)
        assert found.poses.isfinite().all()
        return found.covariances

    for covariance in covariances(Waves(contrast=0.0)):
        assert covariance.diagonal().sqrt().min() > 1.0
    compass = Waves()
    compass.places.zero_()
    for covariance in covariances(compass):
        assert covariance.diagonal()[:2].sqrt().min() > 1.0
        assert covariance.diagonal()[2].sqrt() < 0.5


def pose_from(end: Tensor, change: Tensor, pose: Tensor) -> Tensor:
    """Returns a pose of a path that is moved as a whole by a motion of its end, by matrices."""

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
    scene = as_scene(waves)
    search = localiser._differentiated(scene, localiser._begun(scene, paths, histories.tokens, clips))
    losses = search.losses_by_clip.mean(dim=1)
    weights = torch.tensor([[1.0, 0.5, 0.25], [0.3, 1.0, 0.7]], dtype=torch.float64)
    gradient, information = localiser._derivatives(scene, search._replace(losses_by_clip=1 / weights))
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
                weight = weights[row, token // (3 * math.prod(GRID))]
                expected = expected + weight * (one_hot - p) @ of_slope
                spread = p.diag() - p[:, None] * p
                expected_information = expected_information + weight * of_slope.t() @ spread @ of_slope
        torch.testing.assert_close(gradient[row].double(), expected, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(information[row].double(), expected_information, rtol=1e-3, atol=1e-2)
        assert losses[row].item() == pytest.approx(-log_likelihood / (3 * 3 * math.prod(GRID)), rel=1e-4)


def test_a_first_step_leads_towards_the_true_path() -> None:
    waves, apart = Waves(), torch.tensor([0.06, -0.04, 0.03])
    history = drive(waves, 1000, clips=1)
    truth = paths_ending_at(history.ends, integrate_wheels, history.actions)[:, 0]
    # The same path, moved a little back and to the left, and turned.
    back = relative(apart.expand(1000, 3), torch.zeros(1000, 3))
    believed = paths_ending_at(compose(history.ends, back), integrate_wheels, history.actions)[:, 0]
    for path, expected in ((truth, torch.zeros(3)), (believed, apart)):
        step = localiser.first_step(as_scene(waves), path, history.actions[:, 0], history.tokens[:, 0])
        torch.testing.assert_close(step.mean(dim=0), expected, atol=0.012, rtol=0.15)


def relative_end(end: Tensor, shape_end: Tensor) -> Tensor:
    """Returns the origin from which a path ends at a pose."""
    yaw = end[2] - shape_end[2]
    x = end[0] - yaw.cos() * shape_end[0] + yaw.sin() * shape_end[1]
    y = end[1] - yaw.sin() * shape_end[0] - yaw.cos() * shape_end[1]
    return torch.stack([x, y, yaw])


def test_the_likelier_candidate_is_refined() -> None:
    waves = Waves()
    histories = drive(waves, 6)
    near, far = away(histories.ends, 0.2, 0.05), away(histories.ends, 2.5, 1.5, seed=6)
    expected = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, near)
    for candidates in (torch.cat([far, near], dim=1), torch.cat([near, far, far], dim=1)):
        found = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, candidates)
        torch.testing.assert_close(found.poses, expected.poses, atol=1e-4, rtol=0)


def counted(waves: Waves, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list to which each pass of the scene appends its number of clips."""
    rendered: list[int] = []
    usual = waves.forward
    monkeypatch.setattr(waves, "forward", lambda *inputs: rendered.append(len(inputs[0])) or usual(*inputs))
    return rendered


def test_a_search_on_one_clip_ends_when_it_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It renders the candidate, the slopes there and the first step's result; the slopes show that it is done."""
    waves = Waves()
    histories = drive(waves, 1, clips=1)
    arguments = (as_scene(waves), integrate_wheels, histories.tokens, histories.actions)
    converged = localise(*arguments, histories.ends[:, None], LocaliserConfig(coarse_steps=20)).poses
    rendered = counted(waves, monkeypatch)
    again = localise(*arguments, converged[:, None]).poses
    assert rendered == [1, 3, 1]
    torch.testing.assert_close(again, converged, atol=2e-3, rtol=0)


def test_slopes_are_computed_again_after_a_long_way_only(monkeypatch: pytest.MonkeyPatch) -> None:
    waves = Waves()
    histories = drive(waves, 1, clips=2)
    config = LocaliserConfig(coarse_clips=2, coarse_steps=20)
    rendered = counted(waves, monkeypatch)

    def found_from(start: Tensor, *off: float) -> Tensor:
        rendered.clear()
        candidates = compose(start, torch.tensor([off]))[:, None]
        return localise(
            as_scene(waves), integrate_wheels, histories.tokens, histories.actions, candidates, config
        ).poses

    # The two clips are rendered at three shifted poses each.
    likeliest = found_from(histories.ends, 0.0, 0.0, 0.0)
    from_near = found_from(likeliest, 0.01, 0.0, 0.0)
    assert rendered.count(6) == 1
    from_far = found_from(likeliest, 0.1, -0.1, 0.06)
    assert 1 < rendered.count(6) < rendered.count(2), "near the end, slopes are used again"
    torch.testing.assert_close(from_near, likeliest, atol=5e-3, rtol=0)
    torch.testing.assert_close(from_far, likeliest, atol=5e-3, rtol=0)


def test_several_refined_candidates_are_no_worse_than_one() -> None:
    waves = Waves()
    histories = drive(waves, 6)
    candidates = torch.cat([away(histories.ends, 0.9, 0.6, seed=seed) for seed in range(6)], dim=1)
    one, three = (
        localise(
            as_scene(waves),
            integrate_wheels,
            histories.tokens,
            histories.actions,
            candidates,
            LocaliserConfig(refined=refined, coarse_steps=8, coarse_clips=CLIPS, fine_steps=2),
        )
        for refined in (1, 3)
    )
    ends = torch.stack([three.poses, one.poses], dim=1)
    losses = score(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, ends, range(CLIPS))
    assert (losses[:, 0] <= losses[:, 1] + 1e-5).all()
    assert errors(three.poses, histories.ends)[:, :2].norm(dim=1).median() < 0.1


def test_rows_are_located_independently() -> None:
    waves = Waves()
    histories = drive(waves, 5)
    candidates = torch.cat([away(histories.ends), away(histories.ends, 1.0, seed=7)], dim=1)

    def found(rows: slice) -> Localisation:
        arguments = (histories.tokens[rows], histories.actions[rows], candidates[rows])
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
    losses = []
    for paths in (found.paths, blind.paths):
        logits = waves(paths[:, :, list(KEYFRAMES)].flatten(0, 1), torch.zeros(3 * CLIPS, 3, 25))
        by_clip = waves.head.cross_entropy(logits, histories.tokens.flatten(0, 1)).flatten(1).mean(dim=1)
        losses.append(by_clip.unflatten(0, (3, CLIPS)).log().mean(dim=1))
    assert (losses[0] < losses[1]).all()
    assert (blind.poses[:, 0] > 1.2).all()
    near = (starts - torch.tensor([0.1, 0.1, 0.05]))[:, None]
    arguments = (as_scene(waves), odometry, histories.tokens, histories.actions, near, config)
    assert errors(localise(*arguments, from_starts=True).poses, histories.ends)[:, :2].norm(dim=1).max() < 0.1


def test_a_few_clips_that_no_path_explains_count_little() -> None:
    waves = Waves(contrast=8.0)
    histories = drive(waves, 8)
    tokens = histories.tokens.clone()
    tokens[:, :2] = tokens[:, :2].roll(1, dims=0)  # those of another place
    found = localise(as_scene(waves), integrate_wheels, tokens, histories.actions, away(histories.ends, 0.2, 0.05))
    assert errors(found.poses, histories.ends)[:, :2].norm(dim=1).max() < 0.15
    whole = localise(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, histories.ends[:, None])
    assert (found.losses < whole.losses + 0.3).all()


def test_scores_are_the_losses_of_the_clips_along_a_path_with_that_end() -> None:
    waves = Waves()
    histories = drive(waves, 2)
    ends = torch.cat([histories.ends[:, None], away(histories.ends)], dim=1)
    scores = score(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, ends, [1, 3])
    assert scores.shape == (2, 2)
    assert not score(
        as_scene(waves.requires_grad_(True)), integrate_wheels, histories.tokens, histories.actions, ends, [1]
    ).requires_grad
    for row in range(2):
        for number in range(2):
            numbers = histories.actions[row].flatten(0, 1)
            shape = integrate_wheels(torch.zeros(1, 3), numbers[None])[0]
            placed = [pose_from(torch.zeros(3), relative_end(ends[row, number], shape[-1]), pose) for pose in shape]
            frames = [[17 * clip + frame for frame in KEYFRAMES] for clip in (1, 3)]
            poses = torch.stack([torch.stack([placed[frame] for frame in of_clip]) for of_clip in frames])
            logits = waves(poses, torch.zeros(2, 3, 25))
            log_probs = waves.head.joint(logits)
            tokens = histories.tokens[row, [1, 3]].long()
            first, second = -log_probs.gather(-1, tokens[..., None]).flatten(1).mean(dim=1)
            # The geometric mean of the two clips.
            assert scores[row, number].item() == pytest.approx(math.sqrt(first.item() * second.item()), abs=1e-3)


def test_a_pose_half_a_metre_wrong_shows_in_the_loss() -> None:
    waves = Waves()
    histories = drive(waves, 8)
    ends = torch.cat([histories.ends[:, None], away(histories.ends, 0.5, 0.0)], dim=1)
    scores = score(as_scene(waves), integrate_wheels, histories.tokens, histories.actions, ends, range(CLIPS))
    assert (scores[:, 1] > scores[:, 0] + 0.1).all()


def test_spread_out_takes_the_first_of_each_place_and_yaw() -> None:
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


@pytest.mark.parametrize("name", ["refined", "coarse_steps", "coarse_clips", "fine_steps"])
def test_invalid_settings_are_refused(name: str) -> None:
    changed: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidInputError, match=name):
        LocaliserConfig(**changed)
