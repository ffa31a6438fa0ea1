"""The recipes: errors for invalid ones, and complete presets."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from docs.studies import ablation, room
from hwm_env.errors import InvalidInputError
from hwm_env.model.presets import MODEL_PRESETS
from hwm_env.training.readout.train import ReadoutTrainingConfig
from hwm_env.training.tokenizer.train import TokenizerTrainingConfig
from hwm_env.training.world_model.recipe import FULL, TRAINING_PRESETS, TrainingConfig


def test_the_default_is_the_recipe_of_the_full_size() -> None:
    """The numbers of the published training: AdamW, 3e-5, cosine after 100 steps, 128 samples, 60,000 steps."""
    assert (FULL.steps, FULL.warmup_steps, FULL.batch_size, FULL.learning_rate) == (60_000, 100, 128, 3e-5)
    assert FULL.matrix_learning_rate is None
    assert FULL.share_at(99) == 1.0
    assert FULL.share_at(100) == pytest.approx(1.0, abs=1e-6)
    assert FULL.share_at(30_049) == pytest.approx(0.5, abs=1e-3)
    assert FULL.share_at(59_999) == pytest.approx(0.0, abs=1e-12)


def test_every_model_has_a_recipe_that_fits_it() -> None:
    assert set(TRAINING_PRESETS) == {*MODEL_PRESETS, "quick"}
    for preset in TRAINING_PRESETS.values():
        preset.training.check_model(preset.model)
        preset.training.micro_batches(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 5, "micro_batch_size": 2}, "batch_size must be a multiple of micro_batch_size, got 5 and 2"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number, got nan"),
        ({"matrix_learning_rate": 0.0}, "matrix_learning_rate must be"),
        ({"max_corruption": 1.5}, "max_corruption must be at most 1, got 1.5"),
        ({"scene_corruption_share": -0.1}, "scene_corruption_share must be at least 0, got -0.1"),
        ({"pose_noise": (0.1, -0.1)}, r"pose_noise\[1\] must be at least 0, got -0.1"),
        ({"pose_noise": (0.1,)}, r"pose_noise\[1\] must be given"),
        ({"future_clips": 9}, "future_clips must be at most 8, got 9"),
        ({"precision": "float16"}, "precision must be one of 'auto', 'float32' or 'bfloat16', got 'float16'"),
        ({"preview_samples": 1}, "preview_samples must be at least 2"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_numbers_name_the_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        replace(FULL, **changes)  # type: ignore[arg-type]


def test_every_recipe_leaves_the_number_type_to_the_hardware() -> None:
    recipes = [preset.training for preset in TRAINING_PRESETS.values()]
    recipes += [TokenizerTrainingConfig(), ReadoutTrainingConfig(), ablation.RECIPE]  # type: ignore[list-item]
    assert {recipe.precision for recipe in recipes} == {"auto"}
    assert room.RoomConfig(directory=Path("work"), destination=Path("made")).precision == "auto"


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_resolved_and_logged_once(
    fast_bfloat16: Callable[[bool], None], caplog: pytest.LogCaptureFixture, is_fast: bool, expected: str
) -> None:
    fast_bfloat16(is_fast)
    with caplog.at_level(logging.INFO):
        resolved = FULL.resolved("cpu")
        assert resolved == replace(FULL, precision=expected)  # type: ignore[arg-type]
        assert resolved.resolved("cpu") == resolved
        FULL.resolved("cpu", log=False)
    does = "has" if is_fast else "does not have"
    assert caplog.messages == [f"precision: {expected}, since the device (cpu) {does} bfloat16 in hardware"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_named_precision_is_taken(fast_bfloat16: Callable[[bool], None], precision: str) -> None:
    fast_bfloat16(precision == "float32")
    assert replace(FULL, precision=precision).resolved("cpu").precision == precision  # type: ignore[arg-type]


def test_models_that_cannot_have_parallel_targets_are_refused() -> None:
    model = MODEL_PRESETS["room-64"]
    for changes in ({"temporal_mask": "bidirectional"}, {"temporal_positions": "concat"}):
        with pytest.raises(InvalidInputError, match="set parallel_targets to False"):
            FULL.check_model(replace(model, **changes))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"past_latents None, got .* and 2"):
        FULL.check_model(MODEL_PRESETS["masked_hwm_paper"])
    single = TrainingConfig(parallel_targets=False, future_clips=4)
    with pytest.raises(InvalidInputError, match="future_clips must be at most the model's num_future_clips 2, got 4"):
        single.check_model(replace(model, num_future_clips=2))


def test_a_sample_is_as_long_as_the_model_needs() -> None:
    assert FULL.sample_clips(MODEL_PRESETS["room-64"]) == (9, 1)
    assert TrainingConfig(parallel_targets=False, future_clips=4).sample_clips(MODEL_PRESETS["room-64"]) == (9, 4)
    assert TRAINING_PRESETS["masked_hwm_paper"].training.sample_clips(MODEL_PRESETS["masked_hwm_paper"]) == (0, 1)


def test_a_batch_is_divided_among_processes() -> None:
    recipe = TrainingConfig(batch_size=16, micro_batch_size=2)
    assert [recipe.micro_batches(processes) for processes in (1, 2, 4, 8)] == [8, 4, 2, 1]
    with pytest.raises(InvalidInputError, match=r"processes \(2 \* 3\), got 16"):
        recipe.micro_batches(3)
