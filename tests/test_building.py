"""Modules that are built for loaded weights, against modules that are built as usual."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from hwm_env.building import all_finite, built, misfits, shapes_of
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.model.readout import Readout, ReadoutConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from tests.model.options import OPTIONS, combinations

BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "tokenizer": lambda: TinyTokenizer(TinyTokenizerConfig()),
    "readout": lambda: Readout(ReadoutConfig(fsq_levels=(8, 5), grid_size=(4, 4))),
    "scene, learned camera": lambda: SceneModel(SceneConfig()),
}


def models() -> list[MaskedHWMConfig]:
    fixed = {"latent_layout": "stacked", "spatial_lookback": True, "scene_width": 3}
    return combinations({"token_embedding": OPTIONS["token_embedding"]}, **fixed)


def all_builders() -> list[Callable[[], nn.Module]]:
    return [*BUILDERS.values(), *(lambda config=config: MaskedHWM(config) for config in models())]


@pytest.mark.parametrize("make", all_builders())
def test_names_shapes_and_what_is_not_drawn_are_equal(make: Callable[[], nn.Module]) -> None:
    usual, fast = make(), built(make)
    weights = usual.state_dict()
    assert shapes_of(make) == {name: weight.shape for name, weight in weights.items()}
    assert fast.state_dict().keys() == weights.keys()
    fast.load_state_dict(weights)
    for (name, expected), (_, tensor) in zip(usual.named_buffers(), fast.named_buffers(), strict=True):
        assert torch.equal(tensor, expected), name
    assert all(not tensor.is_meta for tensor in [*fast.parameters(), *fast.buffers()])


def test_building_draws_nothing() -> None:
    before = torch.get_rng_state()
    built(MaskedHWM, TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert built(nn.LayerNorm, 3).weight.tolist() == [1, 1, 1], "constants are set"


def test_shapes_take_no_memory() -> None:
    """Each of these matrices would need 17 GB."""
    huge = replace(TINY, width=2**16, mlp_width=2**16, num_heads=2**12)
    assert shapes_of(MaskedHWM, huge)["blocks.0.spatial.members.0.out.weight"] == (2**16, 2**16)


def test_misfits_name_each_difference() -> None:
    shapes = shapes_of(nn.Linear, 2, 3)
    weights = {"weight": torch.zeros(2, 3), "scale": torch.zeros(1)}
    assert misfits(weights, shapes) == (
        "missing tensors ['bias']; surplus tensors ['scale']; misshapen tensors ['weight (2, 3) instead of (3, 2)']"
    )
    assert misfits(nn.Linear(2, 3).state_dict(), shapes) == ""


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
        *(torch.bool, torch.uint8, torch.uint16, torch.int32, torch.uint64),
    ],
)
def test_numbers_that_are_not_finite_are_found(dtype: torch.dtype) -> None:
    assert all_finite(torch.zeros(0, dtype=dtype))
    assert all_finite(torch.arange(10).to(dtype))
    if dtype.is_floating_point or dtype.is_complex:
        for value in (torch.nan, torch.inf, -torch.inf):
            for place in range(3):
                tensor = torch.ones(3, dtype=dtype)
                tensor[place] = value
                assert not all_finite(tensor)
