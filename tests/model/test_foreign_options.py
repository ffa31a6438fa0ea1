"""Every option that a foreign config.json can name, against the foreign network in tests/model/foreign_network.py."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.errors import CheckpointError
from hwm_env.importing import ImportConfig, import_checkpoint
from hwm_env.model.convert import load_foreign_checkpoint
from hwm_env.simulator import WorldSimulator
from tests.model.foreign import FIXTURE, foreign_fields, foreign_tensors, write_foreign
from tests.model.foreign_network import ForeignNetwork
from tests.model.inputs import random_inputs

Tensors = dict[str, Tensor]
WIDTH, LAYERS = 32, 3


def noise(*shape: int) -> Tensor:
    """Large enough that its effect exceeds the tolerance."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def with_streams(tensors: Tensors) -> None:
    for layer in range(LAYERS):
        tensors[f"transformer.layers.{layer}.temporal_attn.stream_type_emb"] = noise(4, WIDTH) + layer


def with_qkv_bias(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith("qkv.weight")]:
        tensors[name.replace("weight", "bias")] = noise(3 * WIDTH)


def without_proj_bias(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith(".proj.bias")]:
        del tensors[name]


def without_rope(tensors: Tensors) -> None:
    for name in [name for name in tensors if ".rope_" in name]:
        del tensors[name]


def with_more_futures(tensors: Tensors) -> None:
    for name in ("video_pos_embed", "action_pos_embed"):
        tensors[name] = torch.cat([tensors[name], noise(1, 1, *tensors[name].shape[2:])], dim=1)


def as_is(tensors: Tensors) -> None:
    pass


OPTIONS: dict[tuple[str, object], Callable[[Tensors], None]] = {
    ("use_stream_type_emb", True): with_streams,
    ("qkv_bias", True): with_qkv_bias,
    ("proj_bias", False): without_proj_bias,
    ("use_rope", False): without_rope,
    ("num_future_clips", 2): with_more_futures,
    # Of training only.
    ("attn_drop", 0.1): as_is,
    ("mlp_drop", 0.1): as_is,
    ("use_gradient_checkpointing", True): as_is,
    ("use_flash_attn", True): as_is,
    ("mixed_precision", "bf16"): as_is,
}
CHANGES = [option for option, change in OPTIONS.items() if change is not as_is]
SEEN_IN_WEIGHTS = [option for option in CHANGES if option[0] != "use_rope"]
"""Rotations are not weights, and a checkpoint may leave them out."""


def make(chosen: list[tuple[str, object]]) -> tuple[Tensors, dict[str, object]]:
    """Returns a checkpoint with these options."""
    tensors, fields = foreign_tensors(), foreign_fields()
    for field, value in chosen:
        OPTIONS[field, value](tensors)
        fields[field] = value
    return tensors, fields


def assert_same_logits(directory: Path, tensors: Tensors, fields: dict[str, object]) -> None:
    model = load_foreign_checkpoint(directory)
    original = ForeignNetwork(tensors, num_heads=2, use_rope=fields["use_rope"] is True)
    futures = int(str(fields["num_future_clips"]))
    assert (model.config.num_past_clips, model.config.num_future_clips) == (2, futures)
    for future in range(1, futures + 1):
        inputs = random_inputs(model, past=2, future=future, seed=future)
        with torch.no_grad():
            logits = model(*inputs)
        torch.testing.assert_close(logits.double(), original.logits(*inputs), rtol=1e-4, atol=1e-4)


def test_the_naive_network_has_the_originals_logits() -> None:
    with np.load(FIXTURE / "io.npz") as arrays:
        inputs = [torch.from_numpy(arrays[name]) for name in ("v_p", "v_f", "a_p", "a_f")]
        expected = torch.from_numpy(arrays["logits"])
    found = ForeignNetwork(foreign_tensors(), num_heads=2, use_rope=True).logits(*inputs)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_each_option_has_the_originals_logits(tmp_path: Path, option: tuple[str, object]) -> None:
    tensors, fields = make([option])
    assert_same_logits(write_foreign(tmp_path, tensors, fields), tensors, fields)


