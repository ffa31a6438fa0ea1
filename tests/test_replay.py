"""Replay files: saving, loading, checking; and the command that repeats them."""

import dataclasses
import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import hwm_env  # noqa: F401  (registers the environments)
from hwm_env.checkpoint import load, save
from hwm_env.cli import main
from hwm_env.envs.wrappers import RecordReplay
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay, digest
from hwm_env.simulator import WorldSimulator
from tests.engine.worlds import GREEDY, small_checkpoint

STEPS = 3


@pytest.fixture(scope="module")
def recorded(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the file of an episode of three steps."""
    directory = tmp_path_factory.mktemp("replays")
    env = RecordReplay(gymnasium.make("HWM-v0", checkpoint=str(tiny_checkpoint)), directory)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(STEPS):
        env.step(env.action_space.sample())
    env.close()
    return directory / "episode_00000.npz"


@pytest.fixture(scope="module")
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    return WorldSimulator.from_pretrained(tiny_checkpoint)


@pytest.fixture
def quiet_cli() -> Iterator[None]:
    """The command sets the level of the package's log."""
    yield
    logging.getLogger("hwm_env").setLevel(logging.NOTSET)


def tampered(replay: Replay, step: int) -> Replay:
    actions = replay.actions.copy()
    actions[step] *= -1
    return dataclasses.replace(replay, actions=actions)


def test_what_is_saved_is_loaded(recorded: Path, tmp_path: Path) -> None:
    replay = Replay.load(recorded)
    replay.save(tmp_path / "new" / "copy.npz")
    again = Replay.load(tmp_path / "new" / "copy.npz")
    for field in dataclasses.fields(Replay):
        one, other = getattr(replay, field.name), getattr(again, field.name)
        assert type(one) is type(other)
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_a_file_holds_the_documented_arrays(recorded: Path, simulator: WorldSimulator) -> None:
    replay = Replay.load(recorded)
    starts = simulator.checkpoint.starts
    np.testing.assert_array_equal(replay.history_tokens, starts.tokens[replay.start])
    np.testing.assert_array_equal(replay.history_actions, starts.actions[replay.start])
    assert (replay.checkpoint, replay.tokenizer) == (simulator.identity, simulator.tokenizer.identity)
    assert replay.step_index == 0
    assert json.loads(replay.decoding)["precision"] == "float32"
    assert (replay.actions.shape, replay.actions.dtype) == ((STEPS, 17, 25), np.float32)
    assert (replay.digests.shape, replay.digests.dtype) == ((STEPS,), np.uint64)


def test_an_episode_equals_the_simulators(recorded: Path, simulator: WorldSimulator) -> None:
    replay = Replay.load(recorded)
    state = simulator.reset([replay.start], [replay.seed])
    for chunk, (clip, is_equal) in zip(replay.actions, replay.run(simulator), strict=True):
        state, expected = simulator.step(state, torch.from_numpy(chunk)[None])
        assert is_equal
        assert torch.equal(clip.tokens, expected.tokens)


@pytest.mark.parametrize(
    "arguments",
    [{"history": "window"}, {}, {"precision": "bfloat16"}, {"strict": True}],
    ids=["window", "streaming", "bfloat16", "strict"],
)
def test_an_episode_begins_in_the_middle(tiny_checkpoint: Path, tmp_path: Path, arguments: Any) -> None:
    """A streaming history has traces of clips that the file does not hold, so that it holds their encoding."""
    arguments = {"history": "streaming", **arguments}
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, **arguments)
    chunks = torch.rand(2 * STEPS, 1, 17, 25, generator=torch.Generator().manual_seed(0))
    state, digests = simulator.reset([0], [0]), []
    for step, chunk in enumerate(chunks):
        if step == STEPS:
            replay = Replay.begin(simulator, state, -1)
        state, clip = simulator.step(state, chunk)
        digests.append(digest(clip.tokens[0].numpy()))
    driven = {"actions": chunks[STEPS:, 0].numpy(), "digests": np.array(digests[STEPS:], np.uint64)}
    dataclasses.replace(replay, **driven).save(tmp_path / "part.npz")
    part = Replay.load(tmp_path / "part.npz")
    again = part.make_simulator(tiny_checkpoint)
    assert all(is_equal for _, is_equal in part.run(again))
    without = dataclasses.replace(part, encoded=None)
    assert all(is_equal for _, is_equal in without.run(again)) == (arguments["history"] == "window")


