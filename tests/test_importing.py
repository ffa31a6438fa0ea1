"""`hwm-env import-checkpoint`: from a foreign checkpoint to one that plays."""

import math
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env import checkpoint
from hwm_env.cli import main
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.importing import stand_in_tokenizer
from hwm_env.tokenizers.tiny import TinyTokenizer
from tests.model.foreign import FIXTURE, logits_error

NUM_CLIPS = 6


@pytest.fixture
def tokenizer(tmp_path: Path) -> TinyTokenizer:
    """One with fewer codes than the model's vocabulary has, saved as `tokenizer` below tmp_path."""
    tokenizer = stand_in_tokenizer(90)
    tokenizer.save(tmp_path / "tokenizer")
    return tokenizer


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[[str | None], Dataset]:
    def write(identity: str | None) -> Dataset:
        rng = np.random.default_rng(0)
        writer = DatasetWriter(tmp_path / "data", token_grid=(6, 6), tokenizer=identity)
        num_frames = 17 * NUM_CLIPS
        writer.write_shard(
            0,
            states=rng.normal(size=(num_frames, 25)).astype(np.float32),
            segments=np.zeros(num_frames, np.int32),
            tokens=rng.integers(0, 90, (NUM_CLIPS, 3, 6, 6), dtype=np.int32),
        )
        writer.finish(1)
        return Dataset(tmp_path / "data")

    return write


def run(*arguments: object) -> int:
    return main(["import-checkpoint", *map(str, arguments)])


@pytest.mark.slow
def test_an_imported_checkpoint_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(FIXTURE) == 0
    out = Path("out/imported/masked_hwm_checkpoint")
    assert str(out) in capsys.readouterr().out
    assert "stand-in for tokenizer: untrained: frames mean nothing" in caplog.text
    assert set(checkpoint.load(out).provenance["stand_ins"]) == {"tokenizer", "starts", "action_statistics"}

    env = gymnasium.make("HWM-v0", checkpoint=out, task=None, obs_mode="clip")
    observation, _ = env.reset(seed=0)
    clips, frames = [], [observation]
    for _ in range(20):
        observation, _, _, _, info = env.step(env.action_space.low)
        assert observation.shape == (17, 48, 48, 3)
        assert env.observation_space.contains(observation)
        assert math.isfinite(info["confidence"])
        state = env.unwrapped.get_state()
        clips.append(state.episode.moment.state.tokens[0, -1])
        frames.append(observation)
    tokens = torch.stack(clips)
    assert tokens.min() >= 0
    assert tokens.max() < 96
    assert len(tokens.flatten(1).unique(dim=0)) == 20, "the world stands still"
    assert len(np.unique(np.stack(frames), axis=0)) == 21


def test_the_written_model_has_the_originals_logits(tmp_path: Path) -> None:
    assert run(FIXTURE, tmp_path) == 0
    loaded = checkpoint.load(tmp_path)
    assert logits_error(loaded.model) < 1e-4
    assert loaded.tokenizer.codebook_size == 96


def test_importing_again_gives_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert run(FIXTURE, tmp_path / "first") == 0
    assert run(FIXTURE, tmp_path / "second") == 0
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_tokenizer_and_data_take_the_stand_ins_place(
    tmp_path: Path, tokenizer: TinyTokenizer, write_dataset: Callable[[str | None], Dataset]
) -> None:
    dataset = write_dataset(tokenizer.identity)
    assert run(FIXTURE, tmp_path / "out", "--tokenizer", tmp_path / "tokenizer", "--data", dataset.directory) == 0
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.provenance["stand_ins"] == {}
    assert loaded.tokenizer.identity == tokenizer.identity
    states = dataset.shards[0].states
    np.testing.assert_array_equal(loaded.statistics.high, states.max(axis=0))
    assert len(loaded.starts) == NUM_CLIPS - 1
    np.testing.assert_array_equal(loaded.starts.actions[0].flatten(0, 1), states[: 2 * 17])
    gymnasium.make("HWM-v0", checkpoint=tmp_path / "out", task=None).reset(seed=0)


@pytest.mark.slow
def test_data_of_an_unknown_tokenizer_serve_with_the_stand_in(
    tmp_path: Path, write_dataset: Callable[[str | None], Dataset]
) -> None:
    dataset = write_dataset(None)
    assert run(FIXTURE, tmp_path / "out", "--data", dataset.directory) == 0
    assert set(checkpoint.load(tmp_path / "out").provenance["stand_ins"]) == {"tokenizer"}


def test_data_of_another_tokenizer_are_refused(
    tmp_path: Path, tokenizer: TinyTokenizer, write_dataset: Callable[[str | None], Dataset], capsys
) -> None:
    dataset = write_dataset("another")
    assert run(FIXTURE, tmp_path / "out", "--tokenizer", tmp_path / "tokenizer", "--data", dataset.directory) == 2
    assert f"not by this tokenizer ({tokenizer.identity})" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_with_too_many_codes_is_refused(tmp_path: Path, capsys) -> None:
    stand_in_tokenizer(97).save(tmp_path / "tokenizer")
    assert run(FIXTURE, tmp_path / "out", "--tokenizer", tmp_path / "tokenizer") == 2
    assert "it has 97 codes, the model's vocabulary 96" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_not_there_is_bad_input(tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "nowhere", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("hwm-env: expected pytorch_model.bin or model.safetensors in")
    assert not (tmp_path / "out").exists()


def test_the_foreign_checkpoint_is_not_overwritten(tmp_path: Path, capsys) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "config.json").write_text("precious")
    assert run(tmp_path, tmp_path / "sub/..") == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("codebook_size", "levels"),
    [
        (2, (2,)),
        (96, (8, 6, 2)),
        (97, (97,)),
        (194, (2, 97)),
        (64_000, (8, 8, 8, 5, 5, 5)),
        (65_536, (8, 8, 8, 8, 8, 2)),
    ],
)
def test_a_stand_in_tokenizer_has_exactly_the_codes_wanted(codebook_size: int, levels: tuple[int, ...]) -> None:
    tokenizer = stand_in_tokenizer(codebook_size)
    assert tokenizer.fsq_levels == levels
    tokens = torch.tensor([0, codebook_size - 1, codebook_size // 2]).view(1, 3, 1, 1)
    assert tokenizer.codebook_size == codebook_size
    assert tokenizer.decode(tokens).shape == (1, 17, 8, 8, 3)
