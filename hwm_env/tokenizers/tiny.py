"""The built-in video tokenizer: small, causal in time, 8 x 8 x 8 compression."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import safetensors
import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from hwm_env.building import all_finite, built, misfits, shapes_of
from hwm_env.data.files import parse_json, shown, what_is_at, write_bytes
from hwm_env.errors import CheckpointError
from hwm_env.fields import CheckedFields, Depth, FSQLevels, Width, from_json
from hwm_env.parallel import side_by_side
from hwm_env.tokenizers.checks import check_clips, check_tokens
from hwm_env.tokenizers.coders import Decoder, Encoder
from hwm_env.tokenizers.fsq import FSQ
from hwm_env.tokenizers.pixels import normalised, to_pixels
from hwm_env.torch_state import loading, plain_torch
from hwm_env.types import SPATIAL_COMPRESSION

TOKENIZER_FILE = "tokenizer.safetensors"
CLIPS_AT_ONCE = 4
"""Number of clips that a processor decodes together; more exceed its cache and take longer each."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TinyTokenizerConfig(CheckedFields):
    """The size of a `TinyTokenizer`."""

    fsq_levels: FSQLevels = (8, 8, 8, 5, 5, 5)
    """Number of levels of each digit of a token; 64,000 codes, as in Cosmos."""
    coarse_width: Width = 176
    """Channels on the token grid, 3 time steps."""
    fine_width: Width = 96
    """Channels on the grid of 4 x 4 pixels, 3 time steps."""
    frame_width: Width = 48
    """Channels on the grid of 4 x 4 pixels, 17 time steps (decoder only)."""
    pixel_width: Width = 24
    """Channels at half of the image's resolution, 17 time steps (decoder only)."""
    encoder_blocks: tuple[Depth, Depth] = (1, 2)
    """Blocks of the encoder: fine grid, token grid."""
    decoder_blocks: tuple[Depth, Depth, Depth] = (3, 1, 1)
    """Blocks of the decoder: token grid, fine grid, single frames."""


