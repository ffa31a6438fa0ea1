"""Smaller number types stay close to float32, and compiled blocks compute the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Int8Linear, convert, rounded
from hwm_env.model.presets import TINY
from tests.model.inputs import awake, random_inputs


def make_model() -> MaskedHWM:
    return awake(MaskedHWM(TINY, torch.Generator().manual_seed(0)))


@torch.no_grad()
def cached_features(model: MaskedHWM) -> Tensor:
    v_p, v_f, a_p, a_f = random_inputs(model)
    history = model.encode_history(v_p.transpose(1, 2), a_p)
    return model.next_features(model.prepare_next(history, a_f.unsqueeze(1)), v_f.transpose(1, 2))[0].float()


def test_rounding_is_within_half_a_step_of_the_largest_number_of_a_vector() -> None:
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-3, 1, 7, 100, 0]]).t()
    whole, scale = rounded(rows)
    assert whole.dtype == torch.int8
    assert torch.allclose(scale.squeeze(1) * 127, rows.abs().amax(dim=1))
    assert ((whole * scale - rows).abs() <= scale / 2 * 1.001).all()


@pytest.mark.parametrize("bias", [True, False])
def test_an_int8_layer_equals_its_product_in_whole_numbers(bias: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 8, bias=bias), torch.randn(2, 5, 24)
    weight, weight_scale = rounded(linear.weight.detach())
    whole, scale = rounded(x.flatten(0, 1))
    expected = (whole.double() * scale) @ (weight.double() * weight_scale).t()
    if bias:
        expected += linear.bias.detach()
    assert torch.allclose(Int8Linear(linear)(x).flatten(0, 1).double(), expected, atol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("int8", 0.05)])
def test_features_stay_close_to_those_of_float32(precision: str, tolerance: float) -> None:
    exact, rough = cached_features(make_model()), cached_features(convert(make_model(), precision))
    difference = (exact - rough).norm() / exact.norm()
    assert 0 < difference < tolerance


def test_bfloat16_halves_the_weights_and_spares_the_action_statistics() -> None:
    model = convert(make_model(), "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.actions.action_mean.dtype == model.rotation_cos.dtype == torch.float32


@pytest.mark.parametrize(("is_fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_what_the_hardware_has(
    fast_bfloat16: Callable[[bool], None], is_fast: bool, expected: torch.dtype
) -> None:
    fast_bfloat16(is_fast)
    assert {parameter.dtype for parameter in convert(make_model(), "auto").parameters()} == {expected}


def test_int8_replaces_the_layers_of_the_blocks() -> None:
    model = convert(make_model(), "int8")
    linear = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    assert not any(name.startswith("blocks") for name in linear)
    assert "head.project" in linear
    assert sum(isinstance(module, Int8Linear) for module in model.modules()) > 10


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'auto', 'float32', 'bfloat16' or 'int8', got 'fp8'"):
        convert(make_model(), "fp8")


@pytest.mark.slow
def test_blocks_compile_as_one_graph_each_for_decoding() -> None:
    """Graphs are traced but run by PyTorch; compiled C++ is tested by the benchmark."""
    model, graphs = make_model(), []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    for block in model.blocks:
        block.compile(backend=backend, fullgraph=True)
    assert torch.equal(cached_features(model), cached_features(make_model()))
    assert len(graphs) == TINY.num_layers
