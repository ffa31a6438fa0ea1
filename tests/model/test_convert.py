"""Foreign checkpoints: the original's logits, errors by name, and no code executed."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hwm_env.errors import CheckpointError
from hwm_env.model.convert import load_foreign_checkpoint
from tests.model.foreign import FIXTURE, foreign_fields, foreign_tensors, logits_error, write_foreign

TOLERANCE = 1e-4
ROTATIONS = "transformer.layers.0.temporal_attn.rope_1d.rotations"


@pytest.mark.slow
def test_logits_are_the_originals() -> None:
    assert logits_error(load_foreign_checkpoint(FIXTURE)) < TOLERANCE


def test_without_config_the_sizes_are_read_from_the_tensors(tmp_path: Path) -> None:
    model = load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors()))
    assert model.config == load_foreign_checkpoint(FIXTURE).config
    assert logits_error(model) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("absent", sorted(foreign_fields()))
def test_a_field_that_config_lacks_is_read_from_the_tensors(tmp_path: Path, absent: str) -> None:
    fields = foreign_fields()
    del fields[absent]
    model = load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors(), fields))
    assert model.config == load_foreign_checkpoint(FIXTURE).config


def test_all_tensors_are_used_except_unread_mlps(tmp_path: Path) -> None:
    """Each tensor is filled with a number of its own, which must appear in the model."""
    tensors = {
        name: torch.full_like(tensor, number) for number, (name, tensor) in enumerate(foreign_tensors().items(), 1)
    }
    model = load_foreign_checkpoint(write_foreign(tmp_path, tensors))
    arrived = {int(number) for parameter in model.parameters() for number in parameter.unique()}
    unused = {name for number, name in enumerate(tensors, 1) if number not in arrived and "rope_" not in name}
    assert unused == {
        f"transformer.layers.2.mlp_{stream}.fc{index}.{kind}"
        for stream in ("vp", "ap", "af")
        for index in (1, 2)
        for kind in ("weight", "bias")
    }


@pytest.mark.slow
def test_the_logits_show_every_weight_that_is_off() -> None:
    model = load_foreign_checkpoint(FIXTURE)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        original = parameter.detach().clone()
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        assert logits_error(model) > TOLERANCE, name
        parameter.data = original


def test_no_layer_need_share(tmp_path: Path) -> None:
    """Sharing equals giving past and future the same weights."""
    pattern = re.compile(r"\.(spatial_attn|spatial_mlp)\.")
    tensors = {
        pattern.sub(rf".\1_{stream}.", name): tensor
        for name, tensor in foreign_tensors().items()
        for stream in ("vp", "vf")
    }
    for index, fields in enumerate((None, {**foreign_fields(), "shared_layers_start": 4})):
        model = load_foreign_checkpoint(write_foreign(tmp_path / str(index), tensors, fields))
        assert model.config.shared_layers_start == 3
        assert logits_error(model) < TOLERANCE


def test_all_layers_can_share(tmp_path: Path) -> None:
    tensors = {re.sub(r"(spatial_\w+)_v[pf]\.", r"\1.", name): tensor for name, tensor in foreign_tensors().items()}
    assert load_foreign_checkpoint(write_foreign(tmp_path, tensors)).config.shared_layers_start == 0


def test_tensors_that_do_not_fit_are_listed_by_name(tmp_path: Path) -> None:
    tensors = foreign_tensors()
    del tensors["transformer.layers.1.mlp_norm.bias"], tensors["output_projs.2.weight"]
    tensors["transformer.layers.1.spatial_attn.qkv.bias"] = torch.zeros(96)
    tensors["stream_type_embed"] = torch.zeros(4, 32)
    tensors["video_token_embed.embeddings.1.weight"] = torch.zeros(96, 32)
    tensors["transformer.layers.2.mlp_af.fc1.weight"] = torch.zeros(32, 64)
    tensors["output_projs.0.weight"] = torch.zeros(96, 32, dtype=torch.int8)
    with pytest.raises(CheckpointError) as error:
        load_foreign_checkpoint(write_foreign(tmp_path, tensors))
    missing, rest = str(error.value).split("surplus")
    surplus, misshapen = rest.split("misshapen")
    assert "['output_projs.2.weight', 'transformer.layers.1.mlp_norm.bias']" in missing
    assert "['stream_type_embed', 'transformer.layers.1.spatial_attn.qkv.bias']" in surplus
    assert "output_projs.0.weight torch.int8" in misshapen
    assert "transformer.layers.2.mlp_af.fc1.weight torch.float32 (32, 64) instead of (64, 32)" in misshapen
    assert "video_token_embed.embeddings.1.weight torch.float32 (96, 32) instead of (97, 32)" in misshapen
    assert misshapen.count("instead of") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("num_layers", 4, "missing tensors ['transformer.layers.3.mlp_af.fc1.bias'"),
        ("num_layers", 2, "surplus ['transformer.layers.2.mlp_af.fc1.bias'"),
        ("num_heads", 4, f"{ROTATIONS} (102, 8) instead of (any, 4)"),
        ("d_model", 48, "transformer.final_norm.weight torch.float32 (32,) instead of (48,)"),
        ("mlp_hidden", 128, "transformer.layers.2.mlp_ap.fc1.bias torch.float32 (64,) instead of (128,)"),
        ("num_past_clips", 3, "action_pos_embed torch.float32 (1, 3, 32) instead of (1, 4, 32)"),
        ("num_future_clips", 2, "video_pos_embed torch.float32 (1, 3, 6, 6, 32) instead of (1, 4, 6, 6, 32)"),
        ("spatial_size", 7, "video_pos_embed torch.float32 (1, 3, 6, 6, 32) instead of (1, 3, 7, 7, 32)"),
        ("shared_layers_start", 2, "surplus ['transformer.layers.1.spatial_attn.proj.bias'"),
    ],
)
def test_contradictions_to_config_are_named(tmp_path: Path, field: str, value: int, named: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors(), {**foreign_fields(), field: value}))
    assert named in str(error.value)


def test_a_wrong_vocabulary_takes_no_memory(tmp_path: Path) -> None:
    for size, message in (
        (10**9, r"output_projs\.0\.bias torch\.float32 \(96,\) instead of"),
        (10**12, "cannot be imported: fsq_levels must be levels whose product is below 2147483648"),
    ):
        fields = {**foreign_fields(), "vocab_size": size, "mask_token_id": size}
        with pytest.raises(CheckpointError, match=message):
            load_foreign_checkpoint(write_foreign(tmp_path / str(size), foreign_tensors(), fields))


def test_a_billion_layers_take_neither_memory_nor_time(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="num_layers must be at most 1024, got 1000000000"):
        load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors(), {**foreign_fields(), "num_layers": 10**9}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action_dim", 24),
        ("num_factored_vocabs", 2),
        ("frames_per_clip", 16),
        ("mask_token_id", 0),
        ("num_layers", "three"),
        ("num_heads", True),
        ("num_past_clips", 0),
        ("num_past_clips", 10),
        ("num_heads", 3),
    ],
)
def test_unsupported_options_are_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=field):
        load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors(), {**foreign_fields(), field: value}))


def test_what_cannot_be_known_is_named(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in foreign_tensors().items() if "rope_" not in name}
    assert logits_error(load_foreign_checkpoint(write_foreign(tmp_path, tensors, foreign_fields()))) < TOLERANCE
    (tmp_path / "config.json").unlink()
    del tensors["action_pos_embed"]
    with pytest.raises(CheckpointError, match=r"num_heads \(from axis 1 of .*rotations, .*; num_past_clips \(from"):
        load_foreign_checkpoint(write_foreign(tmp_path, tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in foreign_tensors().items()
    }
    model = load_foreign_checkpoint(write_foreign(tmp_path, tensors))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.norm.weight, tensors["transformer.final_norm.weight"].float(), rtol=0, atol=0)


def test_the_weights_do_not_depend_on_the_file_after_loading(tmp_path: Path) -> None:
    """The file is memory-mapped while it is read; afterwards it may change or disappear."""
    model = load_foreign_checkpoint(shutil.copytree(FIXTURE, tmp_path / "copy"))
    file = tmp_path / "copy/pytorch_model.bin"
    size = file.stat().st_size
    with file.open("r+b") as content:
        content.write(bytes(size))
    assert logits_error(model) < TOLERANCE


def test_safetensors_are_read(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in foreign_tensors().items() if "rope_" not in name}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(foreign_fields()))
    assert logits_error(load_foreign_checkpoint(tmp_path)) < TOLERANCE


def test_files_of_the_old_kind_are_read(tmp_path: Path) -> None:
    torch.save(foreign_tensors(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert logits_error(load_foreign_checkpoint(tmp_path)) < TOLERANCE


class Malice:
    """Leaves a trace wherever it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    file = tmp_path / "pytorch_model.bin"
    torch.save({**foreign_tensors(), "malice": Malice(trace)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="could execute code") as error:
        load_foreign_checkpoint(tmp_path)
    assert "weights_only" not in str(error.value)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the pickle was harmless, and this test shows nothing"


@pytest.mark.parametrize("kept", [0, 10, 10_000, 500_000])
def test_a_damaged_file_is_named(tmp_path: Path, kept: int) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes((FIXTURE / "pytorch_model.bin").read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged"):
        load_foreign_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {}, "epoch": 3}])
def test_a_file_that_holds_other_things_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError, match=r"got list|\['state_dict', 'epoch'\]"):
        load_foreign_checkpoint(write_foreign(tmp_path, content))


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    directory = write_foreign(tmp_path, foreign_tensors())
    (directory / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_foreign_checkpoint(directory)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=r"expected pytorch_model\.bin or model\.safetensors in"):
            load_foreign_checkpoint(directory)