def test_all_options_but_one_have_the_originals_logits(tmp_path: Path) -> None:
    for index in range(len(CHANGES)):
        tensors, fields = make(CHANGES[:index] + CHANGES[index + 1 :])
        assert_same_logits(write_foreign(tmp_path / str(index), tensors, fields), tensors, fields)


@pytest.mark.parametrize("option", [option for option in CHANGES if option[0] != "num_future_clips"], ids=str)
def test_each_option_changes_the_logits(option: tuple[str, object]) -> None:
    """Otherwise equal logits would prove nothing."""
    inputs = random_inputs(load_foreign_checkpoint(FIXTURE), past=2, future=1)
    tensors, fields = make([option])
    changed = ForeignNetwork(tensors, num_heads=2, use_rope=fields["use_rope"] is True).logits(*inputs)
    plain = ForeignNetwork(foreign_tensors(), num_heads=2, use_rope=True).logits(*inputs)
    assert (changed - plain).abs().max() > 1e-3


@pytest.mark.parametrize("option", SEEN_IN_WEIGHTS, ids=str)
def test_an_option_that_config_lacks_is_read_from_the_tensors(tmp_path: Path, option: tuple[str, object]) -> None:
    tensors, fields = make([option])
    named = {field: value for field, value in fields.items() if field != option[0]}
    assert_same_logits(write_foreign(tmp_path, tensors, named), tensors, fields)


def test_clips_are_counted_by_frames_as_the_original_counts_them(tmp_path: Path) -> None:
    """The count is one more than the number of whole clips: 17 // 17 + 1 = 2."""
    tensors, fields = make([("num_future_clips", 2)])
    named = {**fields, "num_past_frames": 25, "num_future_frames": 17}
    del named["num_past_clips"], named["num_future_clips"]
    assert_same_logits(write_foreign(tmp_path, tensors, named), tensors, fields)


@pytest.mark.parametrize("option", SEEN_IN_WEIGHTS, ids=str)
def test_a_config_that_contradicts_the_tensors_is_refused(tmp_path: Path, option: tuple[str, object]) -> None:
    tensors, _ = make([option])
    with pytest.raises(CheckpointError, match="does not hold the expected tensors"):
        load_foreign_checkpoint(write_foreign(tmp_path, tensors, foreign_fields()))


def test_an_import_with_all_options_is_saved_and_steps(tmp_path: Path) -> None:
    tensors, fields = make(CHANGES)
    directory = write_foreign(tmp_path / "foreign", tensors, fields)
    import_checkpoint(ImportConfig(directory=directory, out=tmp_path / "imported"))
    loaded = load(tmp_path / "imported")
    inputs = random_inputs(loaded.model, past=2, future=2)
    with torch.no_grad():
        logits = loaded.model(*inputs)
    expected = ForeignNetwork(tensors, num_heads=2, use_rope=False).logits(*inputs)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)
    simulator = WorldSimulator(loaded)
    state = simulator.reset([0], [0])
    state, clip = simulator.step(state, torch.zeros(1, 17, 25))
    assert torch.isfinite(clip.log_prob).all()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("action_dim", 24, "must be 25 (the numbers of an action), got 24"),
        ("num_factored_vocabs", 2, "must be 3 (the latents of a clip), got 2"),
        ("frames_per_clip", 16, "must be 17 (the frames of a clip), got 16"),
        ("mask_token_id", 0, "must be 96 (vocab_size: a masked token has the last row of the token tables), got 0"),
        ("use_stream_type_emb", "yes", "must be true or false, got 'yes'"),
        ("use_rope", 1, "must be true or false, got 1"),
        ("num_future_frames", 17.5, "must be an integer, got 17.5"),
        ("num_future_clips", 9, "must be at most 8, got 9"),
    ],
)
def test_what_cannot_be_imported_is_named_with_the_reason(
    tmp_path: Path, field: str, value: object, reason: str
) -> None:
    fields = {**foreign_fields(), field: value}
    with pytest.raises(CheckpointError, match=re.escape(f"{field} {reason}")):
        load_foreign_checkpoint(write_foreign(tmp_path, foreign_tensors(), json.loads(json.dumps(fields))))
