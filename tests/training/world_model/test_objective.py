"""The objective, compared with naive computations and closed forms, and on data that a model must learn."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwm_env.draws import seeds_of
from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.training.world_model import objective
from hwm_env.training.world_model.objective import (
    MaskedModelling,
    SampleBatch,
    Targets,
    arrange,
    draw_targets,
    hide_all,
    token_losses,
    with_own_predictions,
)
from hwm_env.training.world_model.recipe import TrainingConfig


@pytest.fixture
def model() -> MaskedHWM:
    return MaskedHWM(replace(TINY, width=32, mlp_width=64), torch.Generator().manual_seed(0))


def random_batch(model: MaskedHWM, batch: int, past: int, future: int = 1) -> SampleBatch:
    generator = torch.Generator().manual_seed(1)

    def tokens(clips: int) -> Tensor:
        shape = (batch, clips, 3, *model.config.grid_size)
        return torch.randint(model.config.codebook_size, shape, generator=generator, dtype=torch.int32)

    return SampleBatch(
        video_past=tokens(past),
        video_future=tokens(future),
        actions_past=torch.randn(batch, 17 * past, 25, generator=generator),
        actions_future=torch.randn(batch, 17 * future, 25, generator=generator),
    )


def drawn(model: MaskedHWM, batch: SampleBatch, max_corruption: float = 0.2) -> Targets:
    targets = arrange(model, batch, parallel_targets=True)
    seeds = seeds_of(0, 0, range(len(batch["video_past"])))
    return draw_targets(targets, seeds, model.config.codebook_size, max_corruption)


@pytest.mark.parametrize("head", ["factored", "joint"])
def test_the_loss_is_the_cross_entropy_over_the_whole_codebook(head: str) -> None:
    model = MaskedHWM(replace(TINY, codebook_head=head), torch.Generator().manual_seed(0))
    targets = drawn(model, random_batch(model, batch=2, past=3))
    with torch.no_grad():
        digit_logits = model.predict(
            targets.past,
            targets.future,
            targets.actions_past,
            targets.actions_future,
            targets.times,
            parallel_targets=True,
        )
        joint = model.head.joint(digit_logits).double().log_softmax(-1)
        sums = MaskedModelling(model, parallel_targets=True)(targets)
    loss, right, count = (torch.zeros(3, dtype=torch.float64) for _ in range(3))
    for place in targets.hidden.nonzero().tolist():
        logits, token = joint[tuple(place)], int(targets.tokens[tuple(place)])
        loss[place[2]] -= logits[token]
        right[place[2]] += int(logits.argmax()) == token
        count[place[2]] += 1
    torch.testing.assert_close(sums.loss.double(), loss, rtol=1e-5, atol=1e-4)
    assert torch.equal(sums.right.double(), right)
    assert torch.equal(targets.counts, count)


def test_a_large_head_in_slices_has_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MaskedHWM(replace(TINY, codebook_head="joint"), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(50, TINY.width, generator=generator, requires_grad=True)
    tokens = torch.randint(TINY.codebook_size, (50,), generator=generator)
    hidden = torch.rand(50, generator=generator) < 0.7

    def results() -> list[Tensor]:
        loss, right = token_losses(model.head, features, 1, tokens, hidden)
        return [loss, right, *torch.autograd.grad(loss, [features, model.head.project.weight])]

    whole = results()
    monkeypatch.setattr(objective, "ELEMENTS_AT_ONCE", 7 * TINY.codebook_size)
    for part, expected in zip(results(), whole, strict=True):
        torch.testing.assert_close(part, expected)


def test_what_is_hidden_and_corrupted_has_the_expected_shares(model: MaskedHWM) -> None:
    """cos(r * pi / 2) over r ~ U(0, 1) has mean 2 / pi; a rate of U(0, 0.2) has mean 0.1."""
    batch = random_batch(model, batch=4000, past=2)
    clean = {name: part.clone() for name, part in batch.items()}
    targets = drawn(model, batch)
    codes = model.config.codebook_size
    hidden = targets.hidden.float().mean(dim=(2, 3, 4))  # of each clip
    assert float(hidden.mean()) == pytest.approx(2 / math.pi, abs=0.01)
    # The variance of cos(r * pi / 2) is 1/2 - 4/pi^2, plus that of 18 Bernoulli draws with this mean.
    spread = 0.5 - 4 / math.pi**2
    noise = (2 / math.pi - 0.5) / 18
    assert float(hidden.var()) == pytest.approx(spread + noise, abs=0.005)
    assert (targets.hidden.flatten(2).sum(-1) >= 1).all()

    # A random token differs from the true one with probability 1 - 1 / V.
    changed = 0.1 * (1 - 1 / codes)
    past, future = clean["video_past"], torch.cat([clean["video_past"], clean["video_future"]], dim=1)[:, 1:]
    assert float((targets.past != past).float().mean()) == pytest.approx(changed, abs=0.003)
    visible = ~targets.hidden
    assert float((targets.future != future)[visible].float().mean()) == pytest.approx(changed, abs=0.006)
    by_sample = (targets.past != past).flatten(1).float().mean(1)
    assert float(by_sample.quantile(0.99)) > 0.15

    assert (targets.past < codes).all(), "the past is never masked"
    assert torch.equal(targets.future == codes, targets.hidden)
    assert torch.equal(targets.tokens, future), "labels are the truth"
    for name, part in batch.items():
        assert torch.equal(part, clean[name]), f"{name} was changed in place"


def test_no_result_depends_on_how_a_batch_is_divided(model: MaskedHWM) -> None:
    batch = random_batch(model, batch=6, past=2)
    seeds = seeds_of(3, 7, range(6))
    assert len(set(seeds.tolist())) == 6
    assert torch.equal(seeds[4:], seeds_of(3, 7, range(4, 6)))
    whole = draw_targets(arrange(model, batch, parallel_targets=True), seeds, model.config.codebook_size, 0.2)
    rows = SampleBatch(**{name: part[4:] for name, part in batch.items()})  # type: ignore[typeddict-item]
    part = draw_targets(arrange(model, rows, parallel_targets=True), seeds[4:], model.config.codebook_size, 0.2)
    for name in ("past", "future", "hidden", "tokens", "actions_past", "actions_future"):
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name)), name


def assert_loss_is_that_of_forward(model: MaskedHWM, hidden: Targets) -> None:
    """Compares the loss of targets whose tokens are all hidden with `forward` and torch's cross-entropy."""
    sums = MaskedModelling(model, parallel_targets=False)(hidden)
    logits = model(
        hidden.past.transpose(1, 2), hidden.future.transpose(1, 2), hidden.actions_past, hidden.actions_future
    )
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), hidden.tokens.permute(2, 0, 1, 3, 4).flatten().long(), reduction="sum"
    )
    torch.testing.assert_close(sums.loss.sum(), expected)


