"""RecordReplay: recordings can be replayed, and end where they no longer could."""

import itertools
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.wrappers import RecordReplay, RepeatAction
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay
from tests.envs.conftest import MakeEnv

LAST_FRAMES = {"obs_mode": "clip", "num_frames": 1}
"""Decodes all frames of a clip, as a replay does; `pixels` may differ from them by a rounding."""


def live_again(path: Path, checkpoint: Path) -> tuple[list[np.ndarray], list[bool]]:
    """Returns the last frames of a recorded episode, and whether each step was equal."""
    replay = Replay.load(path)
    steps = list(replay.run(replay.make_simulator(checkpoint)))
    return [clip.frames[0, -1].numpy() for clip, _ in steps], [is_equal for _, is_equal in steps]


def play(env: Any, steps: int) -> list[np.ndarray]:
    return [env.step(env.action_space.sample())[0] for _ in range(steps)]


SETTINGS = [
    {},
    {"action_mode": "hold", "normalized_actions": True},
    {"history": "streaming", "decoding_steps": 3},
    {"temperature": 0.0, "order": "halton", "action_mode": "delta"},
    {"strict": True, "decoding_steps": 1},
    {"precision": "bfloat16", "decoding_steps": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_episode_is_lived_again(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    env = RecordReplay(make_env(**LAST_FRAMES, **settings), tmp_path)
    _, info = env.reset(seed=5)
    seen = play(env, 2)
    env.close()
    (path,) = tmp_path.iterdir()
    replay = Replay.load(path)
    assert replay.start == info["start"]
    kept = json.loads(replay.decoding)
    wanted = {"steps" if name == "decoding_steps" else name: value for name, value in settings.items()}
    assert {name: kept[name] for name in wanted if name in kept} == {
        name: value for name, value in wanted.items() if "action" not in name
    }
    frames, equal = live_again(path, tiny_checkpoint)
    assert equal == [True] * 2
    np.testing.assert_array_equal(frames, np.concatenate(seen))


def test_each_episode_with_steps_has_a_file(make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path) -> None:
    env = RecordReplay(make_env(**LAST_FRAMES), tmp_path / "new")
    env.reset(seed=0)
    first = play(env, 2)
    env.reset(seed=3)
    env.reset()
    second = play(env, 1)
    env.reset(seed=4)
    env.close()
    env.close()
    files = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in files] == ["episode_00000.npz", "episode_00001.npz"]
    for path, seen in zip(files, (first, second), strict=True):
        frames, equal = live_again(path, tiny_checkpoint)
        assert equal == [True] * len(seen)
        np.testing.assert_array_equal(frames, np.concatenate(seen))


def test_a_new_run_takes_the_next_numbers(make_env: MakeEnv, tmp_path: Path) -> None:
    """Also where two runs write side by side."""
    runs = [RecordReplay(make_env(), tmp_path) for _ in range(2)]
    for seed, env in enumerate(runs):
        env.reset(seed=seed)
        play(env, 1)
    for env in runs:
        env.close()
    later = RecordReplay(make_env(), tmp_path)
    later.reset(seed=2)
    play(later, 1)
    later.close()
    seeds = {path.name: Replay.load(path).seed for path in tmp_path.iterdir()}
    assert sorted(seeds) == ["episode_00000.npz", "episode_00001.npz", "episode_00002.npz"]
    assert len(set(seeds.values())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_episodes_that_begin_at_a_state_are_lived_again(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path, history: str
) -> None:
    env = RecordReplay(make_env(history=history, **LAST_FRAMES), tmp_path)
    env.reset(seed=0)
    play(env, 2)
    env.reset(options={"state": env.unwrapped.get_state()})
    seen = play(env, 3)
    env.close()
    path = tmp_path / "episode_00001.npz"
    replay = Replay.load(path)
    assert (replay.start, replay.step_index) == (-1, 2)
    frames, equal = live_again(path, tiny_checkpoint)
    assert equal == [True] * 3
    np.testing.assert_array_equal(frames, np.concatenate(seen))


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_a_recording_ends_where_a_state_is_gone_back_to(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, copied: bool
) -> None:
    env = RecordReplay(make_env(**LAST_FRAMES), tmp_path)
    env.reset(seed=0)
    play(env, 1)
    state = env.unwrapped.get_state()
    seen = play(env, 1)
    env.unwrapped.set_state(pickle.loads(pickle.dumps(state)) if copied else state)
    assert not caplog.records, "nothing has followed yet"
    play(env, 2)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "hwm_env.envs.wrappers.record_replay")
    assert "the recording of the episode ends here" in record.message
    env.reset(seed=1)
    env.close()
    (path,) = tmp_path.iterdir()
    frames, equal = live_again(path, tiny_checkpoint)
    assert equal == [True] * 2
    np.testing.assert_array_equal(frames[-1:], seen[0])


def test_going_back_to_where_one_is_ends_nothing(
    make_env: MakeEnv, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = RecordReplay(make_env(), tmp_path)
    env.reset(seed=0)
    for _ in range(2):
        env.unwrapped.set_state(env.unwrapped.get_state())
        play(env, 1)
    env.close()
    assert len(Replay.load(tmp_path / "episode_00000.npz").actions) == 2
    assert not caplog.records


def test_refused_resets_and_actions_are_not_recorded(make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path) -> None:
    env = RecordReplay(make_env(), tmp_path)
    env.reset(seed=0)
    play(env, 1)
    for wrong in (lambda: env.reset(options={"start": -1}), lambda: env.step(np.full((17, 25), np.nan))):
        with pytest.raises(InvalidInputError):
            wrong()
    play(env, 1)
    env.close()
    assert live_again(tmp_path / "episode_00000.npz", tiny_checkpoint)[1] == [True, True]


def test_what_was_executed_is_recorded_and_not_what_was_sent(make_env: MakeEnv, tmp_path: Path) -> None:
    env = RecordReplay(make_env(), tmp_path)
    env.reset(seed=0)
    env.step(np.full((17, 25), 1e9))
    env.close()
    expected = np.broadcast_to(env.action_space.high, (1, 17, 25))
    np.testing.assert_array_equal(Replay.load(tmp_path / "episode_00000.npz").actions, expected)


def test_wrappers_inside_change_nothing(make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path) -> None:
    inner = gymnasium.wrappers.TimeLimit(gymnasium.wrappers.FlattenObservation(make_env()), 2)
    env = RecordReplay(inner, tmp_path)
    for _ in range(2):
        env.reset()
        for _ in itertools.takewhile(lambda _: not env.step(env.action_space.sample())[3], range(5)):
            pass
    env.close()
    assert [live_again(path, tiny_checkpoint)[1] for path in sorted(tmp_path.iterdir())] == [[True, True]] * 2


def test_inside_of_repeated_actions_no_step_is_missing(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="must be inside RepeatAction, not around it"):
        RecordReplay(RepeatAction(make_env(), 2), tmp_path)
    env = RepeatAction(RecordReplay(make_env(), tmp_path), 2)
    env.reset(seed=0)
    play(env, 2)
    env.close()
    assert live_again(tmp_path / "episode_00000.npz", tiny_checkpoint)[1] == [True] * 4


def test_only_learned_worlds_are_recorded(make_env: MakeEnv, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="env must be HWM-v0 or HWMReference-v0, got CartPoleEnv"):
        RecordReplay(gymnasium.make("CartPole-v1"), tmp_path)
    with pytest.raises(InvalidInputError, match=r"env must be HWM-v0, .* got HumanoidReferenceEnv"):
        RecordReplay(make_env("HWMReference-v0"), tmp_path)
