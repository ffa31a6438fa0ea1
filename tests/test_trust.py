"""Trust in predicted clips, against definitions, closed forms and data with known answers."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.trust import Calibration, TokenStatistics, Trust, action_excess
from hwm_env.trust.calibration import FEATURES, logistic_regression

LEVELS = (4, 3)
CODES = math.prod(LEVELS)


def statistics(low: float = -1.0, high: float = 2.0, std: float = 0.5, max_change: float = 0.25) -> ActionStatistics:
    values = {"mean": 0.0, "std": std, "low": low, "high": high, "p01": low, "p99": high, "max_change": max_change}
    return ActionStatistics(**{name: np.full(25, value, np.float32) for name, value in values.items()})


def at_rest(value: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a chunk [1, 17, 25] without motion, and the action before it [1, 25]."""
    return np.full((1, 17, 25), value), np.full((1, 25), value)


def test_actions_within_the_data_have_no_excess() -> None:
    chunk, last = at_rest()
    chunk[0, :, 3] = np.clip(1.0 - 0.25 * np.arange(1, 18), -1.0, 2.0)
    assert (action_excess(statistics(), chunk, last) == 0).all()


def test_a_distance_outside_the_range_is_measured_in_deviations() -> None:
    chunk, last = at_rest(2.0)
    chunk[0, 4:, 7], chunk[0, 8:, 9] = 2.2, 2.0
    excess = action_excess(statistics(), chunk, last)
    assert excess[0, 4:, 7] == pytest.approx(0.2 / 0.5)
    assert np.count_nonzero(excess) == 13


def test_a_jump_is_measured_in_the_largest_change() -> None:
    chunk, last = at_rest(0.0)
    chunk[0, 5, 7] = 0.75
    excess = action_excess(statistics(), chunk, last)
    assert excess[0, [5, 6], 7] == pytest.approx(2.0)
    assert np.count_nonzero(excess) == 2


def test_the_first_frame_is_compared_with_the_last_one_before() -> None:
    chunk, last = at_rest(0.0)
    last[0, 2] = 1.0
    excess = action_excess(statistics(), chunk, last)
    assert excess[0, 0, 2] == pytest.approx(3.0)
    assert np.count_nonzero(excess) == 1


def test_numbers_that_never_varied_are_measured_in_thousandths() -> None:
    chunk, last = at_rest(0.5)
    chunk[0, 1:, 0] = 0.503
    excess = action_excess(statistics(low=0.5, high=0.5, std=0.0, max_change=0.0), chunk, last)
    assert excess[0, 1:, 0] == pytest.approx(3.0)
    assert np.count_nonzero(excess) == 16


finite = st.floats(-3, 4, allow_nan=False, width=32)


@given(numbers=st.lists(finite, min_size=18, max_size=18), std=st.sampled_from([0.0, 0.0005, 0.5]), data=st.data())
def test_excess_equals_its_definition(numbers: list[float], std: float, data: st.DataObject) -> None:
    max_change = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    chunk, last = at_rest(0.0)
    last[0, 11], chunk[0, :, 11] = numbers[0], numbers[1:]
    excess = action_excess(statistics(std=std, max_change=max_change), chunk, last)[0, :, 11]
    for frame in range(17):
        value, before = numbers[frame + 1], numbers[frame]
        outside = max(-1.0 - value, value - 2.0)
        faster = abs(value - before) - max_change
        expected = max(
            outside / max(std, 0.001) if outside > 1e-5 else 0.0,
            faster / max(max_change, 0.001) if faster > 1e-5 else 0.0,
        )
        assert excess[frame] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("beyond", "counts"), [(0.9e-5, False), (1.1e-5, True)])
def test_rounding_is_no_excess(beyond: float, counts: bool) -> None:
    chunk, last = at_rest(2.0)
    chunk[0, 3, 3] += beyond
    assert (action_excess(statistics(max_change=0.0), chunk, last) > 0).any() == counts


