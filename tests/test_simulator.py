"""The simulator is functional, batched and seeded; cached decoding equals plain recomputation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.decoding.config import DecodingConfig, HistoryMode
from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Precision
from hwm_env.model.presets import TINY
from hwm_env.simulator import SLICE, WorldSimulator, WorldState
from tests.naive_decoding import naive_decode
from tests.simulators import simulator_of


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    return WorldSimulator.from_pretrained(tiny_checkpoint)


def chunks(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 17, 25, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_cached_decoding_equals_plain_recomputation_token_for_token(simulator: WorldSimulator) -> None:
    """Five env steps at temperature 0; the naive loop recomputes all ten clips in every decoding step."""
    simulator.decoding = DecodingConfig(steps=4, temperature=0.0)
    model = simulator.model
    state = simulator.reset([0, 1, 2], [0, 0, 0])
    tokens, actions = state.tokens, state.actions
    for step in range(5):
        chunk = chunks(3, seed=step)
        state, clip = simulator.step(state, chunk)

        expected, *_ = naive_decode(model, tokens, actions, chunk, simulator.decoding, None)
        assert torch.equal(clip.tokens, expected)
        tokens = torch.cat([tokens[:, 1:], expected[:, None]], dim=1)
        actions = torch.cat([actions[:, 1:], chunk[:, None]], dim=1)
        assert torch.equal(state.tokens, tokens)
        assert torch.equal(state.actions, actions)


def test_a_row_of_a_batch_equals_the_same_row_alone(simulator: WorldSimulator) -> None:
    together = simulator.reset([2, 0, 1], [7, 8, 9])
    alone = simulator.reset([0], [8])
    for step in range(3):
        chunk = chunks(3, seed=step)
        together, batch_clip = simulator.step(together, chunk)
        alone, clip = simulator.step(alone, chunk[1:2])
        assert torch.equal(batch_clip.tokens[1], clip.tokens[0])
        assert torch.equal(batch_clip.frames[1], clip.frames[0])
        assert torch.allclose(batch_clip.confidence[1], clip.confidence[0], atol=1e-4)


def test_a_state_is_never_changed_in_place(simulator: WorldSimulator) -> None:
    saved = simulator.reset([0, 1], [1, 2])
    copy = WorldState(saved.tokens.clone(), saved.actions.clone(), saved.seeds, saved.step_indices)
    first, clip = simulator.step(saved, chunks(2))
    simulator.step(first, chunks(2, seed=1))
    assert torch.equal(saved.tokens, copy.tokens)
    assert torch.equal(saved.actions, copy.actions)
    _, again = simulator.step(saved, chunks(2))
    assert torch.equal(clip.tokens, again.tokens)


def test_forks_share_their_past_and_may_differ_in_their_future(simulator: WorldSimulator) -> None:
    state, _ = simulator.step(simulator.reset([0, 1], [1, 2]), chunks(2))
    forks = state.select([1, 1, 0])
    assert forks.seeds == (2, 2, 1)
    same, clip = simulator.step(forks, chunks(1).expand(3, -1, -1))
    assert torch.equal(clip.tokens[0], clip.tokens[1])
    other = replace(forks, seeds=(2, 3, 1))
    _, other_clip = simulator.step(other, chunks(1).expand(3, -1, -1))
    assert not torch.equal(other_clip.tokens[0], other_clip.tokens[1])
    assert same.step_indices == (2, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
@pytest.mark.parametrize("count", [1, 2])
def test_forks_equal_their_row_unless_their_seeds_differ(
    tiny_checkpoint: Path, history: HistoryMode, count: int
) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, history=history, strict=True, temperature=1.0)
    state, _ = simulator.step(simulator.reset(range(count), range(count)), chunks(count))
    forks = simulator.fork(state, 3)
    assert len(forks) == 3 * count
    chunk = chunks(count, seed=1)
    after, clip = simulator.step(forks, chunk.repeat_interleave(3, dim=0))
    _, expected = simulator.step(state, chunk)
    for row in range(count):
        for copy in range(3):
            assert torch.equal(clip.tokens[3 * row + copy], expected.tokens[row])
    seeded = simulator.fork(state, 3, seeds=range(10, 10 + 3 * count))
    _, other = simulator.step(seeded, chunk.repeat_interleave(3, dim=0))
    assert not torch.equal(other.tokens[0], other.tokens[1])
    assert after.step_indices == (2,) * 3 * count
    simulator.step(after, chunk.repeat_interleave(3, dim=0))


def test_forks_of_a_single_row_share_its_memory(tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, history="streaming")
    state = simulator.reset([0], [0])
    forks = simulator.fork(state, 256)
    assert forks.tokens.data_ptr() == state.tokens.data_ptr()
    assert forks.encoded is not None
    assert state.encoded is not None
    for fork_clip, clip in zip(forks.encoded.clips, state.encoded.clips, strict=True):
        assert [field.data_ptr() for field in fork_clip] == [field.data_ptr() for field in clip]


@pytest.mark.parametrize(
    ("n", "seeds", "message"),
    [(0, None, "n must be at least 1"), (2, [1, 2, 3], "one seed for each of 2 rows, got 3"), (1, [-1], "row 0")],
)
def test_bad_forks_are_refused(simulator: WorldSimulator, n: int, seeds: list[int] | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        simulator.fork(simulator.reset([0], [0]), n, seeds)


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_strict_rows_equal_the_same_row_alone_to_the_bit(tiny_checkpoint: Path, history: HistoryMode) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, history=history, strict=True)
    starts = [0, 1, 2, 3] * 3
    together = simulator.reset(starts, range(12))
    alone = [simulator.reset([starts[row]], [row]) for row in (0, 7, 8, 11)]
    for step in range(2):
        chunk = chunks(12, seed=step)
        together, batch = simulator.step(together, chunk)
        for index, row in enumerate((0, 7, 8, 11)):
            alone[index], clip = simulator.step(alone[index], chunk[row : row + 1])
            for part, own in zip(
                (batch.tokens, batch.log_prob, batch.entropy), (clip.tokens, clip.log_prob, clip.entropy), strict=True
            ):
                assert torch.equal(part[row], own[0])
    assert together.seeds == tuple(range(12))


def test_a_strict_step_computes_slices_of_one_size_only(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix product has the same number of rows, so rows are equal to the bit."""
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, strict=True)
    sizes: list[int] = []
    encode = simulator.model.encode_history
    monkeypatch.setattr(
        simulator.model,
        "encode_history",
        lambda past, *given, **named: (sizes.append(len(past)), encode(past, *given, **named))[1],
    )
    for count in (1, 8, 11):
        simulator.step(simulator.reset([0] * count, range(count)), chunks(count))
    assert sizes == [SLICE] * 4


