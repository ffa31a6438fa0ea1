"""The precision "auto" on devices with and without bfloat16 in hardware."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hwm_env import WorldSimulator, precision
from hwm_env.precision import has_fast_bfloat16, resolve_precision


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    has_fast_bfloat16.cache_clear()
    yield
    has_fast_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")], ids=repr)
def test_processors(
    monkeypatch: pytest.MonkeyPatch, device: torch.device | str, capabilities: dict[str, object], expected: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_fast_bfloat16(device) == expected
    monkeypatch.setattr(torch.cpu, "get_capabilities", None)
    assert has_fast_bfloat16(device) == expected, "asked once"


def test_without_onednn_no_processor_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert not has_fast_bfloat16("cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu avx2 avx512_bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2\nbugs\t\t: bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", True),
        ("nothing of the kind\n", False),
        (None, False),
    ],
)
def test_processors_that_pytorch_does_not_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, expected: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert has_fast_bfloat16("cpu") == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_fast_bfloat16("cuda:1") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_fast_bfloat16("cuda")


def test_other_devices_are_not_fast() -> None:
    assert not has_fast_bfloat16("mps")
    assert not has_fast_bfloat16(torch.device("meta"))


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_only_auto_depends_on_the_device(fast_bfloat16: Callable[[bool], None], is_fast: bool, expected: str) -> None:
    fast_bfloat16(is_fast)
    assert resolve_precision("auto", "cpu") == expected
    for named in ("float32", "bfloat16", "int8"):
        assert resolve_precision(named, "cpu") == named


@pytest.mark.parametrize(("is_fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_simulator_reports_what_auto_means(
    tiny_checkpoint: Path, fast_bfloat16: Callable[[bool], None], is_fast: bool, expected: torch.dtype
) -> None:
    fast_bfloat16(is_fast)
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, precision="auto")
    assert f"torch.{simulator.precision}" == str(expected)
    assert next(simulator.model.parameters()).dtype == expected
    assert WorldSimulator.from_pretrained(tiny_checkpoint).precision == "float32"
