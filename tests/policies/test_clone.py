"""Cloning of a robot whose actions depend on its frames."""

from pathlib import Path

import numpy as np
import pytest

from hwm_env.checkpoint import load
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.types import ANGULAR_VELOCITY

pytest.importorskip("stable_baselines3")

from policies.clone import Cloning, clone

SEGMENTS, CLIPS = 60, 3


@pytest.fixture
def data(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A robot that turns left after one picture, and right after the other one."""
    rng = np.random.default_rng(0)
    checkpoint = load(str(tiny_checkpoint))
    pictures = rng.integers(64_000, size=(2, 3, 8, 8)).astype(np.int32)
    shown = rng.integers(2, size=SEGMENTS * CLIPS)
    fastest = float(checkpoint.statistics.max_change[ANGULAR_VELOCITY])
    states = np.zeros((SEGMENTS, CLIPS, 17, 25), np.float32)
    changes = np.where(shown.reshape(SEGMENTS, CLIPS) == 1, 8, -8) * fastest
    states[:, 1:, :, ANGULAR_VELOCITY] = changes.cumsum(1)[:, :-1, None]
    writer = DatasetWriter(tmp_path / "data", tokenizer=checkpoint.tokenizer.identity, token_grid=(8, 8))
    writer.write_shard(
        0,
        states=states.reshape(-1, 25),
        segments=np.arange(SEGMENTS, dtype=np.int32).repeat(CLIPS * 17),
        tokens=pictures[shown],
    )
    writer.finish()
    return tmp_path / "data"


@pytest.mark.slow
def test_what_a_picture_means_is_learned(tiny_checkpoint: Path, data: Path, tmp_path: Path) -> None:
    cloning = Cloning(data=data, out=tmp_path / "clone.zip", checkpoint=str(tiny_checkpoint), steps=60)
    result = clone(cloning)
    # Turns of 8 of 17 possible changes, to either side.
    assert result.error_of_mean == pytest.approx((8 / 17) ** 2 / 25, rel=0.3)
    assert result.error < 0.2 * result.error_of_mean
    (policy,) = load_policies(str(cloning.out), "face-target")
    assert policy.interface.action_mode == "delta"


def test_tokens_of_another_tokenizer_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tokenised by"):
        clone(Cloning(data=data, out=tmp_path / "clone.zip"))


def test_out_must_be_a_zip(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"out must end in \.zip"):
        clone(Cloning(data=data, out=tmp_path / "clone"))