def structured_tokens(count: int, seed: int = 0, grid: tuple[int, int] = (4, 4)) -> Tensor:
    """Returns clips int32 [N, 3, H, W] that depend on a few latent variables and on noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(5, 2, 3, *grid, generator=torch.Generator().manual_seed(99))
    hidden = torch.randn(count, 5, generator=generator)
    numbers = torch.einsum("nk,kdlhw->ndlhw", hidden, patterns) + 0.3 * torch.randn(
        count, 2, 3, *grid, generator=generator
    )
    digits = [
        ((torch.tanh(part) + 1) / 2 * (level - 1)).round()
        for part, level in zip(numbers.unbind(1), LEVELS, strict=True)
    ]
    return (digits[0] + LEVELS[0] * digits[1]).int()


def random_tokens(count: int, grid: tuple[int, int] = (4, 4)) -> Tensor:
    return torch.randint(CODES, (count, 3, *grid), dtype=torch.int32, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def token_statistics() -> TokenStatistics:
    return TokenStatistics.from_tokens(structured_tokens(600), LEVELS)


def values_by_definition(tokens: Tensor) -> np.ndarray:
    """Returns 2 * digit / (levels - 1) - 1, [N, digits]; the first digit varies fastest."""
    numbers = tokens.numpy()
    digits = np.stack([numbers % LEVELS[0], numbers // LEVELS[0]], axis=2)
    scale = 2.0 / (np.array(LEVELS) - 1.0)
    return (digits * scale[:, None, None] - 1.0).reshape(len(numbers), -1)


def test_drift_equals_its_definition(token_statistics: TokenStatistics) -> None:
    """Uses NumPy's singular values instead of eigenvalues; 64 of the 96 directions are components."""
    data, asked = structured_tokens(600), torch.cat([structured_tokens(9, seed=1), random_tokens(9)])
    values = values_by_definition(data)
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    variances = singular**2 / 599

    def distances(tokens: Tensor) -> np.ndarray:
        squares = ((values_by_definition(tokens) - mean) @ directions.T) ** 2
        return np.log([(squares[:, :64] / variances[:64]).mean(axis=1), squares[:, 64:].mean(axis=1)])

    known, new = distances(data), distances(asked)
    centre, spread = known.mean(axis=1, keepdims=True), known.std(axis=1, ddof=1, keepdims=True)
    worse, new_worse = ((part - centre) / spread for part in (known, new))
    of_data = worse.max(axis=0)
    expected = (new_worse.max(axis=0) - of_data.mean()) / of_data.std(ddof=1)
    assert token_statistics.drift(asked) == pytest.approx(expected, abs=0.02)


def test_drift_of_the_data_themselves_has_mean_zero_and_deviation_one(token_statistics: TokenStatistics) -> None:
    drift = token_statistics.drift(structured_tokens(600))
    assert drift.mean() == pytest.approx(0.0, abs=1e-3)
    assert drift.std(ddof=1) == pytest.approx(1.0, abs=1e-3)
    assert drift.dtype == np.float32


def test_noise_and_scrambled_clips_are_far_away(token_statistics: TokenStatistics) -> None:
    new = structured_tokens(200, seed=1)
    scrambled = new.flatten(2)[:, :, torch.randperm(16, generator=torch.Generator().manual_seed(3))].view_as(new)
    assert np.percentile(token_statistics.drift(new), 99) < 4
    assert token_statistics.drift(random_tokens(50)).min() > 4
    assert np.median(token_statistics.drift(scrambled)) > 4


@pytest.mark.parametrize("grid", [(4, 4), (5, 7), (8, 8)])
def test_a_clip_alone_is_judged_as_in_any_batch_to_the_bit(grid: tuple[int, int]) -> None:
    trust = Trust(TokenStatistics.from_tokens(structured_tokens(600, grid=grid), LEVELS), TRUTH)
    tokens, features = structured_tokens(37, seed=2, grid=grid).numpy().copy(), random_features(37)
    del features["drift"]
    tokens.flags.writeable = False
    together = trust.assess(tokens, **features)
    for size in (1, 2, 5, 8, 9):
        for first in range(0, 38 - size, size):
            rows = slice(first, first + size)
            some = trust.assess(tokens[rows], **{name: values[rows] for name, values in features.items()})
            for part, expected in zip(some, together, strict=True):
                assert np.array_equal(part, expected[rows]), f"{size} rows from {first}"


def test_larger_grids_are_averaged() -> None:
    """Each token of an 8 x 8 grid is repeated in a square, which does not change the averages."""
    tokens = structured_tokens(300, grid=(8, 8))
    large = tokens.repeat_interleave(4, 2).repeat_interleave(4, 3)
    plain, averaged = TokenStatistics.from_tokens(tokens, LEVELS), TokenStatistics.from_tokens(large, LEVELS)
    assert averaged.grid_size == (32, 32)
    assert averaged.components.shape == plain.components.shape
    assert averaged.drift(large[:9]) == pytest.approx(plain.drift(tokens[:9]), abs=1e-2)


def test_equal_clips_have_a_smallest_unit() -> None:
    same = TokenStatistics.from_tokens(torch.zeros(3, 3, 2, 2, dtype=torch.int32), LEVELS)
    assert same.drift(torch.zeros(1, 3, 2, 2, dtype=torch.int32)) == pytest.approx(0.0, abs=1e-3)
    assert same.drift(torch.full((1, 3, 2, 2), 5)) > 100


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (5, 2, 4, 4), (5, 4, 4)])
def test_tokens_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="N at least 2"):
        TokenStatistics.from_tokens(torch.zeros(shape, dtype=torch.int32), LEVELS)


