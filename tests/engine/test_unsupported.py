"""What the engine refuses, with the remedy."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwm_env.checkpoint import save
from hwm_env.errors import InvalidInputError, MissingExtraError
from hwm_env.exporting import ExportConfig, export
from hwm_env.simulator import WorldSimulator
from tests.engine.worlds import SAMPLED, small_checkpoint
from tests.scene.scenes import make_checkpoint


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"hwm-env\[engine\]"):
        WorldSimulator(small_checkpoint(), backend="openvino")


def test_a_missing_package_of_an_export_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"hwm-env\[engine\]"):
        export(ExportConfig(out=tmp_path))


def test_a_checkpoint_without_decoding_steps_is_not_exported(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(decoding=replace(SAMPLED, steps=0))
    save(checkpoint, tmp_path / "checkpoint")
    with pytest.raises(InvalidInputError, match="do not support decoding steps 0; choose 1 or more"):
        export(ExportConfig(checkpoint=str(tmp_path / "checkpoint"), out=tmp_path / "out"))


def test_settings_that_need_pytorch_are_refused() -> None:
    pytest.importorskip("openvino")
    checkpoint = small_checkpoint()
    with pytest.raises(InvalidInputError, match="history 'window'; choose history='streaming', or backend 'torch'"):
        WorldSimulator(checkpoint, replace(SAMPLED, history="window"), backend="openvino")
    with pytest.raises(InvalidInputError, match="precision 'float32' and 'bfloat16', got 'int8'"):
        WorldSimulator(checkpoint, precision="int8", backend="openvino")
    with pytest.raises(InvalidInputError, match="backend"):
        WorldSimulator(checkpoint, backend="tensorrt")  # type: ignore[arg-type]
    simulator = WorldSimulator(checkpoint, backend="openvino")
    with pytest.raises(InvalidInputError, match="window"):
        simulator.decoding = replace(SAMPLED, history="window")
    assert simulator.decoding == SAMPLED
