"""Sessions with the tiny checkpoint, against environments that are stepped by hand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from demos.driving.session import MOST_REWINDS, Session, SessionConfig
from hwm_env.checkpoint import save
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.reference.rendering import can_render
from hwm_env.simulator import WorldSimulator
from hwm_env.starts import Starts
from hwm_env.types import LINEAR_VELOCITY
from tests.conftest import make_tiny_checkpoint
from tests.demos.checkpoints import save_tiny_checkpoint

SEED = 3


@pytest.fixture
def session(tiny_checkpoint: Path) -> Iterator[Session]:
    opened = Session(SessionConfig(checkpoint=str(tiny_checkpoint), task="face-target", seed=SEED))
    yield opened
    opened.close()


def chunk(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return rng.uniform(-0.05, 0.05, (17, 25)).astype(np.float32)


def clips_of(env_id: str, checkpoint: Path, numbers: list[int]) -> list[np.ndarray]:
    """Returns the frames of a user's own loop."""
    env: Any = gymnasium.make(env_id, checkpoint=str(checkpoint), task="face-target", obs_mode="state").unwrapped
    env.reset(seed=SEED)
    clips = []
    for number in numbers:
        env.step(chunk(number))
        clips.append(env.clip)
    env.close()
    return clips


def test_a_drive_is_what_the_environment_does(session: Session, tiny_checkpoint: Path) -> None:
    for number, expected in enumerate(clips_of("HWM-v0", tiny_checkpoint, [0, 1, 2])):
        snapshot = session.step(chunk(number))
        np.testing.assert_array_equal(snapshot.views["learned"].frames, expected)
        assert snapshot.step == number + 1
        assert "target" in snapshot.views["learned"].info
    assert snapshot.views["learned"].total_reward != snapshot.views["learned"].reward


def test_a_track_has_the_poses_of_all_steps(tmp_path: Path) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path)
    session = Session(SessionConfig(checkpoint=str(checkpoint), start=1))
    driven = chunk(0)
    driven[:, LINEAR_VELOCITY] = 0.4
    poses = [session.step(driven).views["learned"].info["pose"] for _ in range(3)]
    track = session.now.views["learned"].track
    np.testing.assert_array_equal(track.poses[1:], poses)
    assert np.linalg.norm(track.poses[1, :2] - track.poses[0, :2]) == pytest.approx(0.4 * 17 / 30, rel=0.01)
    np.testing.assert_array_equal(session.rewind(1).views["learned"].track.poses, track.poses[:2])
    assert len(session.reset(2, SEED).views["learned"].track.poses) == 1
    assert session.scene is not None
    session.close()


def test_a_world_without_a_scene_knows_no_place(session: Session) -> None:
    assert session.scene is None
    assert not session.step(chunk(0)).views["learned"].track.is_known


def test_another_branch_leaves_the_first_steps_as_they_were(session: Session, tiny_checkpoint: Path) -> None:
    first = [session.step(chunk(number)).views["learned"].frames for number in (0, 1, 2)]
    back = session.rewind(1)
    assert (back.step, back.rewinds) == (1, 1)
    np.testing.assert_array_equal(back.views["learned"].frames[0], first[0][-1])
    for number, expected in zip((7, 8), clips_of("HWM-v0", tiny_checkpoint, [0, 7, 8])[1:], strict=True):
        np.testing.assert_array_equal(session.step(chunk(number)).views["learned"].frames, expected)
    session.rewind(1)
    np.testing.assert_array_equal(session.step(chunk(1)).views["learned"].frames, first[1])


