"""Vector environments, row by row against single environments."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hwm_env.envs.vector import HumanoidVectorEnv
from hwm_env.envs.world_model_env import HumanoidWorldModelVectorEnv
from hwm_env.errors import InvalidInputError, ModelOutputError
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint


def row_of(batch: Any, row: int) -> Any:
    """Returns one row of a batched observation."""
    return {name: part[row] for name, part in batch.items()} if isinstance(batch, dict) else batch[row]


def info_of(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """Returns one row of infos as Gymnasium batches them."""
    own = {}
    for name, value in infos.items():
        if name.startswith("_") or not infos.get(f"_{name}", np.ones(row + 1, bool))[row]:
            continue
        own[name] = info_of(value, row) if isinstance(value, dict) else value[row]
    return own


def same(one: Any, other: Any) -> bool:
    """Returns whether values are equal to the bit, apart from the Python types of numbers."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[name], other[name]) for name in one)
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
@pytest.mark.parametrize("obs_mode", ["pixels_state", "tokens"])
def test_rows_have_the_episodes_of_single_environments(
    make_vec: Any, make_env: MakeEnv, obs_mode: str, history: str
) -> None:
    arguments = {"obs_mode": obs_mode, "history": history, "max_episode_steps": 3, "strict": True}
    envs, singles = make_vec(5, **arguments), [make_env(**arguments) for _ in range(5)]
    observations, infos = envs.reset(seed=10)
    for row, env in enumerate(singles):
        observation, info = env.reset(seed=10 + row)
        assert same(observation, row_of(observations, row))
        assert same(info, info_of(infos, row))
    envs.action_space.seed(0)
    ended = [False] * 5
    for _ in range(7):
        actions = envs.action_space.sample()
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for row, env in enumerate(singles):
            # The default autoreset: after the step in which an episode ended comes one that begins another.
            if ended[row]:
                observation, info = env.reset()
                outcome: list[Any] = [0.0, False, False]
            else:
                observation, *outcome, info = env.step(actions[row])
            assert same(observation, row_of(observations, row))
            assert outcome == [rewards[row], terminated[row], truncated[row]]
            assert same(info, info_of(infos, row))
            ended[row] = outcome[1] or outcome[2]


def test_the_reference_world_has_rows_too(make_vec: Any, make_env: MakeEnv) -> None:
    envs = make_vec(2, "HWMReference-v0", obs_mode="pixels_state")
    observations, _ = envs.reset(seed=0)
    actions = envs.action_space.sample()
    stepped = envs.step(actions)
    env = make_env("HWMReference-v0", obs_mode="pixels_state")
    assert same(env.reset(seed=1)[0], row_of(observations, 1))
    observation, reward, *_ = env.step(actions[1])
    assert same(observation, row_of(stepped[0], 1))
    assert reward == stepped[1][1]


def test_spaces_are_those_of_a_single_environment_batched(make_vec: Any, make_env: MakeEnv) -> None:
    envs, env = make_vec(4, obs_mode="pixels_state"), make_env(obs_mode="pixels_state")
    assert isinstance(envs.unwrapped, HumanoidVectorEnv)
    assert envs.single_observation_space == env.observation_space
    assert envs.observation_space == batch_space(env.observation_space, 4)
    assert envs.action_space == batch_space(env.action_space, 4)
    observations, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observations)
    observations, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(observations)
    assert [(x.shape, x.dtype) for x in (rewards, terminated, truncated)] == [
        ((4,), np.float64), ((4,), np.bool_), ((4,), np.bool_)
    ]  # fmt: skip
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_same_step_resets_keep_what_the_episode_ended_with(make_vec: Any, make_env: MakeEnv) -> None:
    envs, env = make_vec(2, max_episode_steps=2, autoreset_mode="SAME_STEP"), make_env(max_episode_steps=2)
    envs.reset(seed=0)
    env.reset(seed=1)
    for _ in range(2):
        actions = envs.action_space.sample()
        observations, rewards, _, truncated, infos = envs.step(actions)
        final = env.step(actions[1])
    assert truncated.all()
    assert same(infos["final_obs"][1], final[0])
    assert rewards[1] == final[1]
    assert same(info_of(infos["final_info"], 1)["base_pose"], final[-1]["base_pose"])
    assert same(observations[1], env.reset()[0])
    assert not envs.step(envs.action_space.sample())[3].any()