def test_single_targets_are_the_clips_after_the_whole_history(model: MaskedHWM) -> None:
    batch = random_batch(model, batch=2, past=3, future=2)
    targets = arrange(model, batch, parallel_targets=False)
    assert torch.equal(targets.past, batch["video_past"])
    assert torch.equal(targets.tokens, batch["video_future"])
    assert targets.times.tolist() == [3, 4]
    hidden = hide_all(targets, model.config.codebook_size)
    assert hidden.counts.tolist() == [2 * 2 * 6] * 3
    assert_loss_is_that_of_forward(model, hidden)


def test_a_model_that_completes_a_clip_learns_its_last_latents() -> None:
    config = replace(TINY, latent_layout="sequential", past_latents=2, num_past_clips=1, num_future_clips=1)
    model = MaskedHWM(config, torch.Generator().manual_seed(0))
    batch = random_batch(model, batch=2, past=0)
    targets = hide_all(arrange(model, batch, parallel_targets=False), config.codebook_size)
    assert torch.equal(targets.past, batch["video_future"][:, :, :2])
    assert torch.equal(targets.tokens, batch["video_future"][:, :, 2:])
    assert torch.equal(targets.actions_past, batch["actions_future"][:, :9])
    assert_loss_is_that_of_forward(model, targets)


