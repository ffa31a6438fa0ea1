"""goal-image: goals of every kind, in both worlds, against closed forms and what the worlds show."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load
from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import EpisodeStart
from hwm_env.tasks.goal_image import TOLERANCES, GoalImage, GoalImageGoal
from hwm_env.tasks.registry import make_task
from tests.conftest import NUM_STARTS
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout
from tests.tasks.seen import naive_latent_distance, random_tokens, seen


def goal_of(env: Any) -> GoalImageGoal:
    return env.unwrapped.get_state().episode.goal


def distance_here(env: Any) -> float:
    return goal_of(env).distance_to(env.unwrapped.moment)


def at(value: float) -> SimpleNamespace:
    """A moment all of whose values are the same."""
    return seen(latents=np.full((3, 2, 2, 6), value, np.float32))


def test_coming_nearer_and_arriving_are_rewarded() -> None:
    goal = GoalImageGoal(np.zeros((16, 16, 3), np.uint8), np.zeros((2, 2, 6), np.float32), "latents", 0.25, None)
    nearer = goal.evaluate(at(-0.75), at(0.5), 1)
    assert (dict(nearer.reward_terms), nearer.success, nearer.terminated) == (
        {"progress": 0.25, "success": 0.0},
        False,
        False,
    )
    # Exactly at the tolerance.
    there = goal.evaluate(at(0.5), at(0.25), 7)
    assert (dict(there.reward_terms), there.success, there.terminated) == (
        {"progress": 0.25, "success": 5.0},
        True,
        True,
    )
    assert goal.evaluate(at(0.25), at(0.5), 8).reward == -0.25


@pytest.mark.parametrize("space", ["latents", "pixels"])
def test_progress_adds_up_to_the_distance_gained(make_env: MakeEnv, space: str) -> None:
    env = make_env(task=GoalImage(space, tolerance=0.0))
    env.reset(seed=0)
    first = distance_here(env)
    env.action_space.seed(0)
    progress = [env.step(env.action_space.sample())[-1]["reward_terms"]["progress"] for _ in range(4)]
    assert first != distance_here(env)
    assert sum(progress) == pytest.approx(first - distance_here(env))


def test_a_step_is_rewarded_by_the_tokens_that_it_leads_to(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task="goal-image", obs_mode="tokens", action_mode="delta")
    goal = env.reset(seed=0, options={"start": 1})[0]
    before, info = env.reset(seed=0, options={"start": 0, "goal": 1})
    assert info["goal_start"] == 1
    after, reward, terminated, _, info = env.step(env.action_space.sample())
    away = naive_latent_distance(after, goal)
    success = away <= TOLERANCES["latents"]
    assert reward == pytest.approx(naive_latent_distance(before, goal) - away + 5 * success, abs=1e-6)
    assert terminated == info["is_success"] == success


@pytest.mark.slow
@pytest.mark.parametrize("space", ["latents", "tokens"])
def test_the_clip_that_is_shown_is_no_way_from_itself(make_env: MakeEnv, env_id: str, space: str) -> None:
    env = make_env(env_id, task=GoalImage(space))
    env.reset(seed=0, options={"start": 2, "goal": 2})
    assert distance_here(env) == 0.0
    env.step(env.action_space.sample())
    tokens = env.unwrapped.moment.tokens.copy()
    state = env.unwrapped.get_state()
    env.reset(seed=0, options={"state": state, "goal": tokens.astype(np.int64)})
    assert distance_here(env) == 0.0
    tokens[-1, 3, 4] ^= 1
    env.reset(seed=0, options={"state": state, "goal": tokens})
    assert distance_here(env) > 0.0


def test_a_clip_is_compared_by_what_the_tokenizer_makes_of_it(make_env: MakeEnv) -> None:
    # The reference world's tokens are made of its frames.
    env = make_env("HWMReference-v0", task="goal-image")
    env.reset(seed=0)
    state, clip = env.unwrapped.get_state(), env.unwrapped.clip
    info = env.reset(seed=0, options={"state": state, "goal": clip})[1]
    assert distance_here(env) == 0.0
    assert info["goal_start"] == -1
    env.reset(seed=0, options={"state": state, "goal": clip[::-1]})
    assert distance_here(env) > 0.0


def test_a_picture_stands_for_a_clip_in_which_nothing_moves(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    picture = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    tokens = load(tiny_checkpoint).tokenizer.encode(torch.from_numpy(np.stack([picture] * 17))[None])[0].numpy()
    env = make_env(task="goal-image", obs_mode="pixels_state")
    observation, _ = env.reset(seed=0, options={"goal": picture})
    np.testing.assert_array_equal(observation["goal"], picture)
    assert distance_here(env) == pytest.approx(naive_latent_distance(env.unwrapped.moment.tokens, tokens), abs=1e-6)
    in_pixels = make_env(task=GoalImage("pixels"), obs_mode="pixels_state")
    observation, _ = in_pixels.reset(seed=0, options={"goal": picture})
    difference = observation["pixels"].astype(float) - picture
    assert distance_here(in_pixels) == pytest.approx(np.sqrt((difference**2).mean()) / 255)


def test_the_last_frame_of_a_numbered_start_is_shown(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task="goal-image", obs_mode="pixels_state")
    for start in (0, NUM_STARTS - 1, np.int64(1)):
        picture = env.reset(seed=0, options={"start": int(start)})[0]["pixels"]
        observation, info = env.reset(seed=0, options={"start": 0, "goal": start})
        np.testing.assert_array_equal(observation["goal"], picture)
        assert observation in env.observation_space
        assert info["goal_start"] == start
        assert type(info["goal_start"]) is int
    observation["goal"][:] = 0
    assert env.step(env.action_space.sample())[0]["goal"].any(), "the user's copy is the user's"


def test_tokens_are_shown_as_their_last_frame(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    tokens = random_tokens(np.random.default_rng(0), 3, 8, 8)
    observation, info = make_env(task="goal-image", obs_mode="pixels_state").reset(seed=0, options={"goal": tokens})
    expected = load(tiny_checkpoint).tokenizer.decode(torch.from_numpy(tokens)[None])[0, -1].numpy()
    assert np.abs(observation["goal"].astype(int) - expected).max() <= 1
    assert info["goal_start"] == -1


@pytest.mark.slow
def test_goals_are_drawn_from_all_starts_and_naming_the_one_drawn_changes_nothing(make_env: MakeEnv) -> None:
    env = make_env(task="goal-image", obs_mode="pixels_state")
    assert {env.reset(seed=seed)[1]["goal_start"] for seed in range(30)} == set(range(NUM_STARTS))

    def episodes(**options: int) -> str:
        return fingerprint([rollout(env, seed=3, steps=1, options=options), *(env.reset() for _ in range(5))])

    assert episodes(goal=env.reset(seed=3)[1]["goal_start"]) == episodes()


def test_states_keep_their_goal(make_env: MakeEnv) -> None:
    env = make_env(task="goal-image", obs_mode="pixels_state")
    goal = env.reset(seed=0, options={"goal": 1})[0]["goal"]
    state = env.unwrapped.get_state()
    env.reset(seed=0, options={"goal": 3})
    env.unwrapped.set_state(state)
    np.testing.assert_array_equal(env.step(env.action_space.sample())[0]["goal"], goal)


def test_a_goal_within_the_tolerance_ends_the_episode(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task=GoalImage("tokens", tolerance=1.0))
    _, reward, terminated, _, info = rollout(env, seed=0, steps=1)[-1]
    assert info["reward_terms"]["success"] == 5.0
    assert reward == pytest.approx(5.0 + info["reward_terms"]["progress"])
    assert terminated
    assert info["is_success"]


def test_tolerances_depend_on_the_space() -> None:
    assert {space: GoalImage(space).tolerance for space in TOLERANCES} == dict(TOLERANCES)
    assert GoalImage("pixels", tolerance=0).tolerance == 0
    assert make_task("goal-image").space == "latents"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "sound"}, r"space must be one of 'latents', 'tokens' or 'pixels', got 'sound'"),
        ({"tolerance": -0.1}, "tolerance must be at least 0 or None, got -0.1"),
        ({"tolerance": float("nan")}, "got nan"),
        ({"tolerance": float("inf")}, "got inf"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        GoalImage(**arguments)


PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "message"),
    [
        pytest.param(None, "got None", id="None"),
        pytest.param("sofa", "got 'sofa'", id="text"),
        pytest.param(True, "got True", id="bool"),
        pytest.param(1.0, "got 1.0", id="float"),
        pytest.param(PICTURE.astype(np.float32), r"got float32 \[64, 64, 3\]", id="float picture"),
        pytest.param(PICTURE[0], r"got uint8 \[64, 3\]", id="row"),
        pytest.param(PICTURE.tolist(), "got ", id="list"),
    ],
)
def test_what_cannot_be_a_goal_is_refused_before_anything_changes(make_env: MakeEnv, goal: Any, message: str) -> None:
    env, twin = make_env(task="goal-image"), make_env(task="goal-image")
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match=rf"goal must be the index of a recorded start, a picture .*{message}"):
        env.reset(seed=1, options={"goal": goal})
    assert fingerprint(env.reset()) == fingerprint(twin.reset())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "message"),
    [
        pytest.param(NUM_STARTS, rf"goal must be a start in 0..{NUM_STARTS - 1}, got {NUM_STARTS}", id="no such start"),
        pytest.param(-1, "got -1", id="negative"),
        pytest.param(np.zeros((32, 32, 3), np.uint8), r"uint8 \[64, 64, 3\] or .*got uint8 \[32, 32, 3\]", id="small"),
        pytest.param(np.zeros((16, 64, 64, 3), np.uint8), r"\[17, 64, 64, 3\].*got uint8 \[16", id="short clip"),
        pytest.param(PICTURE.astype(np.int32), r"got int32 \[64, 64, 3\]", id="int picture"),
        pytest.param(np.zeros((3, 8, 8), np.uint8), r"tokens int \[3, 8, 8\].*got uint8", id="tokens as bytes"),
        pytest.param(np.zeros((3, 4, 4), np.int32), r"got int32 \[3, 4, 4\]", id="small grid"),
        pytest.param(np.full((3, 8, 8), 64000, np.int32), "outside the codebook: expected 0..63999", id="codes"),
    ],
)
def test_goals_that_do_not_fit_the_world_are_refused_and_the_episode_goes_on(
    make_env: MakeEnv, env_id: str, goal: Any, message: str
) -> None:
    env = make_env(env_id, task="goal-image")
    env.reset(seed=0)
    moment = env.unwrapped.moment
    with pytest.raises(InvalidInputError, match=message):
        env.reset(options={"goal": goal})
    assert env.unwrapped.moment is moment


def test_goals_that_do_not_fit_change_nothing_to_come(make_env: MakeEnv) -> None:
    env, twin = make_env(task="goal-image"), make_env(task="goal-image")
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match="goal must be a start"):
        env.reset(seed=1, options={"goal": NUM_STARTS})
    assert fingerprint(env.reset()) == fingerprint(twin.reset())


def test_user_goals_do_not_hold_on_to_the_users_arrays(tiny_checkpoint: Path) -> None:
    checkpoint = load(tiny_checkpoint)
    clip = np.random.default_rng(0).integers(256, size=(17, 64, 64, 3), dtype=np.uint8)
    shown = seen(random_tokens(np.random.default_rng(0), 3, 8, 8), last_frame=PICTURE)
    start = EpisodeStart(
        rng=np.random.default_rng(0),
        moment=shown,
        history=None,
        options={"goal": clip},
        num_starts=NUM_STARTS,
        recorded=lambda index: shown,
        tokenizer=checkpoint.tokenizer,
        robot=checkpoint.robot,
    )
    for space in TOLERANCES:
        goal = GoalImage(space).reset(start)
        kept, away = clip.copy(), goal.distance_to(shown)
        clip[:] = 0
        np.testing.assert_array_equal(goal.observe(shown), kept[-1])
        assert goal.distance_to(shown) == away
        clip[:] = kept