def test_clips_of_another_grid_are_refused(token_statistics: TokenStatistics) -> None:
    with pytest.raises(InvalidInputError, match=r"\(B, 3, 4, 4\), got \(2, 3, 4, 5\)"):
        token_statistics.drift(torch.zeros(2, 3, 4, 5, dtype=torch.int32))


@pytest.fixture
def write(tmp_path: Any) -> Callable[..., Dataset]:
    def write(tokens: np.ndarray | None, segments: list[int]) -> Dataset:
        writer = DatasetWriter(tmp_path, token_grid=None if tokens is None else tokens.shape[2:])
        frames = len(segments)
        numbers, of_frame = np.zeros((frames, 25), np.float32), np.array(segments, np.int32)
        writer.write_shard(0, states=numbers, segments=of_frame, tokens=tokens)
        writer.finish()
        return Dataset(tmp_path)

    return write


def test_statistics_of_a_data_set_use_its_whole_clips(write: Callable[..., Dataset]) -> None:
    """The clip that a cut divides and the incomplete last clip would have large drift."""
    tokens = structured_tokens(40).numpy()
    tokens[[10, 39]] = random_tokens(2).numpy()
    dataset = write(tokens, [0] * (10 * 17 + 3) + [1] * (28 * 17 + 14) + [1] * 5)
    whole = TokenStatistics.from_tokens(np.delete(tokens, [10, 39], axis=0), LEVELS)
    assert np.array_equal(TokenStatistics.from_dataset(dataset, LEVELS).mean, whole.mean)


def test_a_data_set_needs_tokens_and_two_whole_clips(write: Callable[..., Dataset]) -> None:
    with pytest.raises(DatasetError, match="has no tokens"):
        TokenStatistics.from_dataset(write(None, [0] * 40), LEVELS)


def test_one_whole_clip_is_too_few(write: Callable[..., Dataset]) -> None:
    with pytest.raises(DatasetError, match="has 1 whole clips"):
        TokenStatistics.from_dataset(write(structured_tokens(2).numpy(), [0] * 20), LEVELS)


def random_features(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "confidence": rng.normal(-3.0, 0.5, count),
        "path_entropy": rng.gamma(4.0, 0.7, count),
        "action_ood": rng.beta(0.3, 3.0, count),
        "drift": rng.normal(0.5, 1.5, count),
        "painted_offset": np.random.default_rng(seed + 1).exponential(0.1, count),
        "steps": rng.integers(1, 21, count),
    }


TRUTH = Calibration(
    bound_psnr_db=14.0,
    intercept=-6.0,
    weights={
        "confidence": -0.8,
        "path_entropy": 0.6,
        "action_ood": 3.0,
        "drift": 0.4,
        "painted_offset": 2.0,
        "steps": 0.9,
    },
)


def test_a_fit_recovers_the_risk_that_made_the_errors() -> None:
    features = random_features(100_000)
    errors = np.random.default_rng(1).random(100_000) < TRUTH.error_probability(features)
    fitted = Calibration.fit(features, errors, bound_psnr_db=14.0)
    assert dict(fitted.weights) == pytest.approx(dict(TRUTH.weights), rel=0.1)
    assert fitted.intercept == pytest.approx(TRUTH.intercept, rel=0.05)
    assert fitted.error_probability(features) == pytest.approx(TRUTH.error_probability(features), abs=0.02)


def test_a_risk_is_the_logistic_function_of_the_weighted_sum() -> None:
    features = {name: values[:1] for name, values in random_features(5).items()}
    log_odds = TRUTH.intercept + sum(
        TRUTH.weights[name] * float(features[name][0]) for name in FEATURES if name != "steps"
    )
    log_odds += TRUTH.weights["steps"] * math.log(1 + int(features["steps"][0]))
    assert TRUTH.error_probability(features)[0] == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=1e-6)


def test_regression_ends_at_a_stationary_point_of_the_penalised_likelihood() -> None:
    rng = np.random.default_rng(2)
    columns = rng.normal(size=(300, 3))
    outcomes = rng.random(300) < 1 / (1 + np.exp(-(columns @ [1.0, -2.0, 0.0] + 0.5)))
    coefficients = torch.tensor(logistic_regression(columns, outcomes), requires_grad=True)
    log_odds = torch.from_numpy(columns) @ coefficients[1:] + coefficients[0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        log_odds, torch.from_numpy(outcomes).double(), reduction="sum"
    )
    (loss + coefficients[1:].square().sum() / 2).backward()
    assert coefficients.grad is not None
    assert coefficients.grad.abs().max() < 1e-8


