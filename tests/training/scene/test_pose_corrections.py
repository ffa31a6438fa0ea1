"""Corrections of poses: learned in a known room, separate from the room, shared, saved and resumed."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.recordings import Recordings
from hwm_env.data.windows import ClipWindows
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.importing import stand_in_tokenizer
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import KEYFRAMES, SceneConfig, SceneModel
from hwm_env.scene.rendering import most_probable
from hwm_env.training.runs.run import STATE_FILE
from hwm_env.training.scene import train as scene_training
from hwm_env.training.scene.clips import gather_clips
from hwm_env.training.scene.pose_corrections import (
    CORRECTIONS_FILE,
    CorrectionTrainer,
    PoseCorrections,
    RecordingTimesBatch,
    with_corrected_poses,
    write_corrected,
)
from hwm_env.training.scene.train import SceneTrainingConfig, train_scene
from hwm_env.types import FRAME_RATE_HZ, Float32Array
from tests.training.states import leaves

LEVELS = (6, 2)
SCENE = SceneConfig(
    fsq_levels=LEVELS,
    grid_size=(4, 4),
    width=32,
    num_blocks=1,
    mlp_ratio=1,
    map=MapConfig(cell_m=1.5, cell_height_m=1.0, channels=8, hidden=16, features=8, samples=6),
)
TOKENIZER = stand_in_tokenizer(12)
SHORT = SceneTrainingConfig(
    steps=6,
    warmup_steps=2,
    batch_size=4,
    report_every=2,
    validation_clips=4,
    precision="float32",
    pose_correction="drift",
)
CLIPS = 12
OFFSETS = (0, 8)


def room() -> SceneModel:
    """A room in which tokens are a function of the pose of the base."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SceneModel(SCENE)
    with torch.no_grad():
        for plane in model.map.planes:
            plane.mul_(10)
        for parameter in model.head.parameters():
            parameter.mul_(20)
    return model.eval()


def drive(rng: np.random.Generator, frames: int) -> Float32Array:
    """Returns the poses of a walk in a circle."""
    phase = rng.uniform(-np.pi, np.pi) + np.linspace(0, 4, frames)
    x, y = rng.uniform(-1, 1, 2)
    return np.stack([x + np.cos(phase), y + np.sin(phase), phase + rng.uniform(-np.pi, np.pi)], 1).astype(np.float32)


def moved(poses: Float32Array, motion: Float32Array, middle: Float32Array) -> Float32Array:
    """Turns poses around a place, then shifts them."""
    cos, sin = np.cos(motion[..., 2]), np.sin(motion[..., 2])
    x, y = (poses[..., :2] - middle).T
    return np.stack([cos * x - sin * y + middle[0], sin * x + cos * y + middle[1], poses[..., 2]], 1) + motion.astype(
        np.float32
    )


