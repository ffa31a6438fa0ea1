"""Trials equal a user's own loop over an environment."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env import checkpoint as checkpoints
from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.episodes import Episode
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.evaluation.policies.loading import family_of, load_policies
from hwm_env.evaluation.policies.player import LearnedAs, Player, Unit, WorldName
from hwm_env.evaluation.policies.trials import Case, make_cases, make_engine, play, play_steps
from hwm_env.policy import SCRIPTED
from hwm_env.reference.rendering import can_render
from hwm_env.scene.localiser import LocaliserConfig, localise
from hwm_env.tasks.base import EpisodeStart, Outcome, RecordedHistory, TaskView
from hwm_env.types import ACTION_DIM
from tests.evaluation.policies.scripted import Broken, Turner
from tests.scene.scenes import make_checkpoint, make_scene

CASES = [Case(0, 3), Case(2, 4), Case(1, 5)]
MAX_STEPS = 5


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Checkpoint:
    return checkpoints.load(tiny_checkpoint)


@pytest.fixture
def player(loaded: Checkpoint) -> Iterator[Player]:
    with Player(loaded, {}, MAX_STEPS) as opened:
        yield opened


@pytest.fixture(params=["learned", "true"])
def world_name(request: pytest.FixtureRequest) -> WorldName:
    if request.param == "true" and not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    name: WorldName = request.param
    return name


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.0, 0.8])
def test_trials_equal_loops_over_single_environments(
    player: Player, world_name: WorldName, tiny_checkpoint: Path, speed: float
) -> None:
    trials = play(player.world(world_name), Turner(speed), "face-target", CASES, MAX_STEPS)
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        {"learned": "HWM-v0", "true": "HWMReference-v0"}[world_name],
        checkpoint=str(tiny_checkpoint),
        task="face-target",
        obs_mode="state",
        action_mode="hold",
        max_episode_steps=MAX_STEPS,
        strict=True,
    )
    for case, trial in zip(CASES, trials, strict=True):
        policy = Turner(speed)
        policy.reset([case.seed])
        observation, _ = env.reset(seed=case.seed, options={"start": case.start})
        rewards, poses, ended = [], [], False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(policy.act([observation])[0])
            rewards.append(reward)
            poses.append(info["base_pose"])
            ended = terminated or truncated
        assert (trial.case, trial.steps, trial.success) == (case, len(rewards), info["is_success"])
        assert trial.total_reward == pytest.approx(sum(rewards))
        np.testing.assert_allclose(trial.poses, poses, atol=1e-4)
        assert len(trial.error_probability) == (len(rewards) if world_name == "true" else 0)  # It is not calibrated.
    env.close()


class Lottery:
    """A task, and its goal, whose episodes end depending on the predicted tokens."""

    name = "lottery"
    needs_readout = False
    option_names = ()

    def goal_space(self, image_size: int) -> None: ...

    def check_options(self, options: Mapping[str, Any]) -> None: ...

    def reset(self, episode: EpisodeStart) -> "Lottery":
        return self

    def describe(self) -> dict[str, Any]:
        return {}

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        ends = int(now.tokens.sum()) % 5 == 0
        return Outcome({"ends": float(ends)}, success=ends, terminated=ends)


@pytest.mark.slow
def test_episodes_that_end_early_leave_the_others_alone(player: Player) -> None:
    task: Any = Lottery()
    together = play(player.world("learned"), Turner(0.6), task, CASES * 4, 12)
    apart = [play(player.world("learned"), Turner(0.6), task, [case], 12)[0] for case in CASES]
    assert together == apart * 4
    assert len({trial.steps for trial in together}) == len(CASES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (np.full((3, ACTION_DIM), np.nan), r"'broken', start 0, step 2: .*got nan"),
        (np.zeros((3, 7)), r"'broken', start 0, step 2: .*got shape \(7,\)"),
        (np.zeros((2, ACTION_DIM)), "an action for each of 3 observations, got 2"),
        (None, "an action for each of 3 observations, got NoneType"),
    ],
)
def test_actions_that_are_none_name_their_policy(player: Player, gives: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        play(player.world("learned"), Broken(gives), "face-target", CASES, MAX_STEPS)


def test_a_planner_sees_the_worlds(player: Player) -> None:
    class Watcher(Turner):
        def begin(self, world: Any, histories: list[RecordedHistory], episodes: list[Episode[Any]]) -> None:
            self.world, self.histories = world, histories
            self.seen = [[episode.elapsed_steps for episode in episodes]]

        def watch(self, episodes: list[Episode[Any]]) -> None:
            self.seen.append([episode.elapsed_steps for episode in episodes])

    watcher, world = Watcher(0.0), player.world("learned")
    play(world, watcher, "drive-to-target", CASES, 2)
    assert watcher.seen == [[0] * 3, [0] * 3, [1] * 3]
    assert watcher.world is world
    for history, case in zip(watcher.histories, CASES, strict=True):
        np.testing.assert_array_equal(history.tokens, world.start(case.start).tokens)


def test_steps_come_as_they_are_taken(player: Player) -> None:
    world = player.world("learned")
    engine = make_engine(world, Turner(0.0), "drive-to-target", 2)
    assert [index for index, _ in play_steps(engine, Turner(0.0), CASES)] == [0, 1, 2] * 2


def test_cases_share_starts_but_no_seed() -> None:
    cases = make_cases(6, 4, seed=2)
    assert [case.start for case in cases] == [0, 1, 2, 3, 0, 1]
    assert len({case.seed for case in cases}) == 6
    assert not {case.seed for case in cases} & {case.seed for case in make_cases(6, 4, seed=3)}
    with pytest.raises(InvalidInputError, match="starts must be at least 1, got 0"):
        make_cases(0, 4, seed=0)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("policies.tour", "module:factory"),
        ("no_such_module:factory", "No module named 'no_such_module'"),
        ("tests.evaluation.policies.scripted:no_such", "has no attribute 'no_such'"),
        ("tests.evaluation.policies.scripted:__doc__", "a function of a task's name, got str"),
        ("policies.tour:Tour", "a function of a task's name: too many positional arguments"),
        (
            "tests.evaluation.policies.scripted:turners@more",
            "a function of a task's name and a string: too many positional",
        ),
        ("tests.evaluation.policies.scripted:nothing", "returned object, which lacks name, interface"),
    ],
)
def test_what_is_no_policy_is_refused(reference: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_policies(reference, "face-target")


def test_policies_are_made_for_their_task() -> None:
    assert [policy.name for policy in load_policies("tests.evaluation.policies.scripted:turners", "face-target")] == [
        "turns -0.5 rad/s",
        "turns 0 rad/s",
        "turns 0.5 rad/s",
    ]


@pytest.mark.parametrize(
    ("reference", "families"),
    [
        ("policies.experts.expert:graded_experts", {SCRIPTED}),
        ("policies.smooth_random:smooth_random", {SCRIPTED}),
        ("tests.evaluation.policies.scripted:turners", {"turns -0.5 rad/s", "turns 0 rad/s", "turns 0.5 rad/s"}),
        ("tests.evaluation.policies.scripted:checkpoints", {"run 0"}),
    ],
)
def test_a_policy_is_a_family_of_its_own_unless_it_names_one(reference: str, families: set[str]) -> None:
    assert {family_of(policy) for policy in load_policies(reference, "face-target")} == families


def test_a_family_is_a_text() -> None:
    with pytest.raises(InvalidInputError, match="the family of"):
        load_policies("tests.evaluation.policies.scripted:checkpoints@", "face-target")


@pytest.mark.slow
def test_a_player_plays_units(loaded: Checkpoint) -> None:
    policy = Turner(0.3)
    with Player(loaded, {"face-target": {policy.name: policy}}, MAX_STEPS) as player:
        trials = player.play(Unit("face-target", policy.name, "learned"), CASES)
        assert trials == play(player.world("learned"), Turner(0.3), "face-target", CASES, MAX_STEPS)


def test_a_seen_world_is_the_true_one_with_a_readout(loaded: Checkpoint) -> None:
    """The robot moves as in the reference world, and its state is estimated by the read-out."""
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    assert loaded.readout is not None
    with Player(loaded, {}, MAX_STEPS, learned_as="seen") as player:
        true, seen = player.world("true"), player.world("learned")
        chunks = np.tile(true.start(0).actions[-1], (1, 1, 1))
        (begun,) = seen.begin([seen.start(0)], [0])
        assert begun.readout.to_dict()["base_pose"] == pytest.approx(loaded.starts.poses[0].numpy())
        (truth,), (moment,) = true.step(true.begin([true.start(0)], [0]), chunks), seen.step([begun], chunks)
        np.testing.assert_array_equal(moment.measured, truth.measured)
        np.testing.assert_array_equal(moment.last_frame, truth.last_frame)
        read = loaded.readout.read(torch.from_numpy(truth.tokens.copy())[None])[0].numpy()
        np.testing.assert_array_equal(moment.readout.base_pose, read[:3])
        assert np.abs(moment.readout.base_pose - truth.readout.base_pose).max() > 1e-3


@pytest.mark.parametrize("source", ["localiser", "network"])
def test_rewards_can_come_from_what_the_pictures_show(source: LearnedAs) -> None:
    """Not from the carried pose, from which an untrained scene's pictures are far off."""
    checkpoint = make_checkpoint(make_scene(walls=True))
    with Player(checkpoint, {}, MAX_STEPS) as usual, Player(checkpoint, {}, MAX_STEPS, learned_as=source) as player:
        carried, painted = usual.world("learned"), player.world("learned")
        histories = [carried.start(row) for row in range(2)]
        begun, moments = carried.begin(histories, [0, 0]), painted.begin(histories, [0, 0])
        assert [moment.readout_source for moment in moments] == ["recording"] * 2
        chunks = np.stack([history.actions[-1] for history in histories])
        begun, moments = carried.step(begun, chunks), painted.step(moments, chunks)
        for row, (one, other) in enumerate(zip(moments, begun, strict=True)):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            assert (one.readout_source, other.readout_source) == (source, "scene")
            assert np.abs(one.readout.base_pose - other.readout.base_pose).max() > 1e-3
            tokens = torch.from_numpy(one.tokens)[None]
            if source == "network":
                assert checkpoint.readout is not None
                expected = checkpoint.readout.read(tokens)[0, :3].numpy()
            else:
                assert checkpoint.scene is not None
                scene, chunk = checkpoint.scene, torch.from_numpy(chunks[row : row + 1, None])
                end = torch.from_numpy(other.pose)[None, None]
                config = LocaliserConfig(coarse_clips=1)
                expected = localise(scene.model, scene.odometry, tokens[:, None], chunk, end, config).poses[0].numpy()
            np.testing.assert_allclose(one.readout.base_pose, expected, atol=1e-5)


