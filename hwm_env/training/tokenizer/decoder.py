"""Trains the decoder of a checkpoint further, on raw images; its tokens keep their meaning.

In closed loops, a decoder sees predicted tokens, which are never quite those that the encoder would have written. It
learns their errors from the tokens that the checkpoint's scene draws at recorded poses.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.windows import FrameWindows, evenly_spread
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.fields import Depth, Positive, Share
from hwm_env.scene.model import SceneModel
from hwm_env.scene.rendering import most_probable
from hwm_env.tokenizers.pixels import normalised, to_pixels
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.training.runs.run import Run
from hwm_env.training.tokenizer.clips import Keyframes, RawClips, load, on, read_clips
from hwm_env.training.tokenizer.fitting import ReconstructionRecipe, fit
from hwm_env.training.tokenizer.reconstruction import reconstruction_loss
from hwm_env.types import FRAMES_PER_CLIP

VALIDATED_AT_ONCE = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderTrainingConfig(ReconstructionRecipe):
    """The recipe of a decoder's training."""

    decoder_blocks: tuple[Depth, Depth, Depth] | None = None
    """Blocks of the decoder on the token grid, the fine grid and single frames, at least as many as it has; new blocks
    change nothing at first. By default as many as it has."""
    drawn_share: Share = 0.5
    """Share of the clips that are decoded from the tokens which the checkpoint's scene draws at their poses; the others
    from those of the encoder. Without a scene, all are."""
    matrix_learning_rate: Positive = 0.01
    """Peak learning rate of Muon, which trains the matrices."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW, which trains the rest."""