def test_without_autoreset_the_user_must_reset(make_vec: Any) -> None:
    envs = make_vec(3, max_episode_steps=1, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"rows \[0, 1, 2\] have ended"):
        envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"rows \[1\] have ended"):
        envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.step(envs.action_space.sample())[3].all()


@pytest.mark.slow
def test_some_rows_can_be_reset(make_vec: Any) -> None:
    envs, twin = make_vec(3, obs_mode="tokens", strict=True), make_vec(3, obs_mode="tokens", strict=True)
    for each in (envs, twin):
        each.reset(seed=0)
    actions = envs.action_space.sample()
    for each in (envs, twin):
        before = each.step(actions)[0]
    mask = np.array([False, True, False])
    observations, infos = envs.reset(seed=[None, 77, None], options={"reset_mask": mask, "start": 2})
    assert same(observations[[0, 2]], before[[0, 2]])
    assert infos["start"][1] == 2
    assert infos["_start"].tolist() == mask.tolist()
    after, expected = envs.step(actions)[0], twin.step(actions)[0]
    assert same(after[[0, 2]], expected[[0, 2]]), "the other rows continue unchanged"
    assert (after[1] != expected[1]).any()


@pytest.mark.parametrize(("mode", "expected"), [("NEXT_STEP", [3, 2, 1, 2]), ("SAME_STEP", [3, 2, 1, 2, 1])])
def test_rows_that_begin_at_the_same_time_are_computed_together(
    make_vec: Any, mode: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = make_vec(3, max_episode_steps=2, autoreset_mode=mode, decoding_steps=1, history="streaming")
    simulator, batches = envs.unwrapped.simulator, []
    begin = simulator.begin

    def counted(tokens: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        batches.append(len(tokens))
        return begin(tokens, *arguments, **named)

    monkeypatch.setattr(simulator, "begin", counted)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False, True])})
    for _ in range(3):
        envs.step(envs.action_space.sample())
    assert batches == expected


@pytest.mark.slow
def test_rows_begin_at_starts_and_saved_states_at_once(make_vec: Any, make_env: MakeEnv) -> None:
    envs, env = make_vec(3, obs_mode="tokens", strict=True), make_env(obs_mode="tokens", strict=True)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    state = envs.get_state()[2]
    options = [{"start": 1}, {"state": state}, {"start": 3}]
    observations, infos = envs.reset(seed=5, options={"per_world": options})
    actions = envs.action_space.sample()
    after = envs.step(actions)[0]
    for row, of_row in enumerate(options):
        observation, info = env.reset(seed=5 + row, options=of_row)
        assert same(observation, observations[row])
        assert same(info, info_of(infos, row))
        assert same(env.step(actions[row])[0], after[row])


def test_options_can_differ_by_row(make_vec: Any) -> None:
    envs = make_vec(3)
    infos = envs.reset(seed=0, options={"target": "sofa", "per_world": [{"start": 3}, None, {"target": "door"}]})[1]
    assert infos["start"][0] == 3
    assert infos["target"].tolist() == ["sofa", "sofa", "door"]


def test_rows_with_histories_of_different_lengths_share_a_batch(make_vec: Any) -> None:
    envs = make_vec(3, obs_mode="tokens", task=None, strict=True)
    envs.reset(seed=0)
    engine = envs.unwrapped._engine
    start = engine.world.start(0)
    (short,) = engine.world.begin([type(start)(start.tokens[-2:], start.actions[-2:], start.pose)], [5])
    states = list(envs.get_state())
    states[1] = type(states[1])(states[1].origin, type(states[1].episode)(short, None, 0), states[1].np_random)
    actions = envs.action_space.sample()
    expected = envs.step(actions)[0]
    envs.set_state(states)
    observations = envs.step(actions)[0]
    assert same(observations[[0, 2]], expected[[0, 2]])
    alone = envs.unwrapped.simulator.step(short.state, torch.from_numpy(actions[1:2]))[1].tokens[0]
    assert same(observations[1], alone.numpy())


