"""How a world model is trained: the recipe, and the presets of model and recipe that have a name."""

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero, Decay, NotNegative, Positive, Seed, Share
from hwm_env.model.config import MAX_FUTURE_CLIPS, MaskedHWMConfig
from hwm_env.model.presets import MODEL_PRESETS, ROOM_64
from hwm_env.training.schedule import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Recipe):
    """Recipe of a world-model training run; the defaults are those of the full size."""

    steps: Count = 60_000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 100
    """Steps of linear warm-up."""
    hold_share: Share = 0.0
    """Share of all steps (warm-up included) before the cosine decay."""
    final_share: Share = 0.0
    """Learning rate of the last step, as a share of the peak."""
    batch_size: Count = 128
    """Samples an optimizer step, over all processes and micro-batches together."""
    micro_batch_size: Count = 1
    """Samples that a process works on at once; gradients are summed up until the batch is whole."""
    learning_rate: Positive = 3e-5
    """Peak learning rate of AdamW."""
    matrix_learning_rate: Positive | None = None
    """Peak learning rate of Muon, which then trains the blocks' matrices in AdamW's place; None: AdamW trains all."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: NotNegative = 0.01
    """Weight decay of both optimizers."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    ema_decay: Decay = 0.999
    """Decay of the averaged weights, which are the ones that are judged and kept."""
    max_corruption: Share = 0.2
    """Tokens are replaced by random ones at a rate drawn from U(0, max_corruption)."""
    own_predictions: Share = 0.0
    """Share of the samples, growing from none at the first step to this at the last, in which half of the past's clips
    are the model's own predictions of them, as in a closed loop (needs parallel targets)."""
    scene_corruption_share: Share = 0.4
    """With a scene: share of the samples whose past is corrupted at a rate drawn from U(0, 1), so that the model learns
    to trust the scene where its past is bad."""
    pose_noise: tuple[NotNegative, NotNegative] = (0.015, 0.0044)
    """With a scene: standard deviations (m, rad) by which a sample's poses are shifted, all of them alike: what the
    localiser errs by."""
    unknown_place_share: Share = 0.07
    """With a scene: share of the samples whose place is not known, as after a reset in a foreign place: the scene tells
    nothing of their clips."""
    parallel_targets: bool = True
    """Each sample of T_p + 1 clips holds T_p targets, one for every length of history (needs a clip-causal model with
    positions by time on the grid); otherwise the clips after a full history are the only ones."""
    future_clips: Annotated[int, Ge(1), Le(MAX_FUTURE_CLIPS)] = 1
    """Clips that are predicted at once (T_f), without parallel targets."""
    checkpoint_activations: bool = True
    """Keep the inputs of the blocks only and run each block again for its gradients: less memory, a third more time."""
    report_every: Count = 1000
    """Steps between validations, each followed by a checkpoint."""
    validation_samples: Annotated[Count, Ge(2)] = 64
    """Samples of the validation split that the losses are measured on, always the same."""
    preview_samples: Annotated[Count, Ge(2)] = 4
    """How many of them are decoded for the PSNR and the sample videos."""
    seed: Seed = 0
    """Of initialisation, data order, masks and corruption."""

    def check_together(self) -> None:
        """Raises InvalidInputError naming the fields that do not fit each other."""
        if self.batch_size % self.micro_batch_size:
            raise InvalidInputError(
                f"batch_size must be a multiple of micro_batch_size, got {self.batch_size} and {self.micro_batch_size}"
            )
        if self.own_predictions and not self.parallel_targets:
            raise InvalidInputError("own_predictions need parallel_targets; set own_predictions to 0")

    def check_model(self, model: MaskedHWMConfig) -> None:
        """Checks that a model can be trained so.

        Raises:
            InvalidInputError: naming the fields that exclude each other, and what to do.
        """
        by_clip_time = (model.temporal_mask, model.temporal_positions, model.position_embedding)
        if self.parallel_targets and (
            by_clip_time != ("clip_causal", "time", "grid") or model.past_latents is not None
        ):
            raise InvalidInputError(
                "parallel_targets need temporal_mask 'clip_causal', temporal_positions 'time', position_embedding "
                f"'grid' and past_latents None, got {', '.join(map(repr, by_clip_time))} and {model.past_latents}; set "
                "parallel_targets to False"
            )
        if not self.parallel_targets and self.future_clips > model.num_future_clips:
            raise InvalidInputError(
                f"future_clips {self.future_clips} are more than the model's num_future_clips {model.num_future_clips}"
            )

    def sample_clips(self, model: MaskedHWMConfig) -> tuple[int, int]:
        """Past and future clips of a sample; a model that completes a clip (`past_latents`) needs that clip alone."""
        if model.past_latents is not None:
            return 0, 1
        return model.num_past_clips, 1 if self.parallel_targets else self.future_clips

    def micro_batches(self, num_processes: int) -> int:
        """Micro-batches that each process works through in a step.

        Raises:
            InvalidInputError: the batch cannot be divided so.
        """
        at_once = self.micro_batch_size * num_processes
        if self.batch_size % at_once:
            raise InvalidInputError(
                f"batch_size must be a multiple of micro_batch_size * processes ({self.micro_batch_size} * "
                f"{num_processes}), got {self.batch_size}"
            )
        return self.batch_size // at_once


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPreset(CheckedFields):
    """A model and how it is trained."""

    model: MaskedHWMConfig
    training: TrainingConfig
    max_samples: Count | None = None
    """Train on as many samples of the data at most."""


FULL = TrainingConfig()
"""The recipe of the full size."""

SINGLE_TARGET = replace(FULL, parallel_targets=False)

TWO_CORES = replace(
    FULL,
    steps=2800,
    warmup_steps=50,
    hold_share=0.3,
    final_share=0.03,
    batch_size=6,
    micro_batch_size=3,
    learning_rate=1.4e-3,
    matrix_learning_rate=0.014,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    ema_decay=0.998,
    own_predictions=0.5,
    checkpoint_activations=False,
    report_every=200,
)
"""The recipe of the model that ships, for two CPU cores."""

QUICK = replace(
    TWO_CORES,
    steps=50,
    warmup_steps=5,
    batch_size=4,
    micro_batch_size=2,
    learning_rate=1.5e-3,
    matrix_learning_rate=0.01,
    own_predictions=0.0,
    report_every=25,
    validation_samples=16,
)
"""A try-out of a minute."""

_RECIPES = {"room-64": TWO_CORES, "tiny": TWO_CORES, "masked_hwm_paper": SINGLE_TARGET}
TRAINING_PRESETS: dict[str, TrainingPreset] = {
    "quick": TrainingPreset(model=ROOM_64, training=QUICK, max_samples=256),
    **{name: TrainingPreset(model=model, training=_RECIPES.get(name, FULL)) for name, model in MODEL_PRESETS.items()},
}
"""All of them, by the name that users type."""
