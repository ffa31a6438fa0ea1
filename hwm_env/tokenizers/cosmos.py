"""NVIDIA's Cosmos DV8x8x8 video tokenizer (arXiv 2501.03575), the tokenizer of the 1X data set."""

import hashlib
import importlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.data.files import shown
from hwm_env.devices import check_device
from hwm_env.errors import CheckpointError, HWMError, InvalidInputError, MissingExtraError, described
from hwm_env.tokenizers.base import INTEGERS
from hwm_env.tokenizers.checks import check_clips, check_tokens
from hwm_env.tokenizers.pixels import normalised, to_pixels
from hwm_env.torch_state import loading, plain_torch
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP, SPATIAL_COMPRESSION

ENCODER_FILE = "encoder.jit"
DECODER_FILE = "decoder.jit"
FSQ_LEVELS = (8, 8, 8, 5, 5, 5)
SLICE_BYTES = 2 * 1024**3
"""Approximate memory for the features of the clips that are computed together."""
NUMBERS_PER_PIXEL = 64
"""Features in memory: 128 channels on a grid of 4 x 4 pixels, and their unfolded copies for convolutions."""


class Networks(Protocol):
    """The encoder and the decoder: those methods of NVIDIA's `CausalVideoTokenizer` that are used here."""

    def encode(self, images: Tensor, /) -> tuple[Tensor, ...]:
        """Encodes images [B, 3, 17, H, W] in [-1, 1] to indices [B, 3, H / 8, W / 8]; further outputs are ignored."""
        ...

    def decode(self, indices: Tensor, /) -> Tensor:
        """Decodes indices [B, 3, h, w] to images [B, 3, 17, 8 * h, 8 * w], roughly in [-1, 1]."""
        ...

    def to(self, device: torch.device, /) -> Self:
        """Moves the weights."""
        ...