def train_decoder(
    checkpoint: Checkpoint,
    recordings: Dataset,
    validation: Dataset,
    out: Path,
    config: DecoderTrainingConfig,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """Trains the decoder of a checkpoint's tokenizer on all windows of 17 frames, at every offset.

    Args:
        checkpoint: the checkpoint; its tokenizer must be a `TinyTokenizer`.
        recordings: data set with raw images, and with poses if the checkpoint has a scene.
        validation: another one, on which the PSNR is measured.
        out: directory of the run.
        config: the recipe.
        resume: continue the run in `out`.
        device: device to train on; "auto" means a GPU if there is one.

    Returns:
        The checkpoint with the trained decoder; `provenance["decoder"]` contains recipe and measurements.

    Raises:
        InvalidInputError: `out` already contains a run or other files, the run was started with another configuration,
            the tokenizer is of another kind or has more blocks, or there is no such device.
        DatasetError: a data set has no raw images or no poses, or is of another robot.
        DivergedError: the loss or its gradient was NaN or infinite, as seen at a report; the last saved state is whole.
        SavingError: a file could not be written.
    """
    device = check_device(device)
    config = config.resolved(device)
    check_robot(checkpoint.robot, recordings, validation)
    tokenizer = grown(checkpoint.tokenizer, config.decoder_blocks, config.seed).to(device)
    scene = None if checkpoint.scene is None or config.drawn_share == 0 else checkpoint.scene.model.to(device)
    if scene is not None:
        for split in (recordings, validation):
            split.require(ShardFile.POSES)
    run = Run(out, resume=resume)
    windows, with_keyframes = FrameWindows(recordings, FRAMES_PER_CLIP), scene is not None
    held_out_windows = FrameWindows(validation, FRAMES_PER_CLIP)
    chosen = evenly_spread(len(held_out_windows), config.validation_clips)
    held_out = on(device, read_clips(held_out_windows, chosen, with_keyframes=with_keyframes))
    values = {"validation_psnr": _encoded(tokenizer, held_out.frames)}
    if scene is not None:
        assert held_out.keyframes is not None
        values["validation_psnr_drawn"] = _drawn(scene, tokenizer, held_out.keyframes)

    def scores() -> dict[str, float]:
        return {name: _psnr(tokenizer, of_source, held_out.frames) for name, of_source in values.items()}

    def rehearse() -> None:
        """Computes a step and a validation: the first takes seconds, in which a GPU prepares."""
        clips = read_clips(windows, np.zeros(config.batch_size, np.int64), with_keyframes=with_keyframes)
        _loss(tokenizer, scene, on(device, clips), config).backward()
        scores()

    before = scores()
    # Nothing else of the tokenizer may change.
    origin = {"initial": checkpoint.tokenizer.identity, "scene": None if scene is None else checkpoint.identity}
    fit(
        tokenizer.decoder,
        config,
        run,
        {**asdict(config), **origin},
        partial(load, recordings, windows, device=device, with_keyframes=with_keyframes),
        len(windows),
        lambda clips: _loss(tokenizer, scene, clips, config),
        scores,
        description="train-decoder",
        rehearse=None if device.type == "cpu" else rehearse,
    )
    if scene is not None:
        scene.cpu()
    tokenizer.encoder_of = checkpoint.tokenizer.token_identity
    provenance = {"recipe": asdict(config), **origin, "before": before, "after": scores()}
    whole = {**checkpoint.provenance, "decoder": provenance}
    return replace(checkpoint, tokenizer=tokenizer.cpu().eval(), provenance=whole)


def grown(tokenizer: object, decoder_blocks: tuple[int, int, int] | None, seed: int) -> TinyTokenizer:
    """Returns a copy of a tokenizer with more blocks in its decoder, which decodes the same images at first.

    Raises:
        InvalidInputError: it is not a `TinyTokenizer`, or it has more blocks already.
    """
    if not isinstance(tokenizer, TinyTokenizer):
        raise InvalidInputError(
            f"expected a checkpoint with a TinyTokenizer, whose decoder can be trained, got {type(tokenizer).__name__}"
        )
    has = tokenizer.config.decoder_blocks
    blocks = decoder_blocks or has
    if any(new < old for new, old in zip(blocks, has, strict=True)):
        raise InvalidInputError(f"decoder_blocks must be at least {has}, those of the checkpoint, got {blocks}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        larger = TinyTokenizer(replace(tokenizer.config, decoder_blocks=blocks))
    # New blocks come last in their stages; at initialisation, a block is the identity.
    larger.load_state_dict({**larger.state_dict(), **tokenizer.state_dict()})
    return larger


def _loss(tokenizer: TinyTokenizer, scene: SceneModel | None, clips: RawClips, config: DecoderTrainingConfig) -> Tensor:
    images = normalised(clips.frames)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        num_drawn = 0 if scene is None else round(config.drawn_share * len(images))
        parts = []
        if scene is not None and num_drawn:
            assert clips.keyframes is not None
            parts.append(_drawn(scene, tokenizer, Keyframes(*(part[:num_drawn] for part in clips.keyframes))))
        if num_drawn < len(images):
            parts.append(_encoded(tokenizer, clips.frames[num_drawn:]))
        reconstruction = tokenizer.decoder(torch.cat(parts)).float()
    return reconstruction_loss(
        reconstruction, images, squared_error_weight=config.squared_error_weight, edge_weight=config.edge_weight
    )


@torch.no_grad()
def _encoded(tokenizer: TinyTokenizer, frames: Tensor) -> Tensor:
    """Returns the values of the tokens that the encoder writes for frames uint8 [B, 17, H, W, 3]."""
    values, _ = tokenizer.fsq.quantise(tokenizer.encoder(normalised(frames)))
    return values


@torch.no_grad()
def _drawn(scene: SceneModel, tokenizer: TinyTokenizer, keyframes: Keyframes) -> Tensor:
    """Returns the values of the tokens that a scene predicts at some keyframes."""
    tokens = most_probable(scene, scene(keyframes.poses, keyframes.numbers).float())
    return tokenizer.fsq.digits_to_values(tokenizer.fsq.codes_to_digits(tokens))


@torch.no_grad()
def _psnr(tokenizer: TinyTokenizer, values: Tensor, frames: Tensor) -> float:
    """Returns the mean PSNR (dB) of frames uint8 [B, 17, H, W, 3] decoded from their tokens' values."""
    pairs = zip(values.split(VALIDATED_AT_ONCE), frames.split(VALIDATED_AT_ONCE), strict=True)
    return float(torch.cat([psnr_db(to_pixels(tokenizer.decoder(part)), truth) for part, truth in pairs]).mean())
