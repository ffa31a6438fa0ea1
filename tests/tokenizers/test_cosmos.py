"""The Cosmos adapter, on TorchScript files of the same signature as NVIDIA's."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env import checkpoint
from hwm_env.checkpoint import TOKENIZER_VARIABLE
from hwm_env.errors import CheckpointError, InvalidInputError, MissingExtraError
from hwm_env.tokenizers import cosmos
from hwm_env.tokenizers.cosmos import CosmosTokenizer
from tests.conftest import make_tiny_checkpoint
from tests.tokenizers.cosmos import LEVELS, write_stand_ins

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("cosmos"))


@pytest.fixture
def tokenizer(directory: Path) -> CosmosTokenizer:
    return CosmosTokenizer.load(directory)


def random_clips(batch: int = 2, side: int = 32) -> Tensor:
    """Clips whose 8 x 8 patches have one colour each, which changes with the latents only."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(8, (batch, 3, side // 8, side // 8, 3), generator=generator)
    patches = (colours * 255 / 7).round().to(torch.uint8)
    frames = patches.repeat_interleave(torch.tensor([1, 8, 8]), dim=1)
    return frames.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def naive_token(clip: np.ndarray, latent: int, row: int, column: int) -> int:
    frames = clip[[slice(0, 1), slice(1, 9), slice(9, 17)][latent], 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    red, green, blue = np.round(frames.reshape(-1, 3).mean(axis=0) / 255 * 7).astype(int)
    return int(red + 8 * green + 64 * blue)


@pytest.mark.parametrize("side", [32, 256])
def test_images_become_indices_and_come_back(tokenizer: CosmosTokenizer, side: int) -> None:
    clips = random_clips(side=side)
    tokens = tokenizer.encode(clips)
    assert tokens.dtype == torch.int32
    assert tokens.shape == (2, 3, side // 8, side // 8)
    for place in [(0, 0, 0, 0), (1, 2, 3, 1), (1, 1, 0, 2)]:
        assert tokens[place] == naive_token(clips[place[0]].numpy(), *place[1:])
    assert torch.equal(tokenizer.decode(tokens), clips)


def test_it_is_a_codebook_of_64000(tokenizer: CosmosTokenizer) -> None:
    assert (tokenizer.fsq_levels, tokenizer.codebook_size, tokenizer.spatial_compression) == (LEVELS, 64_000, 8)


def test_slices_change_nothing(tokenizer: CosmosTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = random_clips(batch=5)
    whole = tokenizer.encode(clips)
    seen = []
    networks = tokenizer._networks
    original = networks.encode
    monkeypatch.setattr(networks, "encode", lambda images: (seen.append(len(images)), original(images))[1])
    monkeypatch.setattr(cosmos, "SLICE_BYTES", 2 * 17 * 32 * 32 * cosmos.NUMBERS_PER_PIXEL * 4)
    assert torch.equal(tokenizer.encode(clips), whole)
    assert seen == [2, 2, 1]
    assert torch.equal(tokenizer.decode(whole), clips)


def test_bfloat16_computes_in_bfloat16(directory: Path) -> None:
    tokenizer = CosmosTokenizer.load(directory, dtype=torch.bfloat16)
    clips = random_clips()
    # Eight levels of colour survive the rounding to 8 bits of mantissa.
    assert torch.equal(tokenizer.encode(clips), CosmosTokenizer.load(directory).encode(clips))
    decoded = tokenizer.decode(tokenizer.encode(clips))
    assert (decoded.int() - clips.int()).abs().max() in (1, 2)
    with pytest.raises(InvalidInputError, match=r"float32 or torch\.bfloat16, got torch\.float16"):
        CosmosTokenizer.load(directory, dtype=torch.float16)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, 32, 32, dtype=torch.int32), "give all 3 latents of a clip together"),
        (torch.zeros(2, 1, 32, 32, dtype=torch.int32), "give all 3 latents of a clip together"),
        (torch.zeros(2, 3, 32, 32, 2, dtype=torch.int32), "combine factorised tokens"),
        (torch.full((2, 3, 4, 4), 64_000), r"expected 0..63999, got 64000..64000; .* one number for each position"),
        (torch.full((2, 3, 4, 4), -1), "outside the codebook"),
        (torch.zeros(2, 3, 4, 4), r"expected integers, got torch\.float32"),
    ],
)
def test_wrong_tokens_are_told_what_is_wrong(tokenizer: CosmosTokenizer, tokens: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tokenizer.decode(tokens)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 16, 32, 32, 3, dtype=torch.uint8), r"encodes 1 \+ 8k frames, and a clip has 17 .* not 16"),
        (torch.zeros(1, 9, 32, 32, 3, dtype=torch.uint8), r"1 \+ 8k frames"),
        (
            torch.zeros(1, 3, 17, 32, 32, dtype=torch.uint8),
            "move the frames before height and width, and the channels after them",
        ),
        (torch.zeros(1, 17, 30, 32, 3, dtype=torch.uint8), "multiples of 8"),
        (torch.zeros(1, 17, 32, 32, 3), "expected uint8"),
    ],
)
def test_wrong_clips_are_told_what_is_wrong(tokenizer: CosmosTokenizer, clips: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tokenizer.encode(clips)


def test_files_that_are_not_there_or_damaged(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no encoder\.jit and no decoder\.jit"):
        CosmosTokenizer.load(tmp_path)
    (tmp_path / "encoder.jit").write_bytes((directory / "encoder.jit").read_bytes())
    with pytest.raises(CheckpointError, match=r"has no decoder\.jit"):
        checkpoint.load_tokenizer(tmp_path)
    (tmp_path / "decoder.jit").write_bytes((directory / "decoder.jit").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not whole TorchScript"):
        CosmosTokenizer.load(tmp_path)


def test_an_encoder_of_another_kind_is_found_out(directory: Path, tmp_path: Path) -> None:
    """NVIDIA's continuous tokenizers return real numbers, those with other compression other shapes."""

    class Continuous(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images[:, :, ::8, ::8, ::8], images.mean()

    torch.jit.script(Continuous()).save(str(tmp_path / "encoder.jit"))
    (tmp_path / "decoder.jit").write_bytes((directory / "decoder.jit").read_bytes())
    with pytest.raises(CheckpointError, match=r"not that of Cosmos DV8x8x8: expected whole numbers \[2, 3, 4, 4\]"):
        CosmosTokenizer.load(tmp_path).encode(random_clips())


def test_the_identity_is_that_of_the_files(directory: Path, tmp_path: Path) -> None:
    assert CosmosTokenizer.load(directory).identity == CosmosTokenizer.load(directory).identity
    other = CosmosTokenizer.load(write_stand_ins(tmp_path, gain=0.5))
    assert other.identity != CosmosTokenizer.load(directory).identity
    assert other.identity.startswith("cosmos-dv8x8x8-")


def test_nvidias_package_gives_equal_results(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError, match="backend='jit', which needs nothing"):
        CosmosTokenizer.load(directory, backend="package")

    class CausalVideoTokenizer(torch.nn.Module):
        """The signature of cosmos_tokenizer.video_lib.CausalVideoTokenizer."""

        def __init__(
            self,
            checkpoint: str | None = None,
            checkpoint_enc: str | None = None,
            checkpoint_dec: str | None = None,
            tokenizer_config: dict[str, Any] | None = None,
            device: str = "cuda",
            dtype: str = "bfloat16",
        ) -> None:
            super().__init__()
            number = getattr(torch, dtype)
            self._enc_model = torch.jit.load(checkpoint_enc, map_location=device).to(number)
            self._dec_model = torch.jit.load(checkpoint_dec, map_location=device).to(number)

        def encode(self, input_tensor: Tensor) -> tuple[Tensor, ...]:
            output: tuple[Tensor, ...] = self._enc_model(input_tensor)
            return output[:-1]

        def decode(self, input_latent: Tensor) -> Tensor:
            images: Tensor = self._dec_model(input_latent)
            return images

    package, library = ModuleType("cosmos_tokenizer"), ModuleType("cosmos_tokenizer.video_lib")
    library.CausalVideoTokenizer = CausalVideoTokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cosmos_tokenizer", package)
    monkeypatch.setitem(sys.modules, "cosmos_tokenizer.video_lib", library)
    theirs, ours = CosmosTokenizer.load(directory, backend="package"), CosmosTokenizer.load(directory)
    clips = random_clips()
    assert torch.equal(theirs.encode(clips), ours.encode(clips))
    assert torch.equal(theirs.decode(ours.encode(clips)), ours.decode(ours.encode(clips)))
    assert theirs.identity == ours.identity


def test_a_checkpoint_names_cosmos_and_does_not_hold_it(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_tiny_checkpoint()
    checkpoint.save(replace(made, tokenizer=CosmosTokenizer.load(directory)), tmp_path / "world")
    assert not list((tmp_path / "world").glob("*.jit")) + list((tmp_path / "world").glob("tokenizer*"))
    with pytest.raises(CheckpointError, match=r"tokenizer=\.\.\., or in the environment variable HWM_TOKENIZER"):
        checkpoint.load(tmp_path / "world")
    other = write_stand_ins(tmp_path / "other", gain=0.5)
    with pytest.raises(CheckpointError, match="not the tokenizer of this checkpoint: expected identity 'cosmos-"):
        checkpoint.load(tmp_path / "world", tokenizer=other)
    env = gymnasium.make("HWM-v0", checkpoint=tmp_path / "world", tokenizer=directory, task=None)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    monkeypatch.setenv(TOKENIZER_VARIABLE, str(directory))
    again = gymnasium.make("HWM-v0", checkpoint=tmp_path / "world", task=None)
    np.testing.assert_array_equal(again.reset(seed=0)[0], observation)
    assert checkpoint.load_tokenizer(tmp_path / "world").identity == checkpoint.load_tokenizer(directory).identity
