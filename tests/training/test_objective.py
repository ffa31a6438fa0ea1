"""The objective against a naive computation over the whole codebook, and what it must be able to learn."""

from dataclasses import replace

import pytest
import torch

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.training.objective import masked_loss, next_clip_loss, parallel_targets_loss


@pytest.fixture
def model() -> MaskedHWM:
    return MaskedHWM(replace(TINY, width=32, mlp_width=64), torch.Generator().manual_seed(0))


def random_windows(model: MaskedHWM, batch: int, clips: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, clips, 3, *model.config.grid_size)
    tokens = torch.randint(model.config.codebook_size, shape, generator=generator, dtype=torch.int32)
    return tokens, torch.randn(batch, clips, 17, 25, generator=generator)


def test_masked_loss_equals_cross_entropy_over_the_joint_codebook(model: MaskedHWM) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = model.config.grid_size
    shape = (2, 3, 3, rows, columns)
    logits = torch.randn(*shape, sum(model.config.fsq_levels), generator=generator)
    targets = torch.randint(model.config.codebook_size, shape, generator=generator)
    mask = torch.rand(shape, generator=generator) < 0.5
    joint = model.head.joint(logits)
    per_latent = []
    for latent in range(3):
        losses = [
            -joint[b, t, latent, y, x, targets[b, t, latent, y, x]]
            for b in range(2)
            for t in range(3)
            for y in range(rows)
            for x in range(columns)
            if mask[b, t, latent, y, x]
        ]
        per_latent.append(torch.stack(losses).mean())
    result = masked_loss(model, logits, targets, mask)
    assert torch.isclose(result.loss, torch.stack(per_latent).mean(), atol=1e-5)
    assert torch.isclose(result.accuracy, (joint.argmax(-1) == targets)[mask].float().mean())


def test_it_overfits_one_batch(model: MaskedHWM) -> None:
    """Four windows of random tokens, each told apart by its actions alone where the history is short."""
    tokens, actions = random_windows(model, batch=4, clips=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(2)
    for _ in range(400):
        loss = parallel_targets_loss(model, tokens, actions, 0.0, generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        true = next_clip_loss(model, tokens, actions, shuffled=False)
        shuffled = next_clip_loss(model, tokens, actions, shuffled=True)
    assert true.loss < 0.05
    assert true.accuracy == 1.0
    assert shuffled.loss > true.loss


def test_a_model_blind_to_actions_shows_no_gap(model: MaskedHWM) -> None:
    tokens, actions = random_windows(model, batch=4, clips=3)
    model.actions.action_std.fill_(torch.inf)
    true, shuffled = (next_clip_loss(model, tokens, actions, shuffled=flag).loss for flag in (False, True))
    assert torch.equal(true, shuffled)
