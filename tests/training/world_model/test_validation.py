"""Validation scores of models that ignore their inputs or return the answer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwm_env.data.samples import ClipSamples
from hwm_env.errors import DatasetError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.training.world_model.validation import Validation
from tests.model.inputs import awake
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> ClipSamples:
    return ClipSamples(write_world(tmp_path_factory.mktemp("data")), 2)


@pytest.fixture
def model() -> MaskedHWM:
    return awake(MaskedHWM(MODEL, torch.Generator().manual_seed(0)))


def test_the_next_clips_loss_is_the_forward_passs(samples: ClipSamples, model: MaskedHWM) -> None:
    """Compares with `forward` and torch's cross-entropy, one sample at a time, with the actions of the next sample."""
    recipe = replace(RECIPE, validation_samples=3, micro_batch_size=2)
    losses = Validation(samples, recipe, TOKENIZER, CPU).losses(model)
    chosen = [samples[index] for index in (0, (len(samples) - 1) // 2, len(samples) - 1)]
    for shift, measured in ((0, losses.next_clip_loss), (1, losses.next_clip_loss_shuffled_actions)):
        expected = []
        for index, sample in enumerate(chosen):
            past = torch.from_numpy(sample["video_past"])[None].transpose(1, 2)
            future = torch.from_numpy(sample["video_future"])[None].transpose(1, 2)
            actions = torch.from_numpy(chosen[(index + shift) % 3]["actions_future"])[None]
            hidden = torch.full_like(future, MODEL.mask_token)
            with torch.no_grad():
                logits = model(past, hidden, torch.from_numpy(sample["actions_past"])[None], actions)
            target = future.transpose(0, 1).flatten().long()
            expected.append(torch.nn.functional.cross_entropy(logits.flatten(0, -2), target))
        assert measured == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_a_model_blind_to_actions_shows_no_gap(samples: ClipSamples, model: MaskedHWM) -> None:
    validation = Validation(samples, RECIPE, TOKENIZER, CPU)
    seeing = validation.losses(model)
    assert seeing.next_clip_loss_shuffled_actions != seeing.next_clip_loss
    assert validation.losses(model) == seeing, "the same model scores the same"
    model.actions.action_std.fill_(torch.inf)
    blind = validation.losses(model)
    assert blind.next_clip_loss_shuffled_actions == blind.next_clip_loss
    preview = validation.preview(model)
    assert preview is not None
    assert preview.psnr_true_actions == preview.psnr_shuffled_actions


def test_previews_show_truth_beside_prediction(
    samples: ClipSamples, model: MaskedHWM, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = Validation(samples, replace(RECIPE, preview_samples=2), TOKENIZER, CPU)
    chosen = [samples[0], samples[(len(samples) - 1) // 3]]
    truth = TOKENIZER.decode(torch.stack([torch.from_numpy(sample["video_future"][0]) for sample in chosen]))
    last = TOKENIZER.decode(torch.stack([torch.from_numpy(sample["video_past"][-1]) for sample in chosen]))[:, -1:]
    monkeypatch.setattr(
        Validation,
        "_next_clip",
        lambda self, model, batch, actions: (
            batch["video_future"][:, 0]
            if torch.equal(actions, batch["actions_future"])
            else batch["video_future"][:, 0].roll(1, dims=0)
        ),
    )
    preview = validation.preview(model)
    assert preview is not None
    assert torch.equal(preview.videos, torch.cat([truth, truth], dim=3))
    assert preview.psnr_true_actions == 100.0
    assert preview.psnr_shuffled_actions == pytest.approx(psnr_db(truth.roll(1, dims=0), truth).mean().item())
    assert preview.psnr_repeat_last_frame == pytest.approx(psnr_db(last, truth).mean().item())
    assert len(preview.numbers()) == 3


def test_one_sample_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1 sample; expected at least 2"):
        Validation(ClipSamples(write_world(tmp_path, num_clips=3), 2), RECIPE, TOKENIZER, CPU)
