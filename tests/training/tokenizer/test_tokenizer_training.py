import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DivergedError, InvalidInputError
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.tokenizer.reconstruction import reconstruction_loss
from hwm_env.training.tokenizer.train import TokenizerTrainingConfig, train_tokenizer

CONFIG = TokenizerTrainingConfig(
    tokenizer=TinyTokenizerConfig(
        coarse_width=16, fine_width=16, frame_width=8, pixel_width=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1, 1)
    ),
    steps=6,
    batch_size=2,
    warmup_steps=2,
    report_every=2,
    validation_clips=2,
    precision="float32",
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes one shard of 60 frames of 16 x 16: a bright square that moves over a coloured background."""
    frames = np.empty((60, 16, 16, 3), np.uint8)
    frames[:] = (40, 90, 160)
    for frame in range(60):
        left = 2 + frame // 6
        frames[frame, 6:10, left : left + 4] = (250, 200, 60)
    directory = tmp_path_factory.mktemp("recordings") / "raw"
    writer = DatasetWriter(directory, image_size=(16, 16))
    writer.write_shard(0, states=np.zeros((60, 25), np.float32), segments=np.zeros(60, np.int32), frames=frames)
    writer.finish()
    return directory


class InterruptionError(Exception):
    """Simulates a kill."""


def test_stopping_and_resuming_changes_no_bit(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_tokenizer(recordings, tmp_path / "whole", CONFIG)
    calls = 0

    def loss_or_interruption(*args: torch.Tensor, **weights: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:  # One step after the state of step 4 was saved.
            raise InterruptionError
        return reconstruction_loss(*args, **weights)

    monkeypatch.setattr("hwm_env.training.tokenizer.train.reconstruction_loss", loss_or_interruption)
    with pytest.raises(InterruptionError):
        train_tokenizer(recordings, tmp_path / "parts", CONFIG)
    assert not (tmp_path / "parts" / "tokenizer.safetensors").exists()
    resumed = train_tokenizer(recordings, tmp_path / "parts", CONFIG, resume=True)
    assert calls == 8
    assert resumed.identity == whole.identity
    assert TinyTokenizer.load(tmp_path / "parts").identity == whole.identity
    for name in ("model", "ema", "optimizer"):
        states = [
            torch.load(tmp_path / run / "checkpoint/state.pt", weights_only=True)["parts"][name]
            for run in ("whole", "parts")
        ]
        torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.slow
def test_overfits_a_square(recordings: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=140, batch_size=2, warmup_steps=3, report_every=70, ema_decay=0.8)
    train_tokenizer(recordings, tmp_path / "run", config)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [70, 140]
    assert log[1]["loss"] < log[0]["loss"]
    # The mean colour of the clip scores 17.0 dB.
    assert log[1]["validation_psnr"] > 22, log


def test_the_seed_decides_and_the_global_generator_does_not(recordings: Path, tmp_path: Path) -> None:
    short = replace(CONFIG, steps=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train_tokenizer(recordings, tmp_path / "a", short)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert train_tokenizer(recordings, tmp_path / "b", short).identity == first.identity
    assert train_tokenizer(recordings, tmp_path / "c", replace(short, seed=1)).identity != first.identity


def test_a_run_is_not_written_over_nor_resumed_with_another_recipe(recordings: Path, tmp_path: Path) -> None:
    short = replace(CONFIG, steps=1)
    train_tokenizer(recordings, tmp_path / "run", short)
    with pytest.raises(InvalidInputError, match="already holds a training run"):
        train_tokenizer(recordings, tmp_path / "run", short)
    with pytest.raises(InvalidInputError, match="another configuration"):
        train_tokenizer(recordings, tmp_path / "run", replace(short, steps=2), resume=True)


def test_auto_takes_what_the_hardware_has(
    recordings: Path, tmp_path: Path, fast_bfloat16: Callable[[bool], None]
) -> None:
    auto = replace(CONFIG, steps=2, precision="auto")
    fast_bfloat16(False)
    found = train_tokenizer(recordings, tmp_path / "found", auto).identity
    assert found == train_tokenizer(recordings, tmp_path / "exact", replace(auto, precision="float32")).identity
    fast_bfloat16(True)
    assert found != train_tokenizer(recordings, tmp_path / "rough", auto).identity
    with pytest.raises(InvalidInputError, match="precision was 'float32', now 'bfloat16'"):
        train_tokenizer(recordings, tmp_path / "found", auto, resume=True)
    named = replace(auto, precision="float32")
    assert train_tokenizer(recordings, tmp_path / "found", named, resume=True).identity == found


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("batch_size", 0), ("precision", "int8")])
def test_bad_config_names_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        TokenizerTrainingConfig(**{field: value})  # type: ignore[arg-type]


def test_a_training_starts_from_another_tokenizers_weights(recordings: Path, tmp_path: Path) -> None:
    initial = train_tokenizer(recordings, tmp_path / "first", CONFIG)
    standing = replace(CONFIG, steps=1, learning_rate=1e-9, matrix_learning_rate=1e-9, seed=7)
    second = train_tokenizer(recordings, tmp_path / "second", standing, initial=initial)
    for name, weight in initial.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weight, rtol=1e-3, atol=1e-5)
    wider = replace(CONFIG, tokenizer=replace(CONFIG.tokenizer, fine_width=24))
    with pytest.raises(InvalidInputError, match="fine_width=16"):
        train_tokenizer(recordings, tmp_path / "third", wider, initial=initial)


def test_a_run_of_some_minutes_ends_by_itself_and_is_complete(recordings: Path, tmp_path: Path) -> None:
    timed = replace(CONFIG, steps=1000, minutes=0.01)
    first = train_tokenizer(recordings, tmp_path / "run", timed)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    state = torch.load(tmp_path / "run/checkpoint/state.pt", weights_only=True)
    assert state["parts"]["pace"]["used_s"] >= 0.6
    assert (tmp_path / "run/checkpoint").resolve().name == f"step-{log[-1]['step']:08d}"
    resumed = train_tokenizer(recordings, tmp_path / "run", timed, resume=True)
    assert resumed.identity == first.identity
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == len(log)


def test_a_run_that_diverges_keeps_its_last_state(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def loss_or_nan(*args: torch.Tensor, **weights: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return reconstruction_loss(*args, **weights) * (torch.nan if calls == 3 else 1.0)

    monkeypatch.setattr("hwm_env.training.tokenizer.train.reconstruction_loss", loss_or_nan)
    with pytest.raises(DivergedError, match="the loss became nan"):
        train_tokenizer(recordings, tmp_path / "run", CONFIG)
    assert calls == 4  # The report after step 4 finds it.
    assert (tmp_path / "run/checkpoint").resolve().name == "step-00000002"
    assert not (tmp_path / "run" / "tokenizer.safetensors").exists()
    resumed = train_tokenizer(recordings, tmp_path / "run", CONFIG, resume=True)
    assert resumed.identity == train_tokenizer(recordings, tmp_path / "whole", CONFIG).identity


def test_a_gradient_that_is_not_finite_counts_as_divergence(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steep(*args: torch.Tensor, **weights: float) -> torch.Tensor:
        return (reconstruction_loss(*args, **weights) * 0).sqrt()

    monkeypatch.setattr("hwm_env.training.tokenizer.train.reconstruction_loss", steep)
    with pytest.raises(DivergedError, match=r"the loss became 0\.0 and its gradient's norm (nan|inf)"):
        train_tokenizer(recordings, tmp_path / "run", replace(CONFIG, report_every=1))
    assert not list((tmp_path / "run/checkpoints").iterdir())
