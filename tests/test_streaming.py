"""A history encoded clip by clip, against one network over everything since the reset."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.noise import row_uniforms
from hwm_env.model.attention import KeyValues
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.simulator import WorldSimulator, WorldState
from tests.model.options import OPTIONS, combinations, example, named
from tests.naive import Sees
from tests.naive_decoding import naive_decode
from tests.simulators import simulator_of

STREAMING = DecodingConfig(steps=2, temperature=1.0, history="streaming")
STREAMABLE = {"temporal_mask": "clip_causal", "temporal_positions": "time", "position_embedding": "grid"}
LAYOUTS = pytest.mark.parametrize("layout", OPTIONS["latent_layout"])
SCOPES = pytest.mark.parametrize("scope", OPTIONS["temporal_scope"])


def history(model: MaskedHWM, batch: int, clips: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(model.config.codebook_size, (batch, clips, 3, *model.config.grid_size), generator=generator)
    return tokens, torch.randn(batch, clips, 17, 25, generator=generator)


def chunks(batch: int, seed: int) -> Tensor:
    return torch.randn(batch, 17, 25, generator=torch.Generator().manual_seed(1000 + seed))


def band(reach: int, next_time: int) -> Sees:
    """Returns the rule that a clip sees itself and `reach` - 1 earlier clips; the one at `next_time` sees `reach`."""

    def sees(viewer: Tensor, viewed: Tensor) -> Tensor:
        before = viewer - viewed
        return (before >= 0) & (before <= torch.where(viewer == next_time, reach, reach - 1))

    return sees


@pytest.mark.slow
@SCOPES
@LAYOUTS
@pytest.mark.parametrize(("reach", "window"), [(1, 1), (2, 1), (3, 2), (3, 3)])
def test_steps_equal_a_network_over_everything_since_the_reset(
    scope: str, layout: str, reach: int, window: int
) -> None:
    options = {field: OPTIONS[field] for field in ("action_injection", "codebook_head")}
    fixed = STREAMABLE | {"temporal_scope": scope, "latent_layout": layout, "num_past_clips": reach}
    if reach == 1:
        # Each clip is the first of its window here and looks back at itself; the naive network would look further.
        fixed["spatial_lookback"] = False
    for config in combinations(options, **fixed):
        model = example(replace(config, num_layers=3))
        simulator = simulator_of(model, STREAMING)
        tokens, actions = history(model, 2, window)
        state = simulator.begin(tokens, actions, (3, 4))
        for step in range(4):
            chunk = chunks(2, step)
            state, clip = simulator.step(state, chunk)
            uniforms = row_uniforms((3, 4), (step, step), (2, 3 * config.num_positions, len(config.head_levels) + 1))
            sees = band(reach, next_time=tokens.shape[1])
            expected, log_prob, entropy = naive_decode(model, tokens, actions, chunk, STREAMING, uniforms, sees=sees)
            assert torch.equal(clip.tokens, expected), f"step {step}: {named(model)}"
            assert torch.allclose(clip.log_prob, log_prob.float(), atol=1e-5), f"step {step}: {named(model)}"
            assert torch.allclose(clip.entropy, entropy.float(), atol=1e-5), f"step {step}: {named(model)}"
            tokens = torch.cat([tokens, expected[:, None]], dim=1)
            actions = torch.cat([actions, chunk[:, None]], dim=1)
            assert torch.equal(state.tokens, tokens[:, -reach:])


def simulator_for(scope: str, layout: str) -> WorldSimulator:
    fixed = STREAMABLE | {"temporal_scope": scope, "num_past_clips": 3}
    (config,) = combinations({"latent_layout": (layout,)}, **fixed)
    return simulator_of(example(config), STREAMING)


@SCOPES
@LAYOUTS
def test_before_a_clip_has_left_the_history_both_modes_are_equal(scope: str, layout: str) -> None:
    streaming = simulator_for(scope, layout)
    window = simulator_of(streaming.model, replace(STREAMING, history="window"))
    tokens, actions = history(streaming.model, 2, 1)
    states = [simulator.begin(tokens, actions, (3, 4)) for simulator in (streaming, window)]
    for step in range(3):
        states[0], clip = streaming.step(states[0], chunks(2, step))
        states[1], expected = window.step(states[1], chunks(2, step))
        assert torch.equal(clip.tokens, expected.tokens)


def test_a_state_continues_in_the_mode_of_the_simulator_that_steps_it() -> None:
    streaming = simulator_for("patch", "stacked")
    window = simulator_of(streaming.model, replace(STREAMING, history="window"))
    state = streaming.begin(*history(streaming.model, 1, 3), (0,))
    for step in range(4):
        state, _ = streaming.step(state, chunks(1, step))
    forgotten = replace(state, encoded=None)
    in_window = [window.step(s, chunks(1, 9)) for s in (state, forgotten)]
    assert torch.equal(in_window[0][1].log_prob, in_window[1][1].log_prob)
    assert in_window[0][0].encoded is None
    resumed, _ = streaming.step(forgotten, chunks(1, 9))
    assert resumed.encoded is not None


@pytest.mark.slow
@SCOPES
@LAYOUTS
def test_selected_rows_continue_like_their_originals(scope: str, layout: str) -> None:
    simulator = simulator_for(scope, layout)
    state = simulator.begin(*history(simulator.model, 2, 2), (3, 4))
    for step in range(2):
        state, _ = simulator.step(state, chunks(2, step))
    forks = state.select([1, 0, 1])
    for step in range(2, 5):
        chunk = chunks(2, step)
        state, clip = simulator.step(state, chunk)
        forks, forked = simulator.step(forks, chunk[[1, 0, 1]])
        assert torch.equal(forked.tokens, clip.tokens[[1, 0, 1]])


def joined(states: list[WorldState]) -> WorldState:
    """Joins states whose histories are equally long, of any age."""
    histories = [state.encoded for state in states]
    clips = tuple(
        KeyValues(*(torch.cat(parts, dim=1) for parts in zip(*clip, strict=True)))
        for clip in zip(*(h.clips for h in histories), strict=True)
    )
    return WorldState(
        torch.cat([state.tokens for state in states]),
        torch.cat([state.actions for state in states]),
        sum((state.seeds for state in states), ()),
        sum((state.step_indices for state in states), ()),
        EncodedHistory(clips, torch.cat([h.next_time for h in histories])),
    )


@pytest.mark.slow
@SCOPES
@LAYOUTS
def test_rows_of_different_ages_share_a_batch(scope: str, layout: str) -> None:
    simulator = simulator_for(scope, layout)
    model = simulator.model
    old = simulator.begin(*history(model, 1, 3, seed=1), (8,))
    for step in range(4):
        old, _ = simulator.step(old, chunks(1, step))
    young = simulator.begin(*history(model, 1, 3, seed=2), (9,))
    together = joined([old, young])
    assert together.encoded.next_time.tolist() == [6, 2]
    swapped = together.select([1, 0])
    for step in range(10, 13):
        chunk = chunks(2, step)
        old, first = simulator.step(old, chunk[:1])
        young, second = simulator.step(young, chunk[1:])
        together, clip = simulator.step(together, chunk)
        assert torch.equal(clip.tokens, torch.cat([first.tokens, second.tokens]))
        assert torch.allclose(clip.log_prob, torch.cat([first.log_prob, second.log_prob]), atol=1e-6)
        swapped, clip = simulator.step(swapped, chunk.flip(0))
        assert torch.allclose(clip.log_prob, torch.cat([second.log_prob, first.log_prob]), atol=1e-6)


def test_appending_does_not_change_the_earlier_history() -> None:
    simulator = simulator_for("patch", "stacked")
    state = simulator.begin(*history(simulator.model, 1, 3), (0,))
    following, _ = simulator.step(state, chunks(1, 0))
    assert following.encoded.clips[0] is state.encoded.clips[1]
    assert len(state.encoded.clips) == len(following.encoded.clips) == 2