@pytest.mark.slow
def test_the_other_world_catches_up(session: Session, tiny_checkpoint: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    truth = clips_of("HWMReference-v0", tiny_checkpoint, [0, 1, 2])
    for number in (0, 1):
        session.step(chunk(number))
    shown = session.show(("learned", "reference"))
    np.testing.assert_array_equal(shown.views["reference"].frames[0], truth[1][-1])
    both = session.step(chunk(2))
    np.testing.assert_array_equal(both.views["reference"].frames, truth[2])
    assert both.views["learned"].info["target"] == both.views["reference"].info["target"]


@pytest.mark.slow
def test_a_world_may_be_hidden_while_the_drive_is_taken_back(session: Session, tiny_checkpoint: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    session.show(("learned", "reference"))
    for number in (0, 1):
        session.step(chunk(number))
    session.show(("learned",))
    session.rewind(1)
    session.step(chunk(5))
    shown = session.show(("reference",))
    np.testing.assert_array_equal(
        shown.views["reference"].frames[0], clips_of("HWMReference-v0", tiny_checkpoint, [0, 5])[1][-1]
    )


def test_a_reset_begins_at_the_given_start(session: Session) -> None:
    session.step(chunk(0))
    snapshot = session.reset(2, 9)
    assert (snapshot.step, snapshot.rewinds, snapshot.views["learned"].info["start"]) == (0, 0, 2)
    session.step(chunk(0))
    with pytest.raises(InvalidInputError, match="start must be 0 to 3, got 4"):
        session.reset(4, 0)
    assert session.now.step == 1


def test_other_noise_means_another_future_of_the_same_goal(session: Session) -> None:
    session.decode(temperature=1.0)
    begun = session.step(chunk(0))
    one = session.step(chunk(1))
    session.rewind(1)
    reseeded = session.reseed(11)
    assert reseeded.rewinds == 0
    np.testing.assert_array_equal(reseeded.views["learned"].frames[-1], begun.views["learned"].frames[-1])
    other = session.step(chunk(1))
    assert (other.views["learned"].frames != one.views["learned"].frames).any()
    assert other.views["learned"].info["target"] == one.views["learned"].info["target"]
    with pytest.raises(InvalidInputError, match="reset first"):
        session.show(("reference",))
    assert session.shown == ("learned",)


def test_decoding_changes_at_once(session: Session) -> None:
    session.decode(steps=2, temperature=0.0)
    assert (session.decoding.steps, session.decoding.temperature) == (2, 0.0)
    greedy = session.step(chunk(0)).views["learned"].frames
    session.rewind(0)
    np.testing.assert_array_equal(session.step(chunk(0)).views["learned"].frames, greedy)
    session.rewind(0)
    session.decode(temperature=1.0)
    assert (session.step(chunk(0)).views["learned"].frames != greedy).any()
    with pytest.raises(InvalidInputError, match="steps must be at least 1 for a checkpoint without a scene, got 0"):
        session.decode(steps=0)
    assert session.decoding.steps == 2


@pytest.mark.slow
def test_only_so_many_steps_can_be_taken_back(session: Session) -> None:
    session.decode(steps=1)
    for number in range(MOST_REWINDS + 3):
        snapshot = session.step(chunk(number))
    assert snapshot.rewinds == MOST_REWINDS
    assert session.rewind(0).step == 3


@pytest.mark.slow
def test_a_replay_is_lived_again(session: Session, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for number in range(3):
        session.step(chunk(number))
    session.rewind(2)
    session.step(chunk(7))
    replay = session.replay(0)
    assert len(replay.actions) == 3
    assert all(is_equal for _, is_equal in replay.run(WorldSimulator.from_pretrained(tiny_checkpoint)))
    part = session.replay(1)
    np.testing.assert_array_equal(part.actions, replay.actions[1:])
    assert all(is_equal for _, is_equal in part.run(WorldSimulator.from_pretrained(tiny_checkpoint)))
    with pytest.raises(InvalidInputError, match="nothing to replay"):
        session.replay(3)


def test_a_drive_needs_starts(tmp_path: Path) -> None:
    whole = make_tiny_checkpoint()
    none = Starts(whole.starts.tokens[:0], whole.starts.actions[:0], whole.starts.poses[:0])
    save(replace(whole, starts=none), tmp_path)
    with pytest.raises(CheckpointError, match="holds no starts"):
        Session(SessionConfig(checkpoint=str(tmp_path)))