def write_drives(
    directory: Path, errors: Float32Array, *, seed: int = 0, offsets: tuple[int, ...] = OFFSETS
) -> Dataset:
    """Writes drives through the room, two segments for each shard, cut at the offsets; `errors` are added to poses."""
    rng, model = np.random.default_rng(seed), room()
    frames = CLIPS * 17
    true = np.stack([drive(rng, frames) for _ in errors])
    shown = np.stack([moved(of, error, of[:, :2].mean(0)) for of, error in zip(true, errors, strict=True)])
    num_shards = len(errors) // 2
    sources = [f"{index}.mp4" for index in range(num_shards)] * len(offsets)
    writer = DatasetWriter(
        directory,
        token_grid=SCENE.grid_size,
        tokenizer=TOKENIZER.identity,
        extra={"shard_sources": sources, "frame_offsets": list(offsets)},
    )
    for index in range(len(sources)):
        offset, pair = offsets[index // num_shards], slice(2 * (index % num_shards), 2 * (index % num_shards) + 2)
        poses, wrong = (of[pair].reshape(-1, 3)[offset:] for of in (true, shown))
        numbers = np.zeros((len(poses), 25), np.float32)
        whole = len(poses) // 17 * 17
        at_keyframes = torch.from_numpy(poses[:whole].reshape(-1, 17, 3)[:, list(KEYFRAMES)].copy())
        with torch.no_grad():
            tokens = most_probable(model, model(at_keyframes, torch.zeros(len(at_keyframes), 3, 25))).numpy()
        missing = -(-len(poses) // 17) - len(tokens)
        writer.write_shard(
            index,
            states=numbers,
            segments=np.repeat(np.arange(2, dtype=np.int32), frames)[offset:],
            tokens=np.concatenate([tokens, np.repeat(tokens[-1:], missing, axis=0)]),
            poses=np.ascontiguousarray(wrong),
        )
    writer.finish()
    return Dataset(directory)


def constant_errors(count: int) -> Float32Array:
    rng = np.random.default_rng(1)
    errors = np.concatenate([rng.normal(0, 0.3, (count, 1, 2)), rng.normal(0, 0.15, (count, 1, 1))], axis=2)
    return (errors - errors.mean(axis=0)).astype(np.float32)


def drifting_errors(count: int) -> Float32Array:
    """Returns constant errors, and one that grows from -4 to 4 cm."""
    drift = np.zeros((count, CLIPS * 17, 3), np.float32)
    drift[:, :, 0] = np.linspace(-0.04, 0.04, CLIPS * 17) * np.where(np.arange(count) % 2, 1, -1)[:, None]
    return constant_errors(count) + drift


def fit(trainer: CorrectionTrainer, data: Dataset, steps: int) -> None:
    """Learns corrections in the known room."""
    model, windows = room().requires_grad_(False), ClipWindows(data, 1)
    rng = np.random.default_rng(0)
    for step in range(steps):
        indices = rng.integers(len(windows), size=32)
        clips = gather_clips(windows, indices)
        poses, penalty = trainer.correct(clips.poses, indices)
        loss = model.head.cross_entropy(model(poses, clips.numbers), clips.tokens).mean()
        (loss + penalty).backward()
        trainer.step(1 - step / steps)


def errors_of(data: Dataset, right: Dataset, corrections: PoseCorrections) -> Float32Array:
    """Returns the errors of the corrected poses at all frames."""
    found = np.concatenate([shard.poses for shard in with_corrected_poses(data, corrections).shards])
    return found - np.concatenate([shard.poses for shard in right.shards])


@pytest.mark.slow
@pytest.mark.parametrize("drifts", [False, True])
def test_errors_of_recordings_are_found_in_a_known_room(tmp_path: Path, drifts: bool) -> None:
    errors = drifting_errors(6) if drifts else constant_errors(6)
    data = write_drives(tmp_path / "wrong", errors)
    right = write_drives(tmp_path / "right", np.zeros((6, 1, 3), np.float32))
    windows = ClipWindows(data, 1)
    trainer = CorrectionTrainer(
        data,
        windows,
        KEYFRAMES,
        learning_rate=2e-2,
        drift_learning_rate=1e-2 if drifts else None,
        knot_interval_s=2.0,
        drift_std_m=0.05,
    )
    before = errors_of(data, right, trainer.corrections)
    fit(trainer, data, 300)
    after = errors_of(data, right, trainer.corrections)
    assert np.abs(before[:, :2]).mean() > 0.1
    assert np.abs(after[:, :2]).mean() < 0.01
    assert np.abs(after[:, 2]).mean() < 0.005
    assert np.abs(after[:, :2]).max() < 0.03


def test_shards_of_one_source_share_a_correction(tmp_path: Path) -> None:
    recordings = Recordings(write_drives(tmp_path, constant_errors(4)))
    assert recordings.names == tuple(f"{i}.mp4, segment {j}" for i in (0, 1) for j in (0, 1))
    frames = np.array([[0, 16], [300, 316]])
    whole, cut = recordings.times(1, frames), recordings.times(3, frames - 8 * (frames > 0))
    assert whole.recordings.tolist() == cut.recordings.tolist() == [2, 3]
    # A frame has the same time in both.
    assert whole.times_s[1].tolist() == cut.times_s[1].tolist()
    assert cut.times_s[0, 0] == pytest.approx(8 / FRAME_RATE_HZ)
    assert recordings.starts_s.tolist() == pytest.approx([0, CLIPS * 17 / FRAME_RATE_HZ] * 2)
    assert recordings.durations_s.tolist() == pytest.approx([(CLIPS * 17 - 1) / FRAME_RATE_HZ] * 4)


def test_shards_are_sources_where_nobody_says_otherwise(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path)
    for index in range(3):
        poses = np.full((5, 3), index, np.float32)
        segments = np.array([0, 0, 1, 1, 1], np.int32)
        writer.write_shard(index, states=np.zeros((5, 25), np.float32), segments=segments, poses=poses)
    writer.finish()
    recordings = Recordings(Dataset(tmp_path).subset([2]))
    assert recordings.names == ("shard 2, segment 0", "shard 2, segment 1")
    assert recordings.middles_m.tolist() == [[2, 2]] * 2


@pytest.mark.parametrize("interval_s", [None, 2.0])
def test_the_mean_of_all_corrections_is_zero(tmp_path: Path, interval_s: float | None) -> None:
    corrections = PoseCorrections.of(Recordings(write_drives(tmp_path, constant_errors(4))), interval_s)
    with torch.no_grad():
        for table in (corrections.constants, corrections.knots):
            table.weight.normal_(mean=1.0)
    at_knots = torch.linspace(0, 1, 4)[None] * (CLIPS * 17 - 1) / FRAME_RATE_HZ
    recordings = torch.arange(4)
    motions = corrections.motions(RecordingTimesBatch(recordings, at_knots + corrections.starts_s[:, None]))
    assert motions.abs().max() > 0.3
    assert motions.mean(dim=(0, 1)).abs().max() < 1e-6


def test_what_was_learned_can_be_read_again_and_exported(tmp_path: Path) -> None:
    data = write_drives(tmp_path / "data", constant_errors(4))
    corrections = PoseCorrections.of(Recordings(data), 2.0)
    with torch.no_grad():
        for table in (corrections.constants, corrections.knots):
            table.weight.normal_(std=0.1)
    corrections.save(tmp_path)
    read = PoseCorrections.load(tmp_path)
    assert read.names == corrections.names
    assert all(torch.equal(one, other) for one, other in zip(read.buffers(), corrections.buffers(), strict=True))
    write_corrected(data.subset([1, 3]), read, tmp_path / "corrected")
    written = Dataset(tmp_path / "corrected")
    assert Recordings(written).names == corrections.names[2:]
    corrected = [shard.poses for shard in with_corrected_poses(data, corrections).shards]
    for position, of_all in enumerate([1, 3]):
        shard, original = written.shards[position], data.shards[of_all]
        assert np.array_equal(shard.poses, corrected[of_all])
        assert np.abs(shard.poses - original.poses).max() > 0.05
        assert np.array_equal(shard.tokens, original.tokens)
    # Corrected poses are copied to other processes, which map the other files themselves.
    travelled = pickle.loads(pickle.dumps(with_corrected_poses(data, corrections)))
    assert np.array_equal(travelled.shards[3].poses, corrected[3])
    # Frames that are in both shards are corrected alike.
    assert np.allclose(corrected[0][8:], corrected[2], atol=1e-6)
    (tmp_path / CORRECTIONS_FILE).write_bytes(b"")
    with pytest.raises(DatasetError, match="expected corrections of poses"):
        PoseCorrections.load(tmp_path)


def test_corrections_of_other_recordings_are_refused(tmp_path: Path) -> None:
    corrections = PoseCorrections.of(Recordings(write_drives(tmp_path / "some", constant_errors(2))))
    with pytest.raises(DatasetError, match=r"got 2 others, such as '1\.mp4, segment 0'; train a scene"):
        with_corrected_poses(write_drives(tmp_path / "more", constant_errors(4)), corrections)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["constant", "drift"])
def test_resuming_is_bit_equal_to_never_having_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: scene_training.PoseCorrection
) -> None:
    data = write_drives(tmp_path / "data", constant_errors(4))
    config = replace(SHORT, pose_correction=kind)
    train_scene(data, data, TOKENIZER, tmp_path / "whole", SCENE, config)

    class DeathError(Exception): ...

    original = scene_training._train_step

    def die(*args: Any) -> float:
        if args[-1] == 5:
            raise DeathError
        return original(*args)

    monkeypatch.setattr(scene_training, "_train_step", die)
    with pytest.raises(DeathError):
        train_scene(data, data, TOKENIZER, tmp_path / "parts", SCENE, config)
    monkeypatch.undo()
    train_scene(data, data, TOKENIZER, tmp_path / "parts", SCENE, config, resume=True)
    whole, parts = (tmp_path / name / "checkpoint" for name in ("whole", "parts"))
    states = [dict(leaves(torch.load(path / STATE_FILE, weights_only=True)["parts"])) for path in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert (whole / CORRECTIONS_FILE).read_bytes() == (parts / CORRECTIONS_FILE).read_bytes()
    corrections = PoseCorrections.load(whole)
    assert corrections.drifts == (kind == "drift")
    assert corrections.constants.weight.abs().max() > 1e-3


def test_corrections_wait_for_a_map(tmp_path: Path) -> None:
    data = write_drives(tmp_path / "data", constant_errors(2))
    for delay, waits in ((1.0, True), (0.5, False)):
        out = tmp_path / str(delay)
        train_scene(data, data, TOKENIZER, out, SCENE, replace(SHORT, correction_delay=delay))
        assert (PoseCorrections.load(out / "checkpoint").constants.weight == 0).all() == waits


@pytest.mark.parametrize(
    "wrong",
    [
        {"pose_correction": "much"},
        {"correction_learning_rate": 0.0},
        {"drift_learning_rate": 0.0},
        {"knot_interval_s": 0.0},
        {"drift_std_m": 0.0},
        {"correction_delay": 2.0},
    ],
)
def test_recipes_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        SceneTrainingConfig(**wrong)
