"""The foreign checkpoint in tests/fixtures, and copies that a test may change."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwm_env.model.masked_hwm import MaskedHWM

FIXTURE = Path(__file__).parents[1] / "fixtures/masked_hwm_checkpoint"


def foreign_tensors() -> dict[str, Tensor]:
    return dict(torch.load(FIXTURE / "pytorch_model.bin", weights_only=True))


def foreign_fields() -> dict[str, object]:
    return dict(json.loads((FIXTURE / "config.json").read_text()))


def write_foreign(directory: Path, tensors: object, fields: dict[str, object] | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    torch.save(tensors, directory / "pytorch_model.bin")
    if fields is not None:
        (directory / "config.json").write_text(json.dumps(fields))
    return directory


def logits_error(model: MaskedHWM) -> float:
    """Returns the largest difference to the logits of the original implementation."""
    with np.load(FIXTURE / "io.npz") as arrays:
        v_p, v_f, a_p, a_f, expected = (
            torch.from_numpy(arrays[name]) for name in ("v_p", "v_f", "a_p", "a_f", "logits")
        )
    with torch.no_grad():
        return float((model(v_p, v_f, a_p, a_f) - expected).abs().max())
