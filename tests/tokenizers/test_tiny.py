import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig

FIRST_FRAMES = (0, 1, 9, 17)
"""Latent i encodes the frames from FIRST_FRAMES[i] up to FIRST_FRAMES[i + 1]."""


def test_shapes_types_and_ranges(tokenizer: TinyTokenizer, clips: Tensor) -> None:
    protocol: VideoTokenizer = tokenizer
    tokens = protocol.encode(clips)
    assert tokens.shape == (2, 3, 2, 3)
    assert tokens.dtype == torch.int32
    assert 0 <= tokens.min() < tokens.max() < protocol.codebook_size == 12
    decoded = protocol.decode(tokens)
    assert decoded.shape == clips.shape
    assert decoded.dtype == torch.uint8
    assert len(decoded.unique()) > 10


@pytest.mark.parametrize("frame", range(17))
def test_encoder_is_causal_and_sees_every_frame(tokenizer: TinyTokenizer, clips: Tensor, frame: int) -> None:
    """A latent depends on its own and earlier frames, and never on a later one."""
    changed = clips.clone()
    changed[:, frame] = 255 - changed[:, frame]
    before, after = (tokenizer.encoder(images.float() / 127.5 - 1) for images in (clips, changed))
    differs = [not torch.equal(before[:, latent], after[:, latent]) for latent in range(3)]
    assert differs == [frame < FIRST_FRAMES[latent + 1] for latent in range(3)]


def test_the_last_frame_alone_is_that_of_the_clip(tokenizer: TinyTokenizer, clips: Tensor) -> None:
    tokens = torch.cat([tokenizer.encode(clips)] * 3)
    assert torch.equal(tokenizer.decode_last(tokens), tokenizer.decode(tokens)[:, -1])
    deeper = TinyTokenizer(dataclasses.replace(tokenizer.config, decoder_blocks=(1, 1, 3)))
    for weight in deeper.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    assert torch.equal(deeper.decode_last(tokens), deeper.decode(tokens)[:, -1])


@pytest.mark.parametrize("latent", range(3))
def test_decoder_is_causal_and_uses_every_latent(tokenizer: TinyTokenizer, latent: int) -> None:
    values = torch.randn(2, 3, 2, 3, 2, generator=torch.Generator().manual_seed(2))
    changed = values.clone()
    changed[:, latent] += 1
    before, after = tokenizer.decoder(values), tokenizer.decoder(changed)
    differs = [not torch.equal(before[:, frame], after[:, frame]) for frame in range(17)]
    assert differs == [frame >= FIRST_FRAMES[latent] for frame in range(17)]


def test_a_clip_alone_equals_its_row_in_a_batch(tokenizer: TinyTokenizer, clips: Tensor) -> None:
    many = torch.cat([clips, clips.flip(1), 255 - clips])
    tokens = tokenizer.encode(many)
    images = tokenizer.decode(tokens)
    for row in range(len(many)):
        assert torch.equal(tokenizer.encode(many[row : row + 1])[0], tokens[row])
        assert torch.equal(tokenizer.decode(tokens[row : row + 1])[0], images[row])


def test_forward_is_decoding_of_encoding_with_a_gradient_to_every_weight(
    tokenizer: TinyTokenizer, clips: Tensor
) -> None:
    reconstruction = tokenizer(clips.float() / 127.5 - 1)
    expected = tokenizer.decode(tokenizer.encode(clips))
    assert torch.equal(((reconstruction + 1) * 127.5).round().clamp(0, 255).to(torch.uint8), expected)
    reconstruction.square().mean().backward()
    without = [name for name, weight in tokenizer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_autocast_gives_nearly_the_same_images(tokenizer: TinyTokenizer, clips: Tensor) -> None:
    tokens = tokenizer.encode(clips)
    with torch.autocast("cpu", torch.bfloat16):
        images = tokenizer.decode(tokens)
    assert (images.float() - tokenizer.decode(tokens).float()).abs().mean() < 2


def test_save_and_load(tokenizer: TinyTokenizer, clips: Tensor, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new")
    loaded = TinyTokenizer.load(tmp_path / "new")
    assert loaded.config == tokenizer.config
    assert loaded.identity == tokenizer.identity
    assert torch.equal(loaded.encode(clips), tokenizer.encode(clips))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["tokenizer.safetensors"]
    assert torch.equal(
        TinyTokenizer.load(tmp_path / "new" / "tokenizer.safetensors").encode(clips), loaded.encode(clips)
    )


def test_identity_knows_weights_and_config(tokenizer: TinyTokenizer) -> None:
    before = tokenizer.identity
    assert len(before) == 16
    with torch.no_grad():
        tokenizer.decoder.to_pixels.bias[0] += 1e-3
    assert tokenizer.identity != before
    with torch.no_grad():
        tokenizer.decoder.to_pixels.bias[0] -= 1e-3
    tokenizer.config = dataclasses.replace(tokenizer.config, fsq_levels=(3, 4))
    assert tokenizer.identity != before


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 16, 8, 8, 3, dtype=torch.uint8), r"expected \[B, 17, H, W, 3\].*got \[1, 16, 8, 8, 3\]"),
        (torch.zeros(17, 8, 8, 3, dtype=torch.uint8), r"got \[17, 8, 8, 3\]"),
        (torch.zeros(1, 17, 3, 8, 8, dtype=torch.uint8), r"got \[1, 17, 3, 8, 8\]"),
        (torch.zeros(1, 17, 12, 8, 3, dtype=torch.uint8), "multiples of 8"),
        (torch.zeros(1, 17, 8, 8, 3), "expected uint8"),
    ],
)
def test_bad_clips_are_refused(tokenizer: TinyTokenizer, clips: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tokenizer.encode(clips)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.full((1, 3, 2, 2), 12), r"outside the codebook: expected 0\.\.11, got 12\.\.12"),
        (torch.full((1, 3, 2, 2), -1), r"expected 0\.\.11, got -1\.\.-1"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.int32), r"expected \[B, 3, h, w\], got \[1, 2, 2, 2\]"),
        (torch.zeros(1, 3, 2, 2), "expected integers"),
    ],
)
def test_bad_tokens_are_refused(tokenizer: TinyTokenizer, tokens: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tokenizer.decode(tokens)


@pytest.mark.parametrize(
    ("field", "value"),
    [("fsq_levels", ()), ("coarse_width", 0), ("encoder_blocks", (1,)), ("decoder_blocks", (1, 1, -1))],
)
def test_bad_config_names_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        TinyTokenizerConfig(**{field: value})  # type: ignore[arg-type]


def test_missing_and_broken_files_are_refused(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a tokenizer at"):
        TinyTokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="not a whole TinyTokenizer"):
        TinyTokenizer.load(tmp_path)


def test_weights_of_another_shape_are_refused(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    tokenizer.config = dataclasses.replace(tokenizer.config, coarse_width=8)
    tokenizer.save(tmp_path)
    with pytest.raises(CheckpointError, match="not a whole TinyTokenizer"):
        TinyTokenizer.load(tmp_path)