class CosmosTokenizer:
    """The Cosmos tokenizer: encodes clips of 17 frames to 3 latents of tokens; a `VideoTokenizer`.

    A batch is computed in slices, so that memory does not grow with the batch. Results do not depend on the slices,
    except for the rounding of PyTorch's kernels, which differs between batch sizes.
    """

    def __init__(
        self,
        networks: Networks,
        identity: str,
        *,
        device: torch.device,
        dtype: torch.dtype,
        directory: Path | None = None,
    ) -> None:
        """Wraps networks from `directory`, which are on `device` and compute with `dtype`; see `load`."""
        self._networks = networks
        self._directory = directory or Path()
        self._identity = identity
        self._device = device
        self._dtype = dtype

    @classmethod
    @loading()
    def load(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        backend: Literal["jit", "package"] = "jit",
    ) -> Self:
        """Loads NVIDIA's `encoder.jit` and `decoder.jit`.

        They are TorchScript and contain code, so load only files from NVIDIA.

        Args:
            directory: the directory with both files.
            device: device to compute on.
            dtype: torch.float32 or torch.bfloat16; `None` means float32 on the CPU, bfloat16 on other devices.
            backend: "jit" needs only PyTorch, "package" needs NVIDIA's package `cosmos_tokenizer`; results are equal.

        Raises:
            CheckpointError: a file is missing or damaged.
            InvalidInputError: `dtype` or `backend` is invalid, or there is no such device.
            MissingExtraError: `backend` is "package", which is not installed.
        """
        device = check_device(device)
        if dtype is None:
            dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        if dtype not in (torch.float32, torch.bfloat16):
            raise InvalidInputError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
        if backend not in ("jit", "package"):
            raise InvalidInputError(f"backend must be 'jit' or 'package', got {backend!r}")
        files = tuple(Path(directory) / name for name in (ENCODER_FILE, DECODER_FILE))
        missing = [file.name for file in files if not os.path.isfile(file)]
        if missing:
            raise CheckpointError(
                f"{shown(Path(directory))} has no {' and no '.join(missing)}; expected {ENCODER_FILE} and "
                f"{DECODER_FILE} of NVIDIA's Cosmos-Tokenizer-DV8x8x8"
            )
        load = _load_scripts if backend == "jit" else _load_package
        try:
            networks = load(files, device, dtype)
        except HWMError:
            raise
        except Exception as error:  # The files are code, and damaged ones can raise anything.
            raise CheckpointError(
                f"{directory}: {ENCODER_FILE} or {DECODER_FILE} is not whole TorchScript ({described(error)}); copy "
                "both again"
            ) from error
        return cls(networks, _identity(files), device=device, dtype=dtype, directory=Path(directory))

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Number of levels of each digit of a token, the fastest-running digit first."""
        return FSQ_LEVELS

    @property
    def codebook_size(self) -> int:
        """Number of codes (V), 64,000."""
        return math.prod(FSQ_LEVELS)

    @property
    def spatial_compression(self) -> int:
        """Pixels for each token in both directions."""
        return SPATIAL_COMPRESSION

    @property
    def identity(self) -> str:
        """The name and 16 hexadecimal digits that depend on every byte of both files."""
        return self._identity

    @property
    def token_identity(self) -> str:
        """The same: its tokens can only be decoded by the same files."""
        return self._identity

    def to(self, device: str | torch.device, /) -> Self:
        """Moves the weights to a device in place; their type stays the same."""
        self._device = torch.device(device)
        self._networks = self._networks.to(self._device)
        return self

    @plain_torch()
    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips uint8 [B, 17, H, W, 3] to tokens int32 [B, 3, H / 8, W / 8], on the device of the clips.

        Raises:
            InvalidInputError: wrong shape or dtype, or H or W is not a multiple of 8.
            CheckpointError: the encoder belongs to another tokenizer, by the form of its output.
        """
        check_clips(clips, self.spatial_compression)
        height, width = clips.shape[2:4]
        tokens = []
        for part in clips.split(clips_at_a_time(height, width, self._dtype)):
            images = normalised(rearrange(part.to(self._device), "b f h w c -> b c f h w"))
            with self._naming(ENCODER_FILE):
                indices = self._networks.encode(images.to(self._dtype))[0]
            self._check_indices(indices, (len(part), LATENTS_PER_CLIP, height // 8, width // 8))
            tokens.append(indices.int().to(clips.device))
        return torch.cat(tokens)

    @plain_torch()
    def decode(self, tokens: Tensor) -> Tensor:
        """Decodes tokens int [B, 3, h, w] to clips uint8 [B, 17, 8 * h, 8 * w, 3], on the device of the tokens.

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        check_tokens(tokens, self.codebook_size)
        height, width = (side * self.spatial_compression for side in tokens.shape[2:])
        clips = []
        for part in tokens.split(clips_at_a_time(height, width, self._dtype)):
            with self._naming(DECODER_FILE):
                decoded = self._networks.decode(part.int().to(self._device))
            self._check_images(decoded, (len(part), 3, FRAMES_PER_CLIP, height, width))
            images = rearrange(decoded, "b c f h w -> b f h w c")
            clips.append(to_pixels(images).to(tokens.device))
        return torch.cat(clips)

    def decode_last(self, tokens: Tensor) -> Tensor:
        """Returns the last frame of `decode`, uint8 [B, 8 * h, 8 * w, 3], since the networks decode all frames at once.

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        return self.decode(tokens)[:, -1]

    @contextmanager
    def _naming(self, file: str) -> Iterator[None]:
        """Converts any error of the networks into one that names their file."""
        try:
            yield
        except Exception as error:  # The networks are third-party code.
            raise CheckpointError(
                f"{self._directory / file} is not that of Cosmos DV8x8x8: it failed with {described(error)}"
            ) from error

    def _check_indices(self, indices: Any, expected: tuple[int, ...]) -> None:
        """Raises `CheckpointError` for other encoders, such as CV8x8x8 (real numbers) or DV4x8x8 (5 latents)."""
        is_whole = isinstance(indices, Tensor) and indices.dtype in INTEGERS
        if not is_whole or tuple(indices.shape) != expected:
            raise CheckpointError(
                f"{self._directory / ENCODER_FILE} is not that of Cosmos DV8x8x8: expected whole numbers "
                f"{list(expected)}, got {_kind(indices)}; give the directory of Cosmos-Tokenizer-DV8x8x8"
            )
        lowest, highest = (int(extreme) for extreme in indices.aminmax()) if indices.numel() else (0, 0)
        if not 0 <= lowest <= highest < self.codebook_size:
            raise CheckpointError(
                f"{self._directory / ENCODER_FILE} is not that of Cosmos DV8x8x8: expected tokens in "
                f"0..{self.codebook_size - 1}, got {lowest} to {highest}"
            )

    def _check_images(self, images: Any, expected: tuple[int, ...]) -> None:
        """Raises `CheckpointError` for other decoders."""
        is_real = isinstance(images, Tensor) and images.is_floating_point()
        if not is_real or tuple(images.shape) != expected or not images.isfinite().all():
            raise CheckpointError(
                f"{self._directory / DECODER_FILE} is not that of Cosmos DV8x8x8: expected finite numbers "
                f"{list(expected)}, got {_kind(images)}; give the directory of Cosmos-Tokenizer-DV8x8x8"
            )


class _Scripts(nn.Module):
    """The two TorchScript files as `Networks`."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, images: Tensor, /) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.encoder(images)
        return outputs

    def decode(self, indices: Tensor, /) -> Tensor:
        images: Tensor = self.decoder(indices)
        return images


def clips_at_a_time(height: int, width: int, dtype: torch.dtype) -> int:
    """Returns how many clips of this size in pixels fit into `SLICE_BYTES`, at least one."""
    clip_bytes = FRAMES_PER_CLIP * height * width * NUMBERS_PER_PIXEL * dtype.itemsize
    return max(1, SLICE_BYTES // max(1, clip_bytes))


def _load_scripts(files: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Networks:
    with warnings.catch_warnings():
        # PyTorch deprecates TorchScript, but NVIDIA provides these files only.
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        encoder, decoder = (torch.jit.load(str(file), map_location=device) for file in files)
    return _Scripts(encoder, decoder).to(device, dtype).eval()


def _load_package(files: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Networks:
    try:
        library: Any = importlib.import_module("cosmos_tokenizer.video_lib")
    except ImportError as error:
        raise MissingExtraError(
            f"backend='package' needs NVIDIA's cosmos_tokenizer, which cannot be imported ({error}); install it from "
            "https://github.com/NVIDIA/Cosmos-Tokenizer, or use backend='jit', which needs nothing"
        ) from error
    networks: Networks = library.CausalVideoTokenizer(
        checkpoint_enc=str(files[0]),
        checkpoint_dec=str(files[1]),
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
    )
    return networks


def _kind(output: Any) -> str:
    """Describes a network's output, for error messages."""
    if not isinstance(output, Tensor):
        return type(output).__name__
    return f"{output.dtype} {list(output.shape)}{'' if output.isfinite().all() else ' with NaN or infinity'}"


def _identity(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"cosmos-dv8x8x8-{digest.hexdigest()[:16]}"
