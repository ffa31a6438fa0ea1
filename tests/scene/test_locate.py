"""Locating histories: the order of searches, and unknown places."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.scene import locate as module
from hwm_env.scene.localiser import Localisation, LocaliserConfig
from hwm_env.scene.locate import NEARBY, THOROUGH, locate
from hwm_env.scene.pose import compose, integrate_wheels, relative
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.pose_candidates import SCATTERED
from hwm_env.scene.scene import Scene, SceneUse
from tests.scene.waves import CLIPS, Histories, Waves, as_scene, away, drive, errors, free_within

UNLIKELY = math.log(12) + 0.2
"""Nats per token, above the loss of a uniform prediction."""


def scene_of(waves: Waves, unknown_above: float | None = None) -> Scene:
    return Scene(as_scene(waves), free_within(1.2), SceneUse(unknown_above=unknown_above))


def clip_poses(histories: Histories, distance_m: float = 0.2) -> Tensor:
    """Returns read-outs of all clips that the wheels carry to the same end."""
    path = integrate_wheels(torch.zeros(len(histories.ends), 3), histories.actions.flatten(1, 2))[:, 16::17]
    return compose(away(histories.ends, distance_m, 0.1), relative(path[:, -1:], path))


def foreign(histories: Histories) -> Tensor:
    """Returns tokens of another place."""
    return torch.randint(12, histories.tokens.shape, generator=torch.Generator().manual_seed(9), dtype=torch.int32)


@pytest.mark.parametrize("seen", [True, False])
def test_a_known_place_is_found_and_a_foreign_one_is_not(seen: bool) -> None:
    waves = Waves()
    histories = drive(waves, 3, starts=torch.tensor([[0.3, -0.2, 2.0], [-0.8, 0.1, -1.0], [0.0, 0.8, 0.5]]))
    tokens = histories.tokens.clone()
    tokens[1] = foreign(histories)[1]
    readings = clip_poses(histories) if seen else None
    found = locate(scene_of(waves, UNLIKELY), tokens, histories.actions, readings)
    belief = PoseBelief(found.poses, found.covariances)
    assert belief.poses.dtype == belief.covariances.dtype == torch.float32
    assert belief.known.tolist() == [True, False, True]
    assert belief.poses[1].isnan().all()
    error = errors(belief.poses, histories.ends)[[0, 2]]
    assert error[:, :2].norm(dim=1).max() < 0.15
    std = belief.covariances[[0, 2]].diagonal(dim1=1, dim2=2).sqrt()
    assert (std > 0).all()
    without_bound = locate(scene_of(waves), tokens, histories.actions, readings)
    assert without_bound.poses.isfinite().all()


def test_rows_do_not_depend_on_each_other() -> None:
    waves = Waves()
    histories = drive(waves, 3, starts=torch.tensor([[0.3, -0.2, 2.0], [-0.8, 0.1, -1.0], [0.0, 0.8, 0.5]]))
    readings = clip_poses(histories)
    scene = scene_of(waves, UNLIKELY)
    together = locate(scene, histories.tokens, histories.actions, readings)
    for row in range(3):
        one = slice(row, row + 1)
        alone = locate(scene, histories.tokens[one], histories.actions[one], readings[one])
        assert torch.equal(together.poses[one], alone.poses)
        assert torch.equal(together.covariances[one], alone.covariances)


def test_a_wrong_read_out_is_searched_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """A likely pose ends the search; otherwise it becomes more thorough, up to the whole room."""
    waves = Waves()
    histories = drive(waves, 1, starts=torch.tensor([[0.3, -0.2, 2.0]]))
    searches: list[tuple[int, LocaliserConfig | None, bool]] = []
    localise = module.localise

    def spied(
        model: Any, motion: Any, tokens: Tensor, actions: Tensor, candidates: Tensor, config: Any = None, **options: Any
    ) -> Localisation:
        searches.append((candidates.shape[1], config, options.get("from_starts", False)))
        return localise(model, motion, tokens, actions, candidates, config, **options)

    monkeypatch.setattr(module, "localise", spied)
    scene = scene_of(waves, UNLIKELY)
    history = histories.tokens, histories.actions
    plain = locate(scene, *history, clip_poses(histories))
    quick = (CLIPS + 1, None, False)
    assert searches == [quick]
    searches.clear()
    belief = locate(scene, histories.tokens, histories.actions, clip_poses(histories, 40.0))
    past_obstacles, around = (CLIPS + 1, None, True), (CLIPS + 1 + SCATTERED, THOROUGH, True)
    room = (4 + SCATTERED, THOROUGH, True)
    assert searches == [quick, past_obstacles, around, room]
    assert errors(belief.poses, histories.ends)[:, :2].norm(dim=1).max() < 0.15
    searches.clear()
    locate(scene, histories.tokens, histories.actions)
    assert searches == [room]
    searches.clear()
    read, near = clip_poses(histories), histories.ends + torch.tensor([0.1, -0.1, 0.05])
    assert locate(scene, *history, read, near).poses.isfinite().all()
    assert searches == [(1, NEARBY, False)]
    searches.clear()
    far_or_none = (near + 5.0, torch.full_like(near, torch.nan))
    assert all(torch.equal(locate(scene, *history, read, end).poses, plain.poses) for end in far_or_none)
    assert searches == [(1, NEARBY, False), quick, quick]


def test_the_robot_is_found_near_an_expected_pose() -> None:
    checkpoint = load("room-64")
    starts = checkpoint.starts
    assert checkpoint.scene is not None
    assert starts.poses is not None
    expected = starts.poses[:3] + torch.tensor([[0.1, 0.0, -0.03], [-0.05, 0.08, 0.05], [0.0, -0.1, 0.04]])
    found = locate(checkpoint.scene, starts.tokens[:3], starts.actions[:3], expected_B=expected)
    error = errors(found.poses, starts.poses[:3])
    assert error[:, :2].norm(dim=1).max() < 0.05
    assert error[:, 2].abs().max() < math.radians(0.6)


def test_paths_lead_to_the_pose_that_was_found_nearby() -> None:
    waves, starts = Waves(), torch.tensor([[0.3, -0.2, 2.0]])
    histories = drive(waves, 1, starts=starts)
    found = locate(scene_of(waves), histories.tokens, histories.actions, expected_B=histories.ends)
    assert found.paths.shape == (1, CLIPS, 17, 3)
    torch.testing.assert_close(found.paths[:, -1, -1, :2], found.poses[:, :2])
    assert (found.paths[0, 0, 0, :2] - starts[0, :2]).norm() < 0.2


def test_no_gradients_are_kept() -> None:
    waves = Waves().requires_grad_(True)
    histories = drive(Waves(), 1, starts=torch.tensor([[0.3, -0.2, 2.0]]))
    belief = locate(scene_of(waves), histories.tokens, histories.actions)
    assert not belief.poses.requires_grad


def test_beliefs_are_selected_expanded_and_joined() -> None:
    poses = torch.tensor([[1.0, 2.0, 3.0], [torch.nan, 0.0, 0.0], [4.0, 5.0, 6.0]])
    belief = PoseBelief.certain(poses)
    assert belief.known.tolist() == [True, False, True]
    assert (belief.covariances == 0).all()
    picked = belief.select(torch.tensor([2, 0, 2]))
    assert torch.equal(picked.poses, poses[[2, 0, 2]])
    copies = belief.select(torch.tensor([2])).expand(4)
    assert torch.equal(copies.poses, poses[2].expand(4, 3))
    assert copies.covariances.shape == (4, 3, 3)
    joined = PoseBelief.join([picked, copies])
    assert torch.equal(joined.poses, torch.cat([picked.poses, copies.poses]))
    assert joined.covariances.shape == (7, 3, 3)
