"""The parts of an env step as functions of one row, with fixed shapes and named inputs and outputs, to be exported.

Each row is computed alone, so its results do not depend on the other rows of a batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.cache import NextClip
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import decode_clip
from hwm_env.decoding.prior import Prior
from hwm_env.model.attention import KeyValues
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.scene import Scene
from hwm_env.tokenizers.pixels import to_pixels
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP, POSE_DIM


class RowFunction(nn.Module, ABC):
    """A function of one row: the first axis of every input and output has size 1.

    Args:
        outputs: name of each output.
    """

    def __init__(self, *outputs: str) -> None:
        super().__init__()
        self.outputs = outputs

    @abstractmethod
    def examples(self) -> dict[str, Tensor]:
        """Returns name and example of each input, in the order in which `forward` takes them."""

    @torch.no_grad()
    def exported(self) -> torch.export.ExportedProgram:
        """Returns the traced function."""
        return torch.export.export(self.eval(), tuple(self.examples().values()), strict=False)


class SceneFunction(RowFunction):
    """Moves the carried pose by a chunk, and predicts what the scene knows about the clip.

    Args:
        scene: the scene.
        reads_scene: whether the model reads scene inputs.
    """

    def __init__(self, scene: Scene, *, reads_scene: bool) -> None:
        self.mixes = scene.ever_mixes
        prior = ("prior_logits", "own_weight") if self.mixes else ()
        inputs = ("scene_inputs",) if reads_scene else ()
        super().__init__("path", "pose_after", "covariance_after", *prior, *inputs)
        self.scene = scene
        self.reads_scene = reads_scene

    def examples(self) -> dict[str, Tensor]:
        """Returns name and example of each input."""
        return {
            "pose": torch.zeros(1, POSE_DIM),
            "covariance": torch.zeros(1, POSE_DIM, POSE_DIM),
            "chunk": torch.zeros(1, FRAMES_PER_CLIP, ACTION_DIM),
            "history_weight": torch.ones(1),
        }

    def forward(self, pose: Tensor, covariance: Tensor, chunk: Tensor, history_weight: Tensor) -> tuple[Tensor, ...]:
        """Returns the path [1, 17, 3], the belief after it, and the outputs that are configured."""
        belief = PoseBelief(pose, covariance)
        path = self.scene.path(belief, chunk)
        prior = tuple(self.scene.weighted_prior(path, chunk, history_weight)) if self.mixes else ()
        inputs = (self.scene.inputs(path, chunk),) if self.reads_scene else ()
        return path, *self.scene.carried(belief, path), *prior, *inputs


class Encoding:
    """How functions pass the keys and values of clips: with the rows in front, and without empty parts."""

    def __init__(self, model: MaskedHWM) -> None:
        self.fields = KeyValues._fields if model.config.spatial_lookback else KeyValues._fields[:4]
        self.names = [f"{name}_{clip}" for clip in range(model.config.num_past_clips - 1) for name in self.fields]
        """Names of the encodings of a full history's clips, except the newest, oldest first."""

    def by_row(self, *clips: KeyValues) -> list[Tensor]:
        """Returns the keys and values of clips with the rows, not the layers, in front."""
        return [getattr(clip, name).transpose(0, 1) for clip in clips for name in self.fields]

    def of_rows(self, parts: Sequence[Tensor]) -> tuple[KeyValues, ...]:
        """Restores what `by_row` returned."""
        clips = []
        for first in range(0, len(parts), len(self.fields)):
            fields = [part.transpose(0, 1) for part in parts[first : first + len(self.fields)]]
            no_grid = [fields[1][:, :, :0]] * (len(KeyValues._fields) - len(fields))
            clips.append(KeyValues(*fields, *no_grid))
        return tuple(clips)


