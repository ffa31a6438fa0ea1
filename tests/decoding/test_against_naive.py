"""The simulator's tokens against the naive loop, for every combination of the options that decoding depends on."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

import hwm_env.decoding.sampling as sampling
from hwm_env.decoding.config import DecodingConfig, HistoryMode
from hwm_env.decoding.noise import row_uniforms
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.paths import paths_ending_at
from tests.model.options import OPTIONS, SMALL, combinations, example, named
from tests.naive_decoding import naive_decode
from tests.scene.scenes import CONFIG, make_scene
from tests.simulators import simulator_of

pytestmark = pytest.mark.slow

SEEDS = (5, 6)
NUM_TOKENS = 3 * SMALL.num_positions
SETTINGS = [
    DecodingConfig(steps=steps, order=order, temperature=temperature, top_k=top_k, top_p=top_p)
    for (temperature, top_k, top_p), steps, order in product(
        [(0.0, None, 1.0), (1.0, None, 1.0), (0.7, 2, 1.0), (1.3, 3, 0.8)], [1, 3], ["confidence", "random", "halton"]
    )
]
MET_BY_DECODING = {
    field: OPTIONS[field]
    for field in ("temporal_positions", "position_embedding", "latent_layout", "action_injection", "codebook_head")
}

SCENE = make_scene(
    config=replace(CONFIG, grid_size=SMALL.grid_size, fsq_levels=SMALL.fsq_levels), history_weights=(1.0,)
)


def random_world(model: MaskedHWM, clips: int, seed: int, num_codes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns tokens [B, T, 3, H, W] and chunks [B, T, 17, 25] of a history, and the next chunk [B, 17, 25]."""
    generator = torch.Generator().manual_seed(seed)
    batch = len(SEEDS)
    tokens = torch.randint(num_codes, (batch, clips, 3, *model.config.grid_size), generator=generator)
    actions = torch.randn(batch, clips + 1, 17, 25, generator=generator)
    return tokens, actions[:, :-1], actions[:, -1]


def check(model: MaskedHWM, decoding: DecodingConfig, clips: int, seed: int, num_codes: int = 12) -> None:
    """Checks that a step equals the naive loop's, and that a row alone takes the same step as in the batch."""
    tokens, actions, chunk = random_world(model, clips, seed, num_codes)
    simulator = simulator_of(model, decoding, num_codes)
    state = simulator.begin(tokens, actions, SEEDS)
    _, clip = simulator.step(state, chunk)
    numbers = (decoding.steps, NUM_TOKENS, len(model.config.head_levels) + 1)
    uniforms = row_uniforms(SEEDS, (0, 0), numbers)
    expected, log_prob, entropy = naive_decode(model, tokens, actions, chunk, decoding, uniforms, num_codes)
    message = f"{decoding}: {named(model)}"
    assert torch.equal(clip.tokens, expected), message
    assert torch.allclose(clip.log_prob, log_prob.float(), atol=1e-5), message
    assert torch.allclose(clip.entropy, entropy.float(), atol=1e-5), message
    _, alone = simulator.step(state.select([1]), chunk[1:])
    assert torch.equal(alone.tokens[0], clip.tokens[1]), message


@pytest.mark.parametrize("scope", OPTIONS["temporal_scope"])
@pytest.mark.parametrize("mask", OPTIONS["temporal_mask"])
def test_a_step_equals_the_naive_loop(mask: str, scope: str) -> None:
    configs = combinations(MET_BY_DECODING, temporal_mask=mask, temporal_scope=scope)
    for index, config in enumerate(configs):
        model = example(config)
        for offset in range(2):
            # 7 and 24 have no common factor, so that all settings occur.
            decoding = SETTINGS[(7 * index + 11 * offset) % len(SETTINGS)]
            check(model, decoding, clips=1 + (index + offset) % SMALL.num_past_clips, seed=index)


@pytest.mark.parametrize("decoding", [s for s in SETTINGS if s.top_k is None], ids=str)
@pytest.mark.parametrize("layout", OPTIONS["latent_layout"])
def test_a_large_softmax_drawn_in_slices_equals_the_naive_loop(
    monkeypatch: pytest.MonkeyPatch, layout: str, decoding: DecodingConfig
) -> None:
    """Its 12 outcomes are drawn in slices of 5, 5 and 2, or 5 and 5 if the tokenizer has 10 codes."""
    for name, value in (("LARGE", 1), ("OUTCOMES_AT_ONCE", 5), ("TOKENS_AT_ONCE", 4)):
        monkeypatch.setattr(sampling, name, value)
    (config,) = combinations({"codebook_head": ("joint",)}, latent_layout=layout, token_embedding="table")
    for num_codes in (12, 10, 3):
        check(example(config), decoding, clips=2, seed=0, num_codes=num_codes)


@pytest.mark.parametrize("history", ["window", "streaming"])
@pytest.mark.parametrize("layout", OPTIONS["latent_layout"])
def test_a_model_that_reads_a_scene_equals_the_naive_loop(layout: str, history: HistoryMode) -> None:
    """Two successive steps; within the first window, streaming equals the window mode."""
    masks = OPTIONS["temporal_mask"] if history == "window" else ("clip_causal",)
    by_time = {"temporal_positions": "time", "position_embedding": "grid"}
    told = {"scene_width": SCENE.input_width, "codebook_head": "factored"}
    for index, config in enumerate(combinations({"temporal_mask": masks}, latent_layout=layout, **by_time, **told)):
        model = example(config)
        decoding = DecodingConfig(steps=2, temperature=1.0, history=history)
        simulator = simulator_of(model, decoding, scene=SCENE)
        tokens, actions, chunk = random_world(model, clips=2, seed=index, num_codes=12)
        ends = torch.tensor([[0.5, -1.0, 0.3], [torch.nan] * 3])
        paths = paths_ending_at(ends, SCENE.odometry, actions)
        state = simulator.begin(tokens, actions, SEEDS, poses=ends)
        for step in range(2):
            paths = torch.cat([paths, SCENE.odometry(paths[:, -1, -1], chunk)[:, None]], dim=1)
            actions = torch.cat([actions, chunk[:, None]], dim=1)
            scene = SCENE.inputs(paths.flatten(0, 1), actions.flatten(0, 1)).unflatten(0, paths.shape[:2])
            assert scene[0].any()
            assert not scene[1].any()
            uniforms = row_uniforms(SEEDS, (step, step), (2, NUM_TOKENS, len(config.head_levels) + 1))
            expected, log_prob, _ = naive_decode(
                *(model, tokens, actions[:, :-1], chunk, decoding, uniforms), scene=scene
            )
            state, clip = simulator.step(state, chunk)
            assert torch.equal(clip.tokens, expected), named(model)
            assert torch.allclose(clip.log_prob, log_prob.float(), atol=1e-5), named(model)
            assert torch.allclose(state.paths, paths, atol=1e-5, equal_nan=True)
            tokens, chunk = torch.cat([tokens, expected[:, None]], dim=1), chunk.flip(0)
