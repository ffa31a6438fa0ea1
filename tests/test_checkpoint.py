"""Checkpoint directories: what is written is read back, and damage is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hwm_env.checkpoint import Checkpoint, load, save
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import CheckpointError, SavingError
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from tests.conftest import make_tiny_checkpoint
from tests.disks import content_of, full_disk


@pytest.fixture
def directory(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """Returns a copy that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def test_everything_survives_a_round_trip(tmp_path: Path) -> None:
    original = replace(
        make_tiny_checkpoint(), decoding=DecodingConfig(steps=3, temperature=0.25), provenance={"seed": 7}
    )
    save(original, tmp_path)
    loaded = load(tmp_path)
    for part in ("model", "tokenizer", "readout"):
        expected, got = getattr(original, part).state_dict(), getattr(loaded, part).state_dict()
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name].half().float(), got[name]) for name in expected)
        assert {weight.dtype for weight in got.values()} == {torch.float32}
    assert loaded.model.config == original.model.config
    save(loaded, tmp_path)
    assert load(tmp_path).identity == loaded.identity != original.identity
    assert loaded.decoding == original.decoding
    assert loaded.provenance == original.provenance
    assert torch.equal(loaded.starts.tokens, original.starts.tokens)
    assert torch.equal(loaded.starts.actions, original.starts.actions)
    assert loaded.starts.poses is not None
    np.testing.assert_array_equal(loaded.statistics.std, original.statistics.std)


def test_a_checkpoint_without_readout_and_poses_is_one_too(tmp_path: Path) -> None:
    original = make_tiny_checkpoint()
    bare = replace(original, readout=None, starts=replace(original.starts, poses=None))
    save(bare, tmp_path)
    assert load(tmp_path).readout is None
    assert load(tmp_path).starts.poses is None


def test_nothing_in_it_is_a_pickle(tiny_checkpoint: Path) -> None:
    assert {path.suffix for path in tiny_checkpoint.iterdir()} == {".json", ".safetensors"}


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="unknown checkpoint 'refrence': expected one of"):
        load("refrence")


def test_the_old_name_of_the_shipped_checkpoint_leads_to_the_new_one() -> None:
    with pytest.raises(CheckpointError, match=r"unknown checkpoint 'reference'.* is called 'room-64' now"):
        load("reference")
    with pytest.raises(CheckpointError, match=r"expected one of .*'room-64'.* or a Hugging Face id owner/name$"):
        load("refrence")


@pytest.mark.parametrize("name", ["model", "tokenizer", "readout", "starts"])
def test_missing_and_truncated_files_are_named(directory: Path, name: str) -> None:
    file = directory / f"{name}.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=f"{name}.safetensors"):
        load(directory)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{name}.safetensors"):
        load(directory)


def test_tensors_that_do_not_fit_are_listed(directory: Path) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["positions"] = torch.zeros(3, 3)
    del tensors["norm.bias"]
    save_file(tensors, file)
    with pytest.raises(
        CheckpointError, match=r"missing tensors \['norm.bias'\]; surplus tensors \['surplus.weight'\]"
    ) as error:
        load(directory)
    assert "positions (3, 3) instead of (64, 16)" in str(error.value)


def test_a_tokenizer_from_elsewhere_is_noticed(directory: Path) -> None:
    """It has the same shape and other weights, so frames would be nonsense."""
    torch.manual_seed(9)
    TinyTokenizer(TinyTokenizerConfig(coarse_width=8, fine_width=8, frame_width=8, pixel_width=8)).save(directory)
    with pytest.raises(CheckpointError, match="not the tokenizer of this checkpoint"):
        load(directory)


def test_a_tokenizer_with_another_codebook_does_not_fit() -> None:
    original = make_tiny_checkpoint()
    tokenizer = TinyTokenizer(TinyTokenizerConfig(fsq_levels=(8, 8), coarse_width=8, fine_width=8))
    with pytest.raises(CheckpointError, match="tokenizer does not fit the model"):
        replace(original, tokenizer=tokenizer)


@pytest.mark.parametrize("shape", [(4, 9, 3, 4, 8), (4, 10, 3, 8, 8)])
def test_starts_of_another_shape_do_not_fit(shape: tuple[int, ...]) -> None:
    original = make_tiny_checkpoint()
    with pytest.raises(CheckpointError, match=r"starts do not fit (the model|together)"):
        replace(original, starts=replace(original.starts, tokens=torch.zeros(shape, dtype=torch.int32)))


def test_starts_outside_the_codebook_do_not_fit() -> None:
    original = make_tiny_checkpoint()
    with pytest.raises(CheckpointError, match="outside the codebook of 64000"):
        replace(original, starts=replace(original.starts, tokens=original.starts.tokens + 64_000))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}'])
def test_a_config_of_another_kind_is_refused(directory: Path, content: str) -> None:
    (directory / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(directory)


def test_an_unknown_field_is_named(directory: Path) -> None:
    content = json.loads((directory / "config.json").read_text())
    content["model"]["num_brains"] = 2
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="num_brains"):
        load(directory)


def test_an_interrupted_write_leaves_the_checkpoint_that_was_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint: Checkpoint = load(directory)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = content_of(directory)
    monkeypatch.setattr(TinyTokenizer, "to_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(checkpoint, directory)
    assert content_of(directory) == before


@pytest.mark.parametrize("files_that_fit", range(4))
def test_a_full_disk_leaves_the_checkpoint_that_was_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch, files_that_fit: int
) -> None:
    checkpoint, before = load(directory), content_of(directory)
    with full_disk(monkeypatch, files_that_fit), pytest.raises(SavingError, match=r"No space left.*make room"):
        save(replace(checkpoint, provenance={"note": "another one"}), directory)
    assert content_of(directory) == before
