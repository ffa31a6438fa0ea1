"""A checkpoint's decoder is trained alone, on the tokens of its encoder and on those that its scene draws."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import Checkpoint, load, save
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.scene.rendering import PosedClips, most_probable, render_clips
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.tokenizers.pixels import normalised
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.training.tokenizer import decoder as module
from hwm_env.training.tokenizer.clips import read_clips
from hwm_env.training.tokenizer.decoder import DecoderTrainingConfig, grown, train_decoder
from hwm_env.training.tokenizer.reconstruction import mean_psnr, reconstruction_loss
from tests.scene.scenes import make_checkpoint

CONFIG = DecoderTrainingConfig(
    steps=6, batch_size=2, warmup_steps=2, report_every=2, validation_clips=3, precision="float32"
)


def write_recording(directory: Path, *, poses: bool = True) -> Dataset:
    """Writes 40 frames of 64 x 64: a bright bar that moves with the base."""
    rng = np.random.default_rng(0)
    frames = np.full((40, 64, 64, 3), (40, 90, 160), np.uint8)
    for frame in range(40):
        frames[frame, :, frame : frame + 8] = (250, 200, 60)
    writer = DatasetWriter(directory, image_size=(64, 64))
    writer.write_shard(
        0,
        states=rng.normal(size=(40, 25)).astype(np.float32),
        segments=np.zeros(40, np.int32),
        frames=frames,
        poses=np.linspace([-1, 0, 0], [1, 0, 0.5], 40).astype(np.float32) if poses else None,
    )
    writer.finish()
    return Dataset(directory)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_recording(tmp_path_factory.mktemp("recordings") / "raw")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make_checkpoint()


def test_only_the_decoder_changes_and_tokens_keep_their_meaning(
    checkpoint: Checkpoint, recording: Dataset, tmp_path: Path
) -> None:
    before = {name: weight.clone() for name, weight in checkpoint.tokenizer.state_dict().items()}  # type: ignore[attr-defined]
    trained = train_decoder(checkpoint, recording, recording, tmp_path / "run", CONFIG)
    save(trained, tmp_path / "checkpoint")
    tokenizer = load(tmp_path / "checkpoint").tokenizer
    assert isinstance(tokenizer, TinyTokenizer)
    changed = {
        name for name, weight in tokenizer.state_dict().items() if not torch.equal(weight, before[name].half().float())
    }
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    assert tokenizer.identity != checkpoint.tokenizer.identity
    assert tokenizer.token_identity == checkpoint.tokenizer.identity
    # Twice trained, it still reads the first one's tokens.
    again = train_decoder(trained, recording, recording, tmp_path / "again", replace(CONFIG, steps=1))
    assert again.tokenizer.token_identity == checkpoint.tokenizer.identity
    writer = DatasetWriter(tmp_path / "data", token_grid=(8, 8), tokenizer=checkpoint.tokenizer.identity)
    tokens = checkpoint.tokenizer.encode(torch.tensor(recording.shards[0].frames[None, :17])).numpy()
    writer.write_shard(0, states=np.zeros((17, 25), np.float32), segments=np.zeros(17, np.int32), tokens=tokens)
    writer.finish()
    check_tokenizer(again.tokenizer, Dataset(tmp_path / "data"))
    stranger = TinyTokenizer(tokenizer.config)
    with pytest.raises(CheckpointError, match=f"was tokenised by {checkpoint.tokenizer.identity}"):
        check_tokenizer(stranger, Dataset(tmp_path / "data"))


def test_its_scores_are_those_of_the_checkpoint(checkpoint: Checkpoint, recording: Dataset, tmp_path: Path) -> None:
    trained = train_decoder(checkpoint, recording, recording, tmp_path / "run", replace(CONFIG, validation_clips=24))
    assert checkpoint.scene is not None
    shard, every = recording.shards[0], torch.arange(24)[:, None]
    frames = torch.tensor(shard.frames)[every + torch.arange(17)]
    at = every + torch.tensor([0, 8, 16])
    poses, numbers = torch.tensor(shard.poses)[at], torch.tensor(shard.states)[at]
    for name, tokenizer in (("before", checkpoint.tokenizer), ("after", trained.tokenizer)):
        scores = trained.provenance["decoder"][name]
        assert scores["validation_psnr"] == pytest.approx(mean_psnr(tokenizer, frames), abs=1e-3)
        clips = PosedClips(tokenizer.encode(frames), poses, numbers)
        drawn = render_clips(checkpoint.scene.model, clips, tokenizer).frames
        assert scores["validation_psnr_drawn"] == pytest.approx(psnr_db(drawn, frames).mean().item(), abs=1e-3)


def test_the_drawn_clips_are_those_of_their_own_images(checkpoint: Checkpoint, recording: Dataset) -> None:
    tokenizer, windows = checkpoint.tokenizer, FrameWindows(recording, 17)
    assert isinstance(tokenizer, TinyTokenizer)
    assert checkpoint.scene is not None
    clips = read_clips(windows, np.array([20, 3, 11, 7]), with_keyframes=True)
    assert clips.keyframes is not None
    drawn = most_probable(checkpoint.scene.model, checkpoint.scene.model(*clips.keyframes))
    tokens = torch.cat([drawn[:2], tokenizer.encode(clips.frames)[2:]])
    values = tokenizer.fsq.digits_to_values(tokenizer.fsq.codes_to_digits(tokens))
    weights = {"squared_error_weight": CONFIG.squared_error_weight, "edge_weight": CONFIG.edge_weight}
    expected = reconstruction_loss(tokenizer.decoder(values), normalised(clips.frames), **weights)
    loss = module._loss(tokenizer, checkpoint.scene.model, clips, CONFIG)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_it_learns_what_the_scene_draws(checkpoint: Checkpoint, recording: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=40, ema_decay=0.8, report_every=40)
    gained = {}
    for share in (0.0, 1.0):
        trained = train_decoder(
            checkpoint, recording, recording, tmp_path / f"{share}", replace(config, drawn_share=share)
        )
        decoder = trained.provenance["decoder"]
        gained[share] = {name: after - decoder["before"][name] for name, after in decoder["after"].items()}
    assert gained[0.0].keys() == {"validation_psnr"}
    assert gained[0.0]["validation_psnr"] > gained[1.0]["validation_psnr"]
    assert gained[1.0]["validation_psnr_drawn"] > 1


def test_stopping_and_resuming_changes_no_bit(
    checkpoint: Checkpoint, recording: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_decoder(checkpoint, recording, recording, tmp_path / "whole", CONFIG)
    calls = 0

    def loss_or_interruption(*arguments: torch.Tensor, **weights: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:  # One step after the state of step 4 was saved.
            raise KeyboardInterrupt
        return reconstruction_loss(*arguments, **weights)

    monkeypatch.setattr(module, "reconstruction_loss", loss_or_interruption)
    with pytest.raises(KeyboardInterrupt):
        train_decoder(checkpoint, recording, recording, tmp_path / "parts", CONFIG)
    resumed = train_decoder(checkpoint, recording, recording, tmp_path / "parts", CONFIG, resume=True)
    assert calls == 8
    assert resumed.tokenizer.identity == whole.tokenizer.identity
    log = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4, 6]
    with pytest.raises(InvalidInputError, match=r"drawn_share was 0\.5, now 0\.25"):
        train_decoder(
            checkpoint, recording, recording, tmp_path / "parts", replace(CONFIG, drawn_share=0.25), resume=True
        )


def test_new_blocks_change_nothing_at_first(checkpoint: Checkpoint, recording: Dataset, tmp_path: Path) -> None:
    tokenizer = checkpoint.tokenizer
    assert isinstance(tokenizer, TinyTokenizer)
    larger = grown(tokenizer, (5, 2, 2), 0)
    assert [len(part) for part in (larger.decoder.coarse, larger.decoder.fine, larger.decoder.frames)] == [5, 2, 2]
    tokens = checkpoint.starts.tokens[:, -1]
    assert torch.equal(larger.decode(tokens), tokenizer.decode(tokens))
    assert torch.equal(larger.decode_last(tokens), larger.decode(tokens)[:, -1])
    trained = train_decoder(checkpoint, recording, recording, tmp_path, replace(CONFIG, decoder_blocks=(4, 1, 1)))
    assert isinstance(trained.tokenizer, TinyTokenizer)
    assert trained.tokenizer.decoder.coarse[3].out.weight.any()
    with pytest.raises(InvalidInputError, match=r"decoder_blocks must be at least \(3, 1, 1\).*got \(3, 1, 0\)"):
        grown(tokenizer, (3, 1, 0), 0)


def test_what_cannot_be_trained_is_refused(checkpoint: Checkpoint, recording: Dataset, tmp_path: Path) -> None:
    without = write_recording(tmp_path / "without", poses=False)
    with pytest.raises(DatasetError, match="poses"):
        train_decoder(checkpoint, without, recording, tmp_path / "run", CONFIG)
    alone = replace(checkpoint, scene=None)
    trained = train_decoder(alone, without, without, tmp_path / "run", replace(CONFIG, steps=1))
    assert trained.provenance["decoder"]["after"].keys() == {"validation_psnr"}
    with pytest.raises(InvalidInputError, match="TinyTokenizer, whose decoder can be trained, got object"):
        grown(object(), None, 0)