class HistoryFunction(RowFunction):
    """Encodes a full history except its newest clip.

    Args:
        model: the world model.
    """

    def __init__(self, model: MaskedHWM) -> None:
        self.encoding = Encoding(model)
        super().__init__(*self.encoding.names)
        self.model = model

    def examples(self) -> dict[str, Tensor]:
        """Returns name and example of each input."""
        config = self.model.config
        num_clips = config.num_past_clips - 1
        inputs = {
            "tokens": torch.zeros(1, num_clips, LATENTS_PER_CLIP, *config.grid_size, dtype=torch.int32),
            "chunks": torch.zeros(1, num_clips, FRAMES_PER_CLIP, ACTION_DIM),
        }
        if config.scene_width:
            inputs["scene_inputs"] = torch.zeros(1, num_clips, config.num_positions, config.scene_width)
        return inputs

    def forward(self, tokens: Tensor, chunks: Tensor, scene_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        """Returns the clips' keys and values."""
        encoded = self.model.encode_history(tokens, chunks.flatten(1, 2), scene_p=scene_inputs, num_newer=1)
        return tuple(self.encoding.by_row(*encoded.clips))


class ClipFunction(RowFunction):
    """Predicts the next clip's tokens from a full history, and encodes the newest known clip.

    Args:
        model: the world model.
        decoding: settings of decoding.
        num_codes: tokens from this index on are never drawn.
        mixes: whether logits of a scene are mixed into the model's.
    """

    def __init__(self, model: MaskedHWM, decoding: DecodingConfig, num_codes: int, *, mixes: bool) -> None:
        self.encoding = Encoding(model)
        super().__init__("tokens", "log_prob", "entropy", *self.encoding.fields)
        self.model = model
        self.decoding = decoding
        self.num_codes = num_codes
        self.mixes = mixes

    def examples(self) -> dict[str, Tensor]:
        """Returns name and example of each input."""
        config = self.model.config
        num_positions = config.num_positions
        history = HistoryFunction(self.model)
        inputs = dict(zip(self.encoding.names, history(*history.examples().values()), strict=True))
        inputs["next_time"] = torch.tensor([config.num_past_clips - 1])
        inputs["newest_tokens"] = torch.zeros(1, LATENTS_PER_CLIP, *config.grid_size, dtype=torch.int32)
        inputs["chunks"] = torch.zeros(1, 2, FRAMES_PER_CLIP, ACTION_DIM)
        if self.mixes:
            inputs["prior_logits"] = torch.zeros(1, LATENTS_PER_CLIP, num_positions, sum(config.head_levels))
            inputs["own_weight"] = torch.ones(1)
        if config.scene_width:
            inputs["scene_inputs"] = torch.zeros(1, 2, num_positions, config.scene_width)
        noise_shape = self.decoding.noise_shape(config)
        if noise_shape is not None:
            inputs["uniforms"] = torch.zeros(1, *noise_shape)
        return inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns tokens, log-probabilities and entropies [1, 3, H, W], and the newest clip's keys and values."""
        config, num_encodings = self.model.config, len(self.encoding.names)
        clips = self.encoding.of_rows(inputs[:num_encodings])
        next_time, newest, chunks, *rest = inputs[num_encodings:]
        prior = Prior(rest.pop(0), rest.pop(0)) if self.mixes else None
        scene_BTSC = rest.pop(0) if config.scene_width else None
        predictor = NextClip(self.model, EncodedHistory(clips, next_time), newest, chunks, scene_BTSC)
        decoded = decode_clip(
            predictor,
            self.model.head,
            (1, LATENTS_PER_CLIP, *config.grid_size),
            self.decoding,
            rest.pop(0) if rest else None,
            newest.device,
            num_codes=self.num_codes,
            prior=prior,
        )
        return *decoded, *self.encoding.by_row(predictor.history.clips[-1])


class FramesFunction(RowFunction):
    """Decodes the values of a clip's digits to frames.

    It takes values, not tokens, because a runtime in bfloat16 rounds large whole numbers.

    Args:
        tokenizer: the tokenizer.
        grid_size: rows and columns of the token grid.
        last: whether to decode only the last frame.
    """

    def __init__(self, tokenizer: TinyTokenizer, grid_size: tuple[int, int], *, last: bool) -> None:
        super().__init__("frames")
        self.grid_size = grid_size
        self.num_digits = len(tokenizer.fsq_levels)
        self.decoder = tokenizer.decoder
        self.last = last

    def examples(self) -> dict[str, Tensor]:
        """Returns name and example of the input."""
        return {"values": torch.zeros(1, LATENTS_PER_CLIP, *self.grid_size, self.num_digits)}

    def forward(self, values: Tensor) -> tuple[Tensor]:
        """Returns uint8 [1, 17 or 1, height, width, 3]."""
        draw = self.decoder.last_frame if self.last else self.decoder.frames_ending_alike
        return (to_pixels(draw(values)),)


def row_functions(checkpoint: Checkpoint, decoding: DecodingConfig) -> dict[str, RowFunction]:
    """Returns all functions of a checkpoint by name.

    Args:
        checkpoint: a checkpoint with a built-in tokenizer.
        decoding: settings of decoding.
    """
    model, scene, tokenizer = checkpoint.model, checkpoint.scene, checkpoint.tokenizer
    assert isinstance(tokenizer, TinyTokenizer), f"{type(tokenizer).__name__} cannot be exported"
    mixes = scene is not None and scene.ever_mixes
    functions: dict[str, RowFunction] = {
        "history": HistoryFunction(model),
        "clip": ClipFunction(model, decoding, tokenizer.codebook_size, mixes=mixes),
        "frames": FramesFunction(tokenizer, model.config.grid_size, last=False),
        "last_frame": FramesFunction(tokenizer, model.config.grid_size, last=True),
    }
    if scene is not None:
        functions["scene"] = SceneFunction(scene, reads_scene=model.config.scene_width > 0)
    return functions


def key_of(name: str, checkpoint: Checkpoint, decoding: DecodingConfig) -> str:
    """Returns what decides the results of one of these functions, besides the code."""
    weights = checkpoint.tokenizer.identity if name in ("frames", "last_frame") else checkpoint.identity
    return f"{weights} {checkpoint.model.config} {asdict(decoding) if name == 'clip' else ''}"