def next_clip_loss(model: MaskedHWM, batch: SampleBatch) -> float:
    targets = hide_all(arrange(model, batch, parallel_targets=False), model.config.codebook_size)
    with torch.no_grad():
        sums = MaskedModelling(model, parallel_targets=False)(targets)
    return (sums.loss / targets.counts).mean().item()


@pytest.mark.slow
def test_it_overfits_one_batch(model: MaskedHWM) -> None:
    """Four windows of random tokens, which only their actions distinguish if the history is short."""
    batch = random_batch(model, batch=4, past=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98))
    learner = MaskedModelling(model, parallel_targets=True)
    for step in range(400):
        targets = draw_targets(
            arrange(model, batch, parallel_targets=True), seeds_of(2, step, range(4)), model.config.codebook_size, 0
        )
        loss = (learner(targets).loss / targets.counts).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    other = batch.copy()
    other["actions_future"] = batch["actions_future"].roll(1, dims=0)
    assert next_clip_loss(model, batch) < 0.05
    assert next_clip_loss(model, other) > next_clip_loss(model, batch)


@pytest.mark.parametrize("scope", ["patch", "pooled"])
def test_running_blocks_again_changes_no_gradient(scope: str) -> None:
    results = []
    for again in (False, True):
        model = MaskedHWM(replace(TINY, temporal_scope=scope), torch.Generator().manual_seed(0))
        model.checkpoint_activations = again
        targets = drawn(model, random_batch(model, batch=2, past=2))
        MaskedModelling(model, parallel_targets=True)(targets).loss.sum().backward()
        results.append([parameter.grad for parameter in model.parameters()])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_own_predictions_are_what_the_model_says_of_each_clip(model: MaskedHWM) -> None:
    batch = random_batch(model, batch=6, past=5)
    targets = arrange(model, batch, parallel_targets=True)
    codes = model.config.codebook_size
    targets = draw_targets(targets, seeds_of(0, 0, range(6)), codes, 0.0, num_own=4)
    assert targets.own is not None
    assert targets.own.shape == (4, 5)
    assert targets.own.any(dim=1).all()
    past = with_own_predictions(model, targets, targets.own)
    for row in range(6):
        for clip in range(5):
            expected = batch["video_past"][row, clip]
            if row < 4 and targets.own[row, clip] and clip > 0:
                v_p = batch["video_past"][row : row + 1, :clip].transpose(1, 2)
                a_p = batch["actions_past"][row : row + 1, : 17 * clip]
                a_f = batch["actions_past"][row : row + 1, 17 * clip : 17 * (clip + 1)]
                hidden = torch.full_like(v_p[:, :, :1], codes)
                expected = model(v_p, hidden, a_p, a_f)[:, 0, 0].argmax(dim=-1)
            assert torch.equal(past[row, clip], expected.int()), (row, clip)


def test_own_predictions_change_the_past_only_and_leave_all_gradients(model: MaskedHWM) -> None:
    batch = random_batch(model, batch=4, past=5)
    targets = arrange(model, batch, parallel_targets=True)
    codes = model.config.codebook_size
    seeds = seeds_of(0, 0, range(4))
    never, always = (draw_targets(targets, seeds, codes, 0.2, num_own=num_own) for num_own in (None, 4))
    assert never.own is None
    assert always.own is not None
    assert 0.2 < always.own.float().mean() < 0.8
    for name in Targets._fields:
        if name not in ("own", "scene_past", "scene_future"):
            assert torch.equal(getattr(never, name), getattr(always, name)), name
    loss = MaskedModelling(model, parallel_targets=True)
    gradients = []
    with torch.autocast("cpu", torch.bfloat16):
        replaced = always._replace(own=None, past=with_own_predictions(model, always, always.own))
    for past in (always, replaced):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            sums = loss(past)
        sums.loss.sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.equal(gradient, gradients[1][name]), name


def test_own_predictions_are_a_share_of_parallel_targets() -> None:
    with pytest.raises(InvalidInputError, match="own_predictions"):
        TrainingConfig(own_predictions=1.5)
    with pytest.raises(InvalidInputError, match="parallel_targets"):
        TrainingConfig(own_predictions=0.5, parallel_targets=False)