def test_errors_that_a_feature_separates_give_finite_weights() -> None:
    features = random_features(500)
    fitted = Calibration.fit(features, features["drift"] > 0.7, bound_psnr_db=14.0)
    probability = fitted.error_probability(features)
    assert ((probability > 0.5) == (features["drift"] > 0.7)).mean() > 0.98


def test_a_feature_that_never_varies_has_no_weight() -> None:
    features = random_features(500) | {"action_ood": np.full(500, 0.25)}
    fitted = Calibration.fit(features, features["drift"] > 0.7, bound_psnr_db=14.0)
    assert fitted.weights["action_ood"] == 0.0


@pytest.mark.parametrize(("drift", "expected"), [(-1e9, 0.0), (1e9, 1.0)])
def test_extreme_features_give_certain_answers(drift: float, expected: float) -> None:
    features = random_features(1) | {"drift": np.array([drift])}
    assert TRUTH.error_probability(features) == expected


@pytest.mark.parametrize("value", [False, True])
def test_a_risk_needs_errors_and_something_else(value: bool) -> None:
    with pytest.raises(InvalidInputError, match=rf"{50 * value} of 50 clips are below 14.0 dB"):
        Calibration.fit(random_features(50), np.full(50, value), bound_psnr_db=14.0)


@pytest.fixture
def trust(token_statistics: TokenStatistics) -> Trust:
    return Trust(token_statistics, TRUTH)


def assess(trust: Trust, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    features = random_features(count)
    del features["drift"]
    return trust.assess(structured_tokens(count, seed=4), **features)


def test_an_assessment_is_the_drift_and_the_risk_that_includes_it(trust: Trust) -> None:
    drift, probability = assess(trust)
    assert np.array_equal(drift, trust.statistics.drift(structured_tokens(6, seed=4)))
    assert np.array_equal(probability, TRUTH.error_probability(random_features(6) | {"drift": drift}))
    assert drift.dtype == probability.dtype == np.float32


def test_trust_survives_saving(trust: Trust) -> None:
    config = json.loads(json.dumps(trust.to_config()))
    loaded = Trust.from_parts(config, deserialise(serialise(trust.tensors())))
    for part, expected in zip(assess(loaded), assess(trust), strict=True):
        assert np.array_equal(part, expected)
    assert loaded.to_config() == trust.to_config()


def test_the_tensors_are_small() -> None:
    tokens = torch.randint(64_000, (80, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    statistics = TokenStatistics.from_tokens(tokens, (8, 8, 8, 5, 5, 5))
    assert len(serialise(Trust(statistics, TRUTH).tensors())) < 200_000


BREAKAGES: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], object]] = {
    "a key is missing": lambda config, _: config.pop("weights"),
    "a key is unknown": lambda config, _: config.update(more=1),
    "a weight is missing": lambda config, _: config["weights"].pop("drift"),
    "a weight is text": lambda config, _: config["weights"].update(drift="large"),
    "weights are a number": lambda config, _: config.update(weights=3),
    "the bound is not finite": lambda config, _: config.update(bound_psnr_db=math.nan),
    "the grid has three sides": lambda config, _: config.update(grid_size=[4, 4, 4]),
    "the grid is another": lambda config, _: config.update(grid_size=[4, 5]),
    "the grid is text": lambda config, _: config.update(grid_size="large"),
    "there are no levels": lambda config, _: config.update(fsq_levels=[]),
    "levels are a number": lambda config, _: config.update(fsq_levels=3),
    "a tensor is missing": lambda _, tensors: tensors.pop("mean"),
    "a tensor is unknown": lambda _, tensors: tensors.update(more=torch.zeros(1)),
    "a tensor is not finite": lambda _, tensors: tensors["variances"].fill_(math.nan),
    "a variance is zero": lambda _, tensors: tensors["variances"].fill_(0),
    "a deviation is negative": lambda _, tensors: tensors["worse"].fill_(-1),
    "a tensor has another type": lambda _, tensors: tensors.update(mean=tensors["mean"].double()),
    "a tensor has another shape": lambda _, tensors: tensors.update(components=tensors["components"][:, 1:]),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_bad_content_is_a_checkpoint_error(trust: Trust, breakage: str) -> None:
    config = json.loads(json.dumps(trust.to_config()))
    tensors = {name: tensor.clone() for name, tensor in trust.tensors().items()}
    BREAKAGES[breakage](config, tensors)
    with pytest.raises(CheckpointError):
        Trust.from_parts(config, tensors)


@pytest.mark.parametrize("config", [None, [], "trust"])
def test_content_that_is_not_a_mapping_is_a_checkpoint_error(trust: Trust, config: Any) -> None:
    with pytest.raises(CheckpointError, match="trust: expected"):
        Trust.from_parts(config, trust.tensors())
