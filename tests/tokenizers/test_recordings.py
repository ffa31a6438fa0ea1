from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.tokenizers import recordings
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.tokenizers.tiny import TinyTokenizer

SHARD_FRAMES = (60, 41)


def record(directory: Path, *, size: tuple[int, int] = (16, 24), poses: bool = True, frames: bool = True) -> Dataset:
    """Two shards of noise; the first contains two segments."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, image_size=size if frames else None, extra={"split": "train", "seed": 7})
    for index, count in enumerate(SHARD_FRAMES):
        writer.write_shard(
            index,
            states=rng.normal(size=(count, 25)).astype(np.float32),
            segments=np.repeat([2 * index, 2 * index + 1], [20, count - 20]).astype(np.int32),
            frames=rng.integers(0, 256, (count, *size, 3), dtype=np.uint8) if frames else None,
            poses=rng.normal(size=(count, 3)).astype(np.float32) if poses else None,
        )
    writer.finish()
    return Dataset(directory)


def test_every_shard_and_offset_becomes_a_shard(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    recording = record(tmp_path / "raw")
    tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer, (0, 4))
    tokens = Dataset(tmp_path / "tokens")
    assert len(tokens.shards) == 4
    assert tokens.metadata.token_grid == (2, 3)
    assert tokens.metadata.tokenizer == tokenizer.identity
    assert tokens.metadata.image_size is None
    assert tokens.metadata.extra == {
        "split": "train",
        "seed": 7,
        "frame_offsets": [0, 4],
        "shard_sources": ["shard 0", "shard 1"] * 2,
    }
    for shard, (offset, source) in zip(tokens.shards, [(o, s) for o in (0, 4) for s in recording.shards], strict=True):
        np.testing.assert_array_equal(shard.states, source.states[offset:])
        np.testing.assert_array_equal(shard.segments, source.segments[offset:])
        assert shard.poses is not None
        assert source.poses is not None
        np.testing.assert_array_equal(shard.poses, source.poses[offset:])


def test_tokens_are_those_of_the_frames_from_the_offset_on(
    tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "CLIPS_AT_ONCE", 2)
    recording = record(tmp_path / "raw")
    tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer, (5,))
    for shard, source in zip(Dataset(tmp_path / "tokens").shards, recording.shards, strict=True):
        assert shard.tokens is not None
        assert source.frames is not None
        frames = source.frames[5:]
        assert len(shard.tokens) == -(-len(frames) // 17)
        for clip, tokens in enumerate(shard.tokens):
            # A partial last clip is padded with its last frame.
            indices = np.minimum(np.arange(17 * clip, 17 * clip + 17), len(frames) - 1)
            expected = tokenizer.encode(torch.from_numpy(frames[indices])[None])[0]
            np.testing.assert_array_equal(tokens, expected.numpy())


def test_recordings_without_poses(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    record(tmp_path / "raw", poses=False)
    tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer)
    assert Dataset(tmp_path / "tokens").shards[0].poses is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"frames": False}, "has no raw images"), ({"size": (16, 20)}, r"multiples of 8, got 16 x 20")],
)
def test_unfit_recordings_are_refused(
    tokenizer: TinyTokenizer, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    record(tmp_path / "raw", **options)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=message):
        tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer)
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize("offsets", [(), (0, 0), (-1,), (41,)])
def test_bad_offsets_are_refused(tokenizer: TinyTokenizer, tmp_path: Path, offsets: tuple[int, ...]) -> None:
    record(tmp_path / "raw")
    with pytest.raises(InvalidInputError, match="offsets"):
        tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer, offsets)
    assert not (tmp_path / "tokens").exists()


def test_an_existing_data_set_is_not_written_over(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    record(tmp_path / "raw")
    with pytest.raises(DatasetError, match="already holds a data set"):
        tokenize_recordings(tmp_path / "raw", tmp_path / "raw", lambda: tokenizer)


def test_options_for_videos_do_not_go_with_a_recording(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    record(tmp_path / "raw")
    with pytest.raises(InvalidInputError, match="leave out mapping and image size"):
        tokenize_recordings(tmp_path / "raw", tmp_path / "tokens", lambda: tokenizer, image_size=16)