def test_states_branch_a_row_and_fit_single_environments(make_vec: Any, make_env: MakeEnv) -> None:
    envs, env = make_vec(3, obs_mode="tokens", strict=True), make_env(obs_mode="tokens", strict=True)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    state = envs.get_state()[1]
    envs.set_state([state] * 3)
    action = envs.single_action_space.sample()
    observations = envs.step(np.stack([action] * 3))[0]
    assert same(observations[0], observations[1])
    env.reset(seed=5)
    env.unwrapped.set_state(state)
    assert same(env.step(action)[0], observations[2])
    env.unwrapped.set_state(envs.get_state()[0])
    assert same(env.unwrapped.moment.tokens, observations[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ([1, 2], "seed must be a number, or one for each of 3 rows, got 2"),
        ([4, 5, 4], "row 2: seed 4 is also that of row 0"),
        ([1, -2, 3], "row 1: seed must be at least 0 or None, got -2"),
        ([1, 2, 3.5], "row 2: seed must be .* got 3.5"),
    ],
)
def test_bad_seeds_change_nothing(make_vec: Any, seed: Any, message: str) -> None:
    check_unharmed(make_vec, lambda envs: envs.reset(seed=seed), message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stat": 1}, r"row 0: options must be some of .*, got unknown \['stat'\]"),
        ({"per_world": [{}, {"start": "first"}, {}]}, "row 1: the option start must be .* got 'first'"),
        ({"per_world": [{"start": i} for i in range(2, 5)]}, "row 2: the option start must be below 4, got 4"),
        ({"per_world": [{}]}, "per_world must be options for each of 3 rows, got 1"),
        ({"per_world": [{}, 5, {}]}, "per_world.1. must be a dict"),
        ({"reset_mask": np.zeros(3, bool)}, r"reset_mask must be a bool array of shape \(3,\) with a True"),
        ({"reset_mask": [True, False, True]}, "reset_mask must be a bool array"),
        ([{}, {}, {}], "options must be a dict or None, got"),
    ],
)
def test_bad_options_change_nothing(make_vec: Any, options: Any, message: str) -> None:
    check_unharmed(make_vec, lambda envs: envs.reset(seed=9, options=options), message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda actions: spoilt(actions, np.nan), r"row 1: action: expected 17 x 25 finite numbers .* got nan"),
        (lambda actions: actions[:2], "one for each of 3 rows, got 2"),
        (lambda actions: actions[:, :16], "row 0: action: expected 17 x 25 .* got shape"),
        (lambda actions: None, "actions: expected one for each row, got NoneType"),
    ],
)
def test_bad_actions_change_nothing(make_vec: Any, spoil: Any, message: str) -> None:
    check_unharmed(make_vec, lambda envs: envs.step(spoil(envs.action_space.sample())), message)


@pytest.mark.slow
def test_foreign_states_change_nothing(make_vec: Any) -> None:
    other = make_vec(1, task=None)
    other.reset(seed=0)

    def call(envs: Any) -> None:
        envs.set_state([*envs.get_state()[:2], *other.get_state()])

    check_unharmed(make_vec, call, "row 2: state must be of this environment")
    check_unharmed(make_vec, lambda envs: envs.set_state(envs.get_state()[:1]), "for each of 3 rows, got 1")


def spoilt(actions: np.ndarray, value: float) -> np.ndarray:
    actions[1, 3, 4] = value
    return actions


def check_unharmed(make_vec: Any, call: Any, message: str) -> None:
    """A call that is refused changes no row."""
    envs, twin = make_vec(3), make_vec(3)
    for each in (envs, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match=message):
        call(envs)
    actions = envs.action_space.sample()
    for _ in range(2):
        assert fingerprint(list(envs.step(actions)[:4])) == fingerprint(list(twin.step(actions)[:4]))
    assert fingerprint(list(envs.reset())) == fingerprint(list(twin.reset()))


