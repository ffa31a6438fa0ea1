"""The world without pictures: its poses and read-outs are those of the learned world on the same checkpoint."""

from dataclasses import replace

import numpy as np
import pytest

from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseMoment, PoseWorld
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.evaluation.policies.trials import make_cases, play
from hwm_env.simulator import WorldSimulator
from policies.mpc import MPC, in_pose_world
from policies.planners.planner import PlannerConfig
from tests.arm import ARM
from tests.conftest import make_tiny_checkpoint
from tests.scene.scenes import make_checkpoint, make_scene

ROWS = 4


@pytest.fixture(scope="module")
def simulator() -> WorldSimulator:
    """With obstacles, so that poses are not those of the wheels alone."""
    return WorldSimulator(make_checkpoint(make_scene(walls=True)))


def drives(rng: np.random.Generator, last: np.ndarray) -> np.ndarray:
    """Random actions, [B, 17, 25], near the last ones [B, 25]."""
    return (last[:, None] + rng.uniform(-0.2, 0.2, (len(last), 17, 25))).astype(np.float32)


@pytest.mark.parametrize("has_pose", [True, False])
def test_poses_and_readouts_are_those_of_the_learned_world(simulator: WorldSimulator, has_pose: bool) -> None:
    learned, alone = LearnedWorld(simulator), PoseWorld(simulator)
    histories = [alone.start(row) for row in range(ROWS if has_pose else 2)]
    if not has_pose:
        histories = [replace(history, pose=None) for history in histories]
    seeds = [0] * len(histories)
    expected, moments = learned.begin(histories, seeds), alone.begin(histories, seeds)
    rng = np.random.default_rng(0)
    for step in range(3):
        for one, other in zip(moments, expected, strict=True):
            assert one.readout is not None
            assert other.readout is not None
            for name, numbers in other.readout.to_dict().items():
                np.testing.assert_array_equal(one.readout.to_dict()[name], numbers, err_msg=name)
            np.testing.assert_array_equal(one.pose, other.pose)
            np.testing.assert_array_equal(one.pose_std, other.pose_std)
            np.testing.assert_array_equal(one.measured, other.measured)
            assert one.predicted_steps == other.predicted_steps == step
        chunks = drives(rng, np.stack([moment.measured[-1] for moment in moments]))
        expected, moments = learned.step(expected, chunks), alone.step(moments, chunks)
    alone.check(moments[0])
    assert alone.reseeded(moments[0], 3) is moments[0]


def test_an_unknown_pose_stays_unknown(simulator: WorldSimulator) -> None:
    world = PoseWorld(simulator)
    lost = replace(world.start(0), pose=np.full(3, np.nan, np.float32))
    before = world.begin([lost, world.start(1)], [0, 0])
    for moments in (before, world.step(before, drives(np.random.default_rng(0), np.zeros((2, 25))))):
        assert moments[0].readout is moments[0].pose is moments[0].pose_std is moments[0].readout_source is None
        assert moments[1].readout_source == "scene"


@pytest.mark.parametrize("name", ["frames", "last_frame", "tokens", "latents"])
def test_there_are_no_pictures(simulator: WorldSimulator, name: str) -> None:
    world = PoseWorld(simulator)
    (moment,) = world.begin([world.start(0)], [0])
    with pytest.raises(InvalidInputError, match=r"a world without pictures has no .* LearnedWorld"):
        getattr(moment, name)
    with pytest.raises(InvalidInputError, match="must be one of a PoseWorld"):
        world.check("moment")


def test_what_it_needs() -> None:
    with pytest.raises(CheckpointError, match="the checkpoint has no scene"):
        PoseWorld(WorldSimulator(make_tiny_checkpoint()))
    of_arm = WorldSimulator(make_checkpoint(robot=ARM))
    with pytest.raises(CheckpointError, match="the kinematics of SO-101 are not known"):
        PoseWorld(of_arm)
    world = PoseWorld(of_arm, lambda poses, numbers: np.hstack([poses, np.zeros((len(poses), 12))]))
    (moment,) = world.begin([world.start(0)], [0])
    assert moment.readout is not None
    np.testing.assert_array_equal(moment.readout.base_pose, moment.pose)


def test_a_planner_turns_to_its_target_in_it(simulator: WorldSimulator) -> None:
    world = PoseWorld(simulator)
    policy = MPC("face-target", "icem", None, PlannerConfig(horizon=2, samples=32, iterations=2))
    trials = play(world, policy, "face-target", make_cases(4, 4, 0), 12)
    assert [trial.success for trial in trials] == [True] * 4


def test_a_planner_that_acts_elsewhere_goes_on_by_the_wheels_where_it_is_lost(
    simulator: WorldSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world in which it acts is the learned one, whose pictures the scene knows at first and then never again."""
    acted, planned = LearnedWorld(simulator), PoseWorld(simulator)
    begin, seen = PoseWorld.begin, []

    def lost_later(world: PoseWorld, histories: list, seeds: list) -> list[PoseMoment]:
        pose = np.full(3, np.nan, np.float32) if seen else acted.start(0).pose
        seen.append(pose)
        return begin(world, [replace(histories[0], pose=pose)], seeds)

    monkeypatch.setattr(PoseWorld, "begin", lost_later)
    policy = MPC("face-target", "icem", planned, PlannerConfig(horizon=2, samples=32, iterations=2))
    (trial,) = play(acted, policy, "face-target", make_cases(1, 4, 0), 12)
    assert trial.success
    assert len(seen) > 1
    assert np.isnan(seen[1]).all()


def test_the_policy_of_a_checkpoint() -> None:
    assert in_pose_world("drive-to-target").name == "icem by carried poses"
