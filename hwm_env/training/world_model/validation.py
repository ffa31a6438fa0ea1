"""Validates a model in training: losses, the gap to shuffled actions, and decoded next clips."""

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor

from hwm_env.data.samples import ClipSamples
from hwm_env.data.windows import evenly_spread
from hwm_env.decoding.cache import next_clip
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import decode_clip
from hwm_env.draws import seeds_of
from hwm_env.errors import DatasetError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.scene import Scene
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.training.world_model.objective import (
    MaskedModelling,
    SampleBatch,
    Targets,
    arrange,
    draw_targets,
    hide_all,
)
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.training.world_model.scene_inputs import scene_inputs
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP

DECODING_STEPS = 4

Measured = tuple[Tensor, Tensor, Tensor]
"""Sums over hidden tokens of their losses and of the correct ones, and their number, each float64 [L]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Losses on the validation split, in nats for each token, as means over latents."""

    masked_loss: float
    """Loss of the training objective; the hidden tokens are always the same."""
    next_clip_loss: float
    """Loss of the next clip with all of its tokens hidden."""
    next_clip_loss_shuffled_actions: float
    """The same with another sample's actions for that clip; if it is not larger, the model ignores actions."""
    next_clip_accuracy: float
    """Share of the next clip's tokens of which every digit is predicted correctly in one pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """Decoded next clips of a few samples; PSNR in dB compared with the decoded true clips."""

    psnr_true_actions: float
    psnr_shuffled_actions: float
    psnr_repeat_last_frame: float
    videos: Tensor
    """uint8 [N, 17, H, 2 * W, 3]: truth beside prediction."""

    def numbers(self) -> dict[str, float]:
        """Returns the PSNRs by name."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, float)}