def test_scene_inputs_that_are_known_already_are_kept(tmp_path: Path) -> None:
    save(small_checkpoint(GREEDY, reads_scene=True), tmp_path / "checkpoint")
    simulator = WorldSimulator.from_pretrained(tmp_path / "checkpoint")
    state, _ = simulator.step(simulator.reset([0], [0]), torch.zeros(1, 17, 25))
    assert state.encoded is not None
    assert state.encoded.following_scene is not None
    Replay.begin(simulator, state, -1).save(tmp_path / "part.npz")
    kept = Replay.load(tmp_path / "part.npz").encoded
    assert kept is not None
    assert kept.following_scene is not None
    assert torch.equal(kept.following_scene, state.encoded.following_scene)
    assert torch.equal(kept.next_time, state.encoded.next_time)
    for ours, theirs in zip(kept.clips, state.encoded.clips, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("step", range(STEPS))
def test_other_actions_show_in_their_step(recorded: Path, simulator: WorldSimulator, step: int) -> None:
    equal = [is_equal for _, is_equal in tampered(Replay.load(recorded), step).run(simulator)]
    assert equal[: step + 1] == [True] * step + [False]


@pytest.mark.parametrize("change", [{"seed": 1}, {"step_index": 1}], ids=str)
def test_other_noise_shows(recorded: Path, simulator: WorldSimulator, change: dict[str, int]) -> None:
    assert not next(dataclasses.replace(Replay.load(recorded), **change).run(simulator))[1]


def test_digests_are_the_first_bytes_of_sha256_of_little_endian_int32() -> None:
    tokens = np.arange(12, dtype=np.int32).reshape(3, 2, 2) * 5000
    content = b"".join(int(token).to_bytes(4, "little") for token in tokens.ravel())
    expected = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
    for same in (tokens, tokens.astype(np.int64), tokens.astype(">i4"), np.asfortranarray(tokens)):
        assert digest(same) == expected
    assert digest(tokens).dtype == np.uint64
    assert digest(tokens[::-1]) != expected


@pytest.fixture(scope="module")
def other_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a copy of the checkpoint with one weight changed."""
    loaded = load(tiny_checkpoint)
    with torch.no_grad():
        next(loaded.model.parameters()).view(-1)[0] += 1.0
    directory = tmp_path_factory.mktemp("other")
    save(loaded, directory)
    return directory


def test_another_checkpoint_is_refused(recorded: Path, other_checkpoint: Path) -> None:
    replay = Replay.load(recorded)
    found = load(other_checkpoint).identity
    message = rf"recorded with the checkpoint {replay.checkpoint}, but .*{other_checkpoint.name} has {found}"
    with pytest.raises(InvalidInputError, match=message):
        replay.make_simulator(other_checkpoint)


def test_another_tokenizer_is_refused(recorded: Path, tiny_checkpoint: Path) -> None:
    replay = dataclasses.replace(Replay.load(recorded), tokenizer="another")
    with pytest.raises(
        InvalidInputError, match=r"recorded with the tokenizer another, but .* has \w+; give the checkpoint"
    ):
        replay.make_simulator(tiny_checkpoint)


def without(path: Path, name: str) -> dict[str, Any]:
    with np.load(path) as content:
        return {key: content[key] for key in content if key != name}


def write_content(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **content)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "a directory", "lacking", "newer"])
def test_files_that_are_no_replays_are_refused(recorded: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "broken.npz"
    if damage == "empty":
        path.touch()
    elif damage == "text":
        path.write_text("step,reward\n0,1.5\n")
    elif damage == "a directory":
        path.mkdir()
    elif damage == "lacking":
        write_content(path, without(recorded, "digests"))
    elif damage == "newer":
        write_content(path, without(recorded, "format") | {"format": 2})
    with pytest.raises(
        InvalidInputError,
        match=r"broken\.npz.*(found nothing|found a directory|not a replay file|expected format 1, got 2)",
    ):
        Replay.load(path)


@pytest.mark.parametrize("damage", ["truncated", "one array", "flipped bits", "shapes", "settings", "header"])
def test_foreign_files_are_refused_too(recorded: Path, tiny_checkpoint: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "broken.npz"
    if damage == "truncated":
        # NumPy leaves such a file open, which is a warning and here an error.
        path.write_bytes(recorded.read_bytes()[:-100])
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "flipped bits":
        content = bytearray(recorded.read_bytes())
        with zipfile.ZipFile(recorded) as archive:
            entry = archive.getinfo("history_actions.npy")
        for place in range(entry.header_offset + 100, entry.header_offset + 200):
            content[place] ^= 255
        path.write_bytes(content)
    elif damage == "header":
        write_content(path, without(recorded, "actions"))
        with zipfile.ZipFile(path, "a") as archive:
            header = b"{'descr': ('<f4',".ljust(117) + b"\n"
            archive.writestr("actions.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    elif damage == "shapes":
        write_content(path, without(recorded, "seed") | {"seed": np.zeros(2)})
    else:
        write_content(path, without(recorded, "decoding") | {"decoding": "{}"})
    with pytest.raises(InvalidInputError, match=r"broken\.npz"):
        Replay.load(path).make_simulator(tiny_checkpoint)


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_cli")
def test_the_command_repeats_an_episode(
    recorded: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, report = tmp_path / "new" / "episode.mp4", tmp_path / "new" / "report.json"
    where = ["--checkpoint", str(tiny_checkpoint)]
    assert main(["replay", str(recorded), *where, "--video", str(video), "--json", str(report)]) == 0
    expected = {"steps": STEPS, "equal": True, "first_differing_step": []}
    assert json.loads(report.read_text()) == json.loads(capsys.readouterr().out) == expected
    from hwm_env.data.videos import frame_times, read_frames

    assert len(frame_times(video)) == 17 * STEPS
    shown = np.stack(list(read_frames(video, np.arange(17 * STEPS), None)))
    replay = Replay.load(recorded)
    lived = [clip.frames[0].numpy() for clip, _ in replay.run(replay.make_simulator(tiny_checkpoint))]
    # H.264 stores the brightness of each pixel and the colour of each group of four.
    bright, expected_bright = (frames @ np.array([0.299, 0.587, 0.114]) for frames in (shown, np.concatenate(lived)))
    away = np.abs(bright[:, None] - expected_bright).mean((2, 3))
    assert (away.argmin(axis=1) == np.arange(17 * STEPS)).all(), "each frame is in its place"
    assert away.diagonal().max() < 4


@pytest.mark.usefixtures("quiet_cli")
def test_the_command_fails_where_a_step_differs(
    recorded: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "other.npz", tmp_path / "report.json"
    tampered(Replay.load(recorded), 1).save(path)
    assert main(["replay", str(path), "--checkpoint", str(tiny_checkpoint), "--json", str(report)]) == 2
    content = json.loads(report.read_text())
    assert (content["steps"], content["equal"], content["first_differing_step"]) == (STEPS, False, [1])
    assert "other.npz: step 1 has other tokens than recorded" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet_cli")
def test_the_command_refuses_other_files_and_checkpoints(
    recorded: Path, other_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path / "none.npz")]) == 2
    assert "none.npz, found nothing" in capsys.readouterr().err
    assert main(["replay", str(recorded), "--checkpoint", str(other_checkpoint)]) == 2
    error = capsys.readouterr().err
    assert Replay.load(recorded).checkpoint in error
    assert load(other_checkpoint).identity in error