def test_the_entropy_is_that_of_the_sampled_distribution(simulator: WorldSimulator) -> None:
    """The most probable outcome's log-probability bounds the entropy from below (min-entropy)."""
    simulator.decoding = DecodingConfig(steps=4, temperature=0.0)
    _, clip = simulator.step(simulator.reset([0, 1], [0, 0]), chunks(2))
    assert (clip.entropy >= -clip.log_prob - 1e-4).all()
    assert clip.mean_entropy.shape == (2,)
    assert torch.isclose(clip.mean_entropy[1], clip.entropy[1].mean())


@pytest.mark.slow
def test_actions_and_seeds_matter(simulator: WorldSimulator) -> None:
    state = simulator.reset([0, 0, 0], [1, 1, 2])
    chunk = chunks(3)
    chunk[2] = chunk[0]
    _, clip = simulator.step(state, chunk)
    assert not torch.equal(clip.tokens[0], clip.tokens[1])
    assert not torch.equal(clip.tokens[0], clip.tokens[2])


def test_a_short_history_grows_to_nine_clips_and_then_slides(simulator: WorldSimulator) -> None:
    starts = simulator.checkpoint.starts
    state = simulator.begin(starts.tokens[:1, -8:], starts.actions[:1, -8:], [0])
    lengths = []
    for _ in range(3):
        state, clip = simulator.step(state, chunks(1))
        lengths.append(state.tokens.shape[1])
        assert torch.equal(state.tokens[:, -1], clip.tokens)
    assert lengths == [9, 9, 9]