class Validation:
    """Measures a model on samples of a validation split, always the same."""

    def __init__(
        self,
        samples: ClipSamples,
        config: TrainingConfig,
        tokenizer: VideoTokenizer,
        device: torch.device,
        scene: Scene | None = None,
    ) -> None:
        """Reads the samples, evenly spread over the split.

        Args:
            samples: samples of the split; with poses, if there is a scene.
            config: the recipe.
            tokenizer: tokenizer of the split.
            device: device to compute on.
            scene: scene whose inputs the model reads; `None` if it reads none.

        Raises:
            DatasetError: there are fewer than two samples, or they cannot be read.
        """
        if len(samples) < 2:
            raise DatasetError(
                f"the validation split has {len(samples)} sample; expected at least 2, so that actions can be shuffled"
            )
        self._config = config
        self._tokenizer = tokenizer
        self._device = device
        self._scene = scene
        chosen = evenly_spread(len(samples), config.validation_samples)
        batch = {name: torch.from_numpy(part) for name, part in samples.gather(chosen).items()}
        self._batch = cast(SampleBatch, batch)
        self._seeds = seeds_of(config.seed, 0, range(len(chosen)))

    @torch.no_grad()
    def losses(self, model: MaskedHWM) -> Losses:
        """Measures the losses."""
        parallel = self._config.parallel_targets
        codes, count = model.config.codebook_size, len(self._batch["video_past"])
        spoilt_share = 0.0 if self._scene is None else self._config.scene_corruption_share
        masked: list[Measured] = []
        true: list[Measured] = []
        shuffled: list[Measured] = []
        for rows in torch.arange(count).split(self._config.micro_batch_size):
            batch, own = self._rows(rows, rows), self._seeds[rows].to(self._device)
            targets = arrange(model, batch, parallel_targets=parallel, scene_BTSC=self._scene_inputs(batch, rows))
            drawn = draw_targets(targets, own, codes, self._config.max_corruption, spoilt_share=spoilt_share)
            masked.append(_measure(model, drawn, parallel))
            for results, actions in ((true, rows), (shuffled, (rows + 1) % count)):
                batch = self._rows(rows, actions, next_only=True)
                scene_BTSC = self._scene_inputs(batch, rows)
                next_clip = arrange(model, batch, parallel_targets=False, scene_BTSC=scene_BTSC)
                results.append(_measure(model, hide_all(next_clip, codes), False))
        (masked_loss, _), (next_loss, accuracy), (shuffled_loss, _) = map(_means, (masked, true, shuffled))
        return Losses(
            masked_loss=masked_loss,
            next_clip_loss=next_loss,
            next_clip_loss_shuffled_actions=shuffled_loss,
            next_clip_accuracy=accuracy,
        )

    @torch.no_grad()
    def preview(self, model: MaskedHWM) -> Preview | None:
        """Decodes the next clip of a few samples greedily; `None` for a model that only completes a clip."""
        if model.config.past_latents is not None:
            return None
        count = min(self._config.preview_samples, len(self._batch["video_past"]))
        rows = torch.arange(count)
        batch = self._rows(rows, rows, next_only=True)
        truth = self._tokenizer.decode(batch["video_future"][:, 0]).cpu()
        last_frame = self._tokenizer.decode(batch["video_past"][:, -1])[:, -1:].cpu()
        predicted, shuffled = (
            self._tokenizer.decode(self._next_clip(model, batch, actions)).cpu()
            for actions in (batch["actions_future"], batch["actions_future"].roll(1, dims=0))
        )
        return Preview(
            psnr_true_actions=psnr_db(predicted, truth).mean().item(),
            psnr_shuffled_actions=psnr_db(shuffled, truth).mean().item(),
            psnr_repeat_last_frame=psnr_db(last_frame, truth).mean().item(),
            videos=torch.cat([truth, predicted], dim=3),
        )

    def _next_clip(self, model: MaskedHWM, batch: SampleBatch, actions: Tensor) -> Tensor:
        past_actions = batch["actions_past"].unflatten(1, (-1, FRAMES_PER_CLIP))
        scene_BTSC = self._scene_inputs(self._with_actions(batch, actions), torch.arange(len(actions)))
        shape = (len(actions), LATENTS_PER_CLIP, *model.config.grid_size)
        decoding = DecodingConfig(steps=min(DECODING_STEPS, shape[1] * shape[2] * shape[3]), temperature=0.0)
        predict = next_clip(
            *(model, batch["video_past"], past_actions, actions),
            scene_p=None if scene_BTSC is None else scene_BTSC[:, :-1],
            scene_BSC=None if scene_BTSC is None else scene_BTSC[:, -1],
        )
        codes = self._tokenizer.codebook_size
        return decode_clip(predict, model.head, shape, decoding, None, self._device, num_codes=codes).tokens

    def _rows(self, rows: Tensor, action_rows: Tensor, *, next_only: bool = False) -> SampleBatch:
        """Returns some samples on the device, with the future actions of `action_rows`."""
        clips = 1 if next_only else self._batch["video_future"].shape[1]
        batch = SampleBatch(
            video_past=self._batch["video_past"][rows].to(self._device),
            video_future=self._batch["video_future"][rows, :clips].to(self._device),
            actions_past=self._batch["actions_past"][rows].to(self._device),
            actions_future=self._batch["actions_future"][action_rows, : clips * FRAMES_PER_CLIP].to(self._device),
        )
        if self._scene is not None:
            batch["poses_past"] = self._batch["poses_past"][rows].to(self._device)
            batch["poses_future"] = self._batch["poses_future"][rows].to(self._device)
        return self._with_actions(batch, batch["actions_future"]) if next_only else batch

    def _with_actions(self, batch: SampleBatch, actions: Tensor) -> SampleBatch:
        """Returns samples with these actions for their only future clip, and the poses that result from them."""
        changed = batch.copy()
        changed["actions_future"] = actions
        if self._scene is not None:
            changed["poses_future"] = self._scene.path(PoseBelief.certain(batch["poses_past"][:, -1]), actions)
        return changed

    def _scene_inputs(self, batch: SampleBatch, rows: Tensor) -> Tensor | None:
        """Returns the scene's inputs for all clips of these samples, [B, T, S, C]; `None` without a scene."""
        if self._scene is None:
            return None
        return scene_inputs(self._scene, batch, self._seeds[rows].to(self._device), self._config.pose_noise)


def _measure(model: MaskedHWM, targets: Targets, parallel_targets: bool) -> Measured:
    sums = MaskedModelling(model, parallel_targets=parallel_targets)(targets)
    return sums.loss.double(), sums.right.double(), targets.counts


def _means(parts: list[Measured]) -> tuple[float, float]:
    """Returns the loss, averaged over tokens and then over latents, and the accuracy over all tokens."""
    loss, right, count = (torch.stack(column).sum(0) for column in zip(*parts, strict=True))
    return (loss / count.clamp(min=1)).mean().item(), (right.sum() / count.sum()).item()
