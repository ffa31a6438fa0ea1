"""The recipe of a world model's training, and the presets of model and recipe."""

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero, Decay, NotNegative, Positive, Seed, Share
from hwm_env.model.config import MAX_FUTURE_CLIPS, MaskedHWMConfig
from hwm_env.model.presets import MODEL_PRESETS, ROOM_64
from hwm_env.training.runs.schedule import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Recipe):
    """The recipe of a world model's training run; the defaults are for the full size."""

    steps: Count = 60_000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 100
    """Steps of linear warm-up."""
    hold_share: Share = 0.0
    """Share of all steps (warm-up included) before the cosine decay."""
    final_share: Share = 0.0
    """Learning rate of the last step, as a share of the peak."""
    batch_size: Count = 128
    """Samples for each optimizer step, in all processes and micro-batches together."""
    micro_batch_size: Count = 1
    """Samples that a process computes at the same time; gradients are accumulated over the batch."""
    learning_rate: Positive = 3e-5
    """Peak learning rate of AdamW."""
    matrix_learning_rate: Positive | None = None
    """Peak learning rate of Muon, which trains the blocks' matrices; `None` if AdamW trains all weights."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of AdamW."""
    weight_decay: NotNegative = 0.01
    """Weight decay of both optimizers."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    ema_decay: Decay = 0.999
    """Decay of the averaged weights, which are validated and saved."""
    max_corruption: Share = 0.2
    """Tokens are replaced by random ones at a rate drawn from U(0, max_corruption)."""
    own_predictions: Share = 0.0
    """Share of the samples in which half of the past clips are replaced by the model's own predictions, as in a closed
    loop; it grows linearly from 0 at the first step to this value at the last (needs parallel targets)."""
    scene_corruption_share: Share = 0.4
    """With a scene: share of the samples whose past is corrupted at a rate drawn from U(0, 1), so that the model learns
    to rely on the scene if its past is bad."""
    pose_noise: tuple[NotNegative, NotNegative] = (0.015, 0.0044)
    """With a scene: standard deviations (m, rad) of the shift of a sample's poses, the same shift for all of them; they
    are those of the localiser's errors."""
    unknown_place_share: Share = 0.07
    """With a scene: share of the samples whose place is unknown, as after a reset in another room; the scene's inputs
    are then empty."""
    parallel_targets: bool = True
    """Each sample of T_p + 1 clips contains T_p targets, one for every length of history (needs a clip-causal model
    with positions by time on the grid); otherwise, only the clips after a full history are targets."""
    future_clips: Annotated[int, Ge(1), Le(MAX_FUTURE_CLIPS)] = 1
    """Clips that are predicted together (T_f), without parallel targets."""
    checkpoint_activations: bool = True
    """Keep only the inputs of the blocks and recompute each block for its gradients: less memory, a third more time."""
    report_every: Count = 1000
    """Steps between validations, each followed by a checkpoint."""
    validation_samples: Annotated[Count, Ge(2)] = 64
    """Samples of the validation split on which losses are measured, always the same."""
    preview_samples: Annotated[Count, Ge(2)] = 4
    """Number of these samples that are decoded for the PSNR and the sample videos."""
    seed: Seed = 0
    """Seed of initialisation, data order, masks and corruption."""

    def check_together(self) -> None:
        """Raises `InvalidInputError` for fields that contradict each other."""
        if self.batch_size % self.micro_batch_size:
            raise InvalidInputError(
                f"batch_size must be a multiple of micro_batch_size, got {self.batch_size} and {self.micro_batch_size}"
            )
        if self.own_predictions and not self.parallel_targets:
            raise InvalidInputError("own_predictions need parallel_targets; set own_predictions to 0")

    def check_model(self, model: MaskedHWMConfig) -> None:
        """Checks that a model can be trained with this recipe.

        Raises:
            InvalidInputError: fields of model and recipe exclude each other; the message names them and the remedy.
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
                f"future_clips must be at most the model's num_future_clips {model.num_future_clips}, got "
                f"{self.future_clips}"
            )

    def sample_clips(self, model: MaskedHWMConfig) -> tuple[int, int]:
        """Returns the numbers of past and future clips of a sample.

        A model that completes a clip (`past_latents`) needs only that clip.
        """
        if model.past_latents is not None:
            return 0, 1
        return model.num_past_clips, 1 if self.parallel_targets else self.future_clips

    def micro_batches(self, num_processes: int) -> int:
        """Returns the number of micro-batches of each process in a step.

        Raises:
            InvalidInputError: the batch size is not a multiple of the micro-batch size times the number of processes.
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
    """A model and the recipe that trains it."""

    model: MaskedHWMConfig
    training: TrainingConfig
    max_samples: Count | None = None
    """Maximum number of samples to train on; `None` for all."""


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
"""The recipe of `room-64`, for two CPU cores."""

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
"""A recipe that takes a minute, to try the training."""

_RECIPES = {"room-64": TWO_CORES, "tiny": TWO_CORES, "masked_hwm_paper": SINGLE_TARGET}
TRAINING_PRESETS: dict[str, TrainingPreset] = {
    "quick": TrainingPreset(model=ROOM_64, training=QUICK, max_samples=256),
    **{name: TrainingPreset(model=model, training=_RECIPES.get(name, FULL)) for name, model in MODEL_PRESETS.items()},
}
"""All presets by name."""