def test_frames_are_those_of_the_tokenizer(simulator: WorldSimulator) -> None:
    _, clip = simulator.step(simulator.reset([0], [0]), chunks(1))
    assert clip.frames.shape == (1, 17, 64, 64, 3)
    assert torch.equal(clip.frames, simulator.tokenizer.decode(clip.tokens))
    assert torch.isclose(clip.confidence[0], rearrange(clip.log_prob, "b l h w -> b (l h w)")[0].mean())


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(2, 17, 24), r"shape \(2, 17, 25\), got \(2, 17, 24\)"),
        (torch.zeros(1, 17, 25), r"shape \(2, 17, 25\), got \(1, 17, 25\)"),
        (torch.zeros(2, 17, 25).index_fill(0, torch.tensor([1]), torch.nan), "infinity in row 1"),
        (torch.full((2, 17, 25), torch.inf), "infinity in row 0"),
    ],
)
def test_bad_actions_are_refused(simulator: WorldSimulator, actions: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        simulator.step(simulator.reset([0, 1], [0, 0]), actions)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("starts", "seeds", "message"),
    [
        ([4], [0], "the start of row 0 must be below 4, got 4"),
        ([-1], [0], "got -1"),
        ([0], [0, 1], "one seed for each"),
        ([0], [-1], "the seed of row 0 must be at least 0, got -1"),
        ([0, 1, 7], [0, 1, 2], "row 2 must be below 4, got 7"),
        ([0, 1], [0, 2**63], "the seed of row 1 must be below"),
        ([0.0], [0], "the start of row 0 must be a whole number, got 0.0"),
        ("0", [0], "the start of row 0 must be a whole number, got '0'"),
        ([True], [0], "whole number, got True"),
        ([0], [1.5], "the seed of row 0 must be a whole number, got 1.5"),
        ([0], 0, "seeds must be"),
        ([], [], "expected one or more rows"),
    ],
)
def test_bad_resets_are_refused(simulator: WorldSimulator, starts: list[int], seeds: list[int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        simulator.reset(starts, seeds)


def test_histories_that_do_not_fit_are_refused(simulator: WorldSimulator) -> None:
    starts = simulator.checkpoint.starts
    with pytest.raises(InvalidInputError, match="encode them with this checkpoint's tokenizer"):
        simulator.begin(starts.tokens[:1] + 64_000, starts.actions[:1], [0])
    with pytest.raises(InvalidInputError, match=r"shape \(B, T, 3, 8, 8\)"):
        simulator.begin(starts.tokens[:1, :, :, :4], starts.actions[:1], [0])
    with pytest.raises(InvalidInputError, match="1 to 9 clips, got 18"):
        simulator.begin(starts.tokens[:1].repeat(1, 2, 1, 1, 1), starts.actions[:1].repeat(1, 2, 1, 1), [0])


def test_decoding_settings_replace_those_of_the_checkpoint(tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(
        tiny_checkpoint, decoding_steps=2, temperature=0.0, order="halton", history="streaming"
    )
    assert simulator.decoding == DecodingConfig(steps=2, temperature=0.0, order="halton", history="streaming")


@pytest.mark.parametrize(
    ("change", "decoding", "message"),
    [
        ({"temporal_mask": "bidirectional"}, {"history": "streaming"}, "'streaming'.*temporal_mask 'bidirectional'"),
        ({}, {"steps": 19}, r"steps 19 .*grid_size \(2, 3\)"),
        (
            {"past_latents": 2, "latent_layout": "sequential", "num_past_clips": 1, "num_future_clips": 1},
            {},
            "past_latents 2 completes one clip",
        ),
    ],
)
def test_unsupported_decoding_is_refused(change: dict[str, Any], decoding: dict[str, Any], message: str) -> None:
    model = MaskedHWM(replace(TINY, **change))
    with pytest.raises(InvalidInputError, match=message):
        simulator_of(model, DecodingConfig(**decoding))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_simulator_leaves_its_checkpoint_as_it_is(tiny_checkpoint: Path, precision: Precision) -> None:
    checkpoint = load(tiny_checkpoint)
    checkpoint.model.train()
    weights = {name: weight.clone() for name, weight in checkpoint.model.state_dict().items()}
    expected = stepped(WorldSimulator(load(tiny_checkpoint)))
    rough = WorldSimulator(checkpoint, precision=precision)
    exact = WorldSimulator(checkpoint)
    assert checkpoint.model.training
    assert checkpoint.model.state_dict().keys() == weights.keys()
    for name, weight in checkpoint.model.state_dict().items():
        assert weight.dtype == weights[name].dtype
        assert torch.equal(weight, weights[name])
    assert (rough.precision, exact.precision) == (precision, "float32")
    assert rough.identity == exact.identity == checkpoint.identity
    assert torch.equal(stepped(exact), expected)
    assert not torch.equal(stepped(rough), expected)


def test_float32_converts_weights_of_other_precisions(tiny_checkpoint: Path) -> None:
    checkpoint = load(tiny_checkpoint)
    checkpoint.model.bfloat16()
    simulator = WorldSimulator(checkpoint)
    assert {weight.dtype for weight in simulator.model.parameters()} == {torch.float32}
    assert {weight.dtype for weight in checkpoint.model.parameters()} == {torch.bfloat16}


def test_settings_cannot_be_set_around_their_check(tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    before = simulator.decoding
    with pytest.raises(InvalidInputError, match="decoding steps 1000 are more than the 192 tokens"):
        simulator.decoding = DecodingConfig(steps=1000)
    assert simulator.decoding == before
    for name in ("precision", "identity"):
        with pytest.raises(AttributeError, match=name):
            setattr(simulator, name, "int8")


def stepped(simulator: WorldSimulator) -> torch.Tensor:
    """Returns entropies of the first clip, which change with any weight."""
    return simulator.step(simulator.reset([0], [0]), torch.zeros(1, 17, 25))[1].entropy