@pytest.mark.parametrize("strict", [False, True])
def test_output_that_is_not_finite_is_named_by_row(
    make_vec: Any, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = make_vec(3, strict=strict, history="window")
    envs.reset(seed=0, options={"per_world": [{"start": start} for start in range(3)]})
    model, before = envs.unwrapped.simulator.model, [moment.tokens for moment in envs.unwrapped.moments]
    encode, broken_clip = model.encode_history, envs.unwrapped.moments[1].state.tokens[0, -2]

    def nonsense(past: torch.Tensor, actions: torch.Tensor, **arguments: Any) -> Any:
        history = encode(past, actions, **arguments)
        history.clips[-1].video_values[:, (past[:, -1] == broken_clip).flatten(1).all(dim=1)] = torch.nan
        return history

    monkeypatch.setattr(model, "encode_history", nonsense)
    with pytest.raises(ModelOutputError, match=r"not finite in row 1; no state has changed") as caught:
        envs.step(envs.action_space.sample())
    assert caught.value.rows == (1,)
    assert same(np.stack([moment.tokens for moment in envs.unwrapped.moments]), np.stack(before))
    envs.reset(options={"reset_mask": np.array([False, True, False]), "start": 3})
    assert np.isfinite(envs.step(envs.action_space.sample())[1]).all(), "the other rows are unharmed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"autoreset_mode": "LATER"}, "autoreset_mode must be one of .* got 'LATER'"),
        ({"render_mode": "human"}, "render_mode of a vector environment must be None or 'rgb_array', got 'human'"),
    ],
)
def test_bad_arguments_are_refused(tiny_checkpoint: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        HumanoidWorldModelVectorEnv(**{"checkpoint": tiny_checkpoint, **arguments})


def test_pictures_of_all_rows(make_vec: Any) -> None:
    envs = make_vec(2, render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.render()
    observations, _ = envs.reset(seed=0)
    pictures = envs.render()
    assert [picture.shape for picture in pictures] == [(256, 256, 3)] * 2
    np.testing.assert_array_equal(pictures[1][::4, ::4], observations[1])


def test_stepping_needs_a_reset(make_vec: Any) -> None:
    envs = make_vec(2)
    for call in (
        lambda: envs.step(envs.action_space.sample()),
        lambda: envs.get_state(),
        lambda: envs.reset(options={"reset_mask": np.array([True, False])}),
    ):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()


def test_a_step_in_which_a_new_episode_fails_changes_nothing(make_vec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"max_episode_steps": 1, "autoreset_mode": "SAME_STEP", "decoding_steps": 1}
    envs, twin = make_vec(2, **arguments), make_vec(2, **arguments)
    for each in (envs, twin):
        each.reset(seed=0)
    actions = np.stack([envs.single_action_space.high] * 2)
    task, begun = envs.unwrapped._engine.task, []
    reset = task.reset

    def fail_at_the_second(start: Any) -> Any:
        begun.append(reset(start))
        if len(begun) == 2:
            raise InvalidInputError("no")
        return begun[-1]

    with monkeypatch.context() as patch:
        patch.setattr(task, "reset", fail_at_the_second)
        with pytest.raises(InvalidInputError, match="row 1: no"):
            envs.step(actions)
    for one, other in zip(envs.step(actions)[:4], twin.step(actions)[:4], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "at_once"),
    [
        ({"obs_mode": "pixels"}, [3, 3]),
        ({"obs_mode": "pixels", "strict": True}, [1] * 6),
        ({"obs_mode": "tokens"}, [1]),
    ],
    ids=["observed", "strict", "one is looked at"],
)
def test_frames_that_are_observed_are_decoded_together(
    make_vec: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], at_once: list[int]
) -> None:
    envs = make_vec(3, task=None, **arguments).unwrapped
    tokenizer, decoded = envs.simulator.tokenizer, []
    decode_last = tokenizer.decode_last

    def noted(tokens: torch.Tensor) -> torch.Tensor:
        decoded.append(len(tokens))
        return decode_last(tokens)

    monkeypatch.setattr(tokenizer, "decode_last", noted)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    frames = [envs.moments[row].last_frame for row in range(3 if arguments["obs_mode"] == "pixels" else 1)]
    assert decoded == at_once
    for frame, moment in zip(frames, envs.moments, strict=False):
        assert np.array_equal(frame, decode_last(torch.from_numpy(moment.tokens)[None])[0])
