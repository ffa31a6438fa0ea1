"""The world without pictures: its poses and read-outs are those of the learned world on the same checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.checkpoint import save
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseMoment, PoseWorld
from hwm_env.envs.wrappers import RecordReplay
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.evaluation.policies.trials import make_cases, play
from hwm_env.simulator import WorldSimulator
from policies.mpc import MPC, in_pose_world
from policies.planners.planner import PlannerConfig
from tests.arm import ARM
from tests.conftest import make_tiny_checkpoint
from tests.envs.conftest import MakeEnv, MakeVec
from tests.envs.rollouts import fingerprint, rollout
from tests.scene.scenes import make_checkpoint, make_scene

ROWS = 4


@pytest.fixture(scope="module")
def simulator() -> WorldSimulator:
    """With obstacles, so that poses are not those of the wheels alone."""
    return WorldSimulator(make_checkpoint(make_scene(walls=True)))


def drives(rng: np.random.Generator, last: np.ndarray) -> np.ndarray:
    """Random actions, [B, 17, 25], near the last ones [B, 25]."""
    return (last[:, None] + rng.uniform(-0.2, 0.2, (len(last), 17, 25))).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(simulator: WorldSimulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("walls")
    save(simulator.checkpoint, directory)
    return directory


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


@pytest.mark.parametrize("has_pose", [True, False])
def test_arrays_may_be_read_only(simulator: WorldSimulator, has_pose: bool) -> None:
    """As those that are broadcast to several rows are; PyTorch would warn."""
    world = PoseWorld(simulator)
    start = world.start(0)
    history = start if has_pose else replace(start, pose=None, expected_pose=start.pose)
    for array in (history.tokens, history.actions, history.pose, history.expected_pose):
        if array is not None:
            array.flags.writeable = False
    moments = world.begin([history], [0]) * 2
    chunks = np.broadcast_to(history.actions[-1], (2, 17, 25))
    assert [moment.predicted_steps for moment in world.step(moments, chunks)] == [1, 1]


def test_an_unknown_pose_stays_unknown(simulator: WorldSimulator) -> None:
    world = PoseWorld(simulator)
    lost = replace(world.start(0), pose=np.full(3, np.nan, np.float32))
    before = world.begin([lost, world.start(1)], [0, 0])
    after = world.step(before, drives(np.random.default_rng(0), np.zeros((2, 25))))
    for moments, source in ((before, "recording"), (after, "scene")):
        assert moments[0].readout is moments[0].pose is moments[0].pose_std is moments[0].readout_source is None
        assert moments[1].readout_source == source


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


@pytest.mark.parametrize("task", ["drive-to-target", "face-target", "look-at", "reach-cube", None])
def test_environments_without_pictures_have_the_same_states_and_rewards(
    make_env: MakeEnv, checkpoint: Path, task: str | None
) -> None:
    arguments: dict[str, Any] = {"checkpoint": checkpoint, "task": task, "obs_mode": "state", "action_mode": "hold"}
    painted, blind = make_env(**arguments), make_env(pictures=False, **arguments)
    assert blind.observation_space == painted.observation_space
    for seed in (0, 1):
        expected, got = rollout(painted, seed=seed, steps=4), rollout(blind, seed=seed, steps=4)
        for one, other in zip(expected, got, strict=True):
            *results, info = one
            assert fingerprint(other[:-1]) == fingerprint(tuple(results))
            kept = {key: value for key, value in info.items() if key not in ("confidence", "entropy")}
            assert fingerprint(other[-1]) == fingerprint(kept)


def test_rows_and_saved_states_without_pictures(make_env: MakeEnv, make_vec: MakeVec, checkpoint: Path) -> None:
    arguments: dict[str, Any] = {"checkpoint": checkpoint, "obs_mode": "state", "pictures": False}
    env, envs = make_env(**arguments), make_vec(num_envs=3, **arguments)
    batch, _ = envs.reset(seed=[5, 6, 7])
    alone, _ = env.reset(seed=6)
    np.testing.assert_array_equal(batch["goal"][1], alone["goal"])
    actions = np.stack([env.action_space.sample() for _ in range(3)])
    batch, rewards, *_ = envs.step(actions)
    state = env.unwrapped.get_state()
    alone, reward, *_ = env.step(actions[1])
    np.testing.assert_array_equal(batch["goal"][1], alone["goal"])
    assert rewards[1] == reward
    env.unwrapped.set_state(state)
    assert fingerprint(env.step(actions[1])[:2]) == fingerprint((alone, reward))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"obs_mode": "pixels_state"}, "obs_mode='pixels_state': needs pictures"),
        ({"render_mode": "rgb_array"}, "render_mode='rgb_array': needs pictures"),
        ({"untrusted_above": 0.5}, "untrusted_above=0.5: needs pictures"),
    ],
)
def test_what_needs_pictures_is_refused(
    make_env: MakeEnv, checkpoint: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_env(checkpoint=checkpoint, pictures=False, **{"obs_mode": "state", **arguments})


def test_goals_and_recordings_that_are_pictures_are_refused(
    make_env: MakeEnv, checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"obs_mode": "state", "pictures": False}
    with pytest.raises(InvalidInputError, match="a world without pictures has no latents"):
        make_env(checkpoint=checkpoint, task="goal-image", **arguments).reset(seed=0)
    with pytest.raises(InvalidInputError, match="env must predict pictures"):
        RecordReplay(make_env(checkpoint=checkpoint, **arguments), tmp_path)
    with pytest.raises(CheckpointError, match="the checkpoint has no scene"):
        make_env(checkpoint=tiny_checkpoint, **arguments)
    assert make_env("HWMReference-v0", **arguments).unwrapped.has_pictures