class TinyTokenizer(nn.Module):
    """The built-in tokenizer: encodes clips of 17 frames to 3 latents of tokens; a `VideoTokenizer`.

    Attributes:
        config: its size.
        encoder_of: identity of the tokenizer from which encoder and codebook were taken, if only the decoder was
            trained further.
    """

    def __init__(self, config: TinyTokenizerConfig, encoder_of: str | None = None) -> None:
        """Builds the layers with weights from torch's global generator."""
        super().__init__()
        self.config = config
        self.encoder_of = encoder_of
        num_digits = len(config.fsq_levels)
        self.fsq = FSQ(config.fsq_levels)
        self.encoder = Encoder(
            num_digits=num_digits,
            coarse_width=config.coarse_width,
            fine_width=config.fine_width,
            num_blocks=config.encoder_blocks,
        )
        self.decoder = Decoder(
            num_digits=num_digits,
            coarse_width=config.coarse_width,
            fine_width=config.fine_width,
            frame_width=config.frame_width,
            pixel_width=config.pixel_width,
            num_blocks=config.decoder_blocks,
        )

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Number of levels of each digit of a token, the fastest-running digit first."""
        return self.config.fsq_levels

    @property
    def codebook_size(self) -> int:
        """Number of codes (V)."""
        return self.fsq.codebook_size

    @property
    def spatial_compression(self) -> int:
        """Pixels for each token in both directions."""
        return SPATIAL_COMPRESSION

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that depend on the configuration and on every weight."""
        digest = hashlib.sha256(_config_json(self.config).encode())
        for name, weight in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def token_identity(self) -> str:
        """Identity of the tokenizer that first wrote such tokens: this one, or the one with the same encoder."""
        return self.encoder_of or self.identity

    @plain_torch()
    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips uint8 [B, 17, H, W, 3] to tokens int32 [B, 3, H / 8, W / 8], on the device of the clips.

        Raises:
            InvalidInputError: wrong shape or dtype, or H or W is not a multiple of 8.
        """
        check_clips(clips, self.spatial_compression)
        _, digits = self.fsq.quantise(self.encoder(normalised(clips.to(self.fsq.levels.device))))
        return self.fsq.digits_to_codes(digits).int().to(clips.device)

    @plain_torch()
    def decode(self, tokens: Tensor) -> Tensor:
        """Decodes tokens int [B, 3, h, w] to clips uint8 [B, 17, 8 * h, 8 * w, 3], on the device of the tokens.

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        return self._decoded(tokens, self.decoder.frames_ending_alike)

    @plain_torch()
    def decode_last(self, tokens: Tensor) -> Tensor:
        """Decodes only the last frame: uint8 [B, 8 * h, 8 * w, 3], on the device of the tokens.

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        return self._decoded(tokens, self.decoder.last_frame)[:, 0]

    def _decoded(self, tokens: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        check_tokens(tokens, self.codebook_size)
        device = self.fsq.levels.device
        if device.type != "cpu":
            return self.drawn(tokens.to(device), draw).to(tokens.device)
        return torch.cat(side_by_side(partial(self.drawn, draw=draw), tokens.split(CLIPS_AT_ONCE)))

    def drawn(self, tokens: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Decodes valid tokens with one of the decoder's methods, such as `Decoder.last_frame`, all at once."""
        return to_pixels(draw(self.fsq.digits_to_values(self.fsq.codes_to_digits(tokens))))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructs images float [B, 17, H, W, 3] in [-1, 1], with a gradient through the rounding."""
        values, _ = self.fsq.quantise(self.encoder(images))
        reconstruction: Tensor = self.decoder(values)
        return reconstruction

    def save(self, path: Path) -> None:
        """Writes configuration and weights to one file, atomically.

        Args:
            path: a `.safetensors` file, or the directory for `tokenizer.safetensors`.

        Raises:
            SavingError: the file could not be written.
        """
        write_bytes(_file(path), self.to_bytes())

    @torch.no_grad()
    def to_bytes(self) -> bytes:
        """Returns the content of the file that `save` writes.

        The weights are rounded to float16, also in memory, so that they stay equal to those in the file.
        """
        weights = {name: weight.half().cpu().contiguous() for name, weight in self.state_dict().items()}
        self.load_state_dict(weights)
        origin = {} if self.encoder_of is None else {"encoder_of": self.encoder_of}
        return serialise(weights, metadata={"config": _config_json(self.config), **origin})

    @classmethod
    @loading()
    def load(cls, path: Path) -> Self:
        """Loads a tokenizer that `save` wrote, on the CPU and in evaluation mode.

        Args:
            path: the file, or the directory with `tokenizer.safetensors`.

        Raises:
            CheckpointError: the file is missing, truncated, or not of a `TinyTokenizer`.
        """
        file = _file(path)
        if not os.path.isfile(file):
            raise CheckpointError(
                f"expected a tokenizer at {shown(file)}, found {what_is_at(file)}; train one with: hwm-env "
                "train-tokenizer"
            )
        try:
            with safetensors.safe_open(file, framework="pt") as content:
                metadata = content.metadata() or {}
                config = from_json(TinyTokenizerConfig, parse_json(metadata["config"]))
                weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            broken = [name for name, weight in weights.items() if not all_finite(weight)]
            if broken:
                raise ValueError(f"NaN or infinity in {', '.join(broken[:5])}")
            # Wrong sizes are found before any memory is allocated for them.
            wrong = misfits(weights, shapes_of(TinyTokenizer, config))
            if wrong:
                raise ValueError(wrong)
            tokenizer = built(cls, config, metadata.get("encoder_of"))
            tokenizer.load_state_dict(weights)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{file} is not a whole TinyTokenizer: {_one_line(error)}; copy or train it again"
            ) from error
        return tokenizer.eval()


def _one_line(error: Exception) -> str:
    """Joins the lines of PyTorch's error, which has one for each tensor that does not fit."""
    return " ".join(str(error).split())[:500]


def _config_json(config: TinyTokenizerConfig) -> str:
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def _file(path: Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / TOKENIZER_FILE