def test_poses_alone_give_the_same_trials_to_policies_that_see_no_pictures() -> None:
    checkpoint = make_checkpoint(make_scene(walls=True))
    policies = {"face-target": {"turner": Turner(0.3)}}
    unit = Unit("face-target", "turner", "learned")
    with (
        Player(checkpoint, policies, MAX_STEPS) as usual,
        Player(checkpoint, policies, MAX_STEPS, learned_as="poses") as blind,
    ):
        assert blind.play(unit, CASES) == usual.play(unit, CASES)
        assert not blind.world("learned").has_pictures
        chunks = np.stack([usual.world("learned").start(0).actions[-1]])
        pictures = []
        for player in (usual, blind):
            world = player.pictured("learned")
            (moment,) = world.step(world.begin([world.start(0)], [0]), chunks)
            pictures.append(moment.last_frame)
        np.testing.assert_array_equal(*pictures)
        assert usual.pictured("learned") is usual.world("learned")


def test_what_the_pictures_cannot_be_read_by_is_said(loaded: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="the checkpoint has no scene"):
        Player(loaded, {}, MAX_STEPS, learned_as="localiser").world("learned")
    without = replace(loaded, readout=None)
    with pytest.raises(CheckpointError, match="the checkpoint has no read-out"):
        Player(without, {}, MAX_STEPS, learned_as="network").world("learned")
