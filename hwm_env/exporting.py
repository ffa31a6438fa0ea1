"""`hwm-env export`: writes a checkpoint as ONNX files, with an example that plays them without PyTorch."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from hwm_env.arguments import CheckpointNameArgument
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import check_writable, json_bytes, write_files
from hwm_env.decoding.config import DecodingConfig, Order
from hwm_env.engine.compiled import check_supported
from hwm_env.engine.eager import EagerEngine
from hwm_env.engine.functions import key_of, row_functions
from hwm_env.engine.onnx import onnx_bytes
from hwm_env.envs.actions import bounds
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, NotNegative
from hwm_env.reporting import PYTHON, Caller
from hwm_env.simulator import WorldSimulator
from hwm_env.torch_state import plain_torch

EXAMPLE: Final = Path(__file__).parent / "engine" / "play.py"
"""The example that is copied beside the functions; it imports onnxruntime, which an export does not need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(CheckedFields):
    """What is exported, with which settings of decoding, which stay fixed."""

    checkpoint: CheckpointNameArgument = "room-64"
    """Name, directory or Hugging Face id of a checkpoint with a built-in tokenizer."""
    out: Path = Path("out/onnx")
    """Directory for the files; those of an earlier export are replaced."""
    decoding_steps: Count | None = None
    """Decoding steps a clip; by default the checkpoint's."""
    temperature: NotNegative | None = None
    """Temperature of the sampling; by default the checkpoint's."""
    order: Order | None = None
    """Order in which tokens are revealed; by default the checkpoint's."""


@plain_torch()
def export(config: ExportConfig, caller: Caller = PYTHON) -> Path:
    """Writes a checkpoint as ONNX files, with an example that plays them without PyTorch (needs the engine extra).

    The functions compute one row. A world that they make keeps encoded clips from step to step (history "streaming").

    Returns:
        The directory.

    Raises:
        CheckpointError: the checkpoint is unknown or damaged.
        InvalidInputError: the checkpoint or a setting is not supported.
        MissingExtraError: onnx or onnxscript is not installed.
        SavingError: a file cannot be written.
    """
    check_writable(config.out / "world.json")
    checkpoint = load(config.checkpoint)
    settings = {"steps": config.decoding_steps, "temperature": config.temperature, "order": config.order}
    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    decoding = replace(checkpoint.decoding, history="streaming", **changes)
    decoding.check_model(checkpoint.model.config)
    check_supported(checkpoint, decoding)
    if checkpoint.starts.tokens.shape[1] < checkpoint.model.config.num_past_clips:
        raise InvalidInputError(
            f"starts must have full histories of {checkpoint.model.config.num_past_clips} clips, got "
            f"{checkpoint.starts.tokens.shape[1]}; export a checkpoint with longer starts"
        )
    write_files((config.out / name, content) for name, content in _contents(checkpoint, decoding))
    caller.show(f"{config.out}\nplay it: python {config.out / 'play.py'} (needs numpy and onnxruntime)")
    return config.out


def _contents(checkpoint: Checkpoint, decoding: DecodingConfig) -> Iterator[tuple[str, bytes]]:
    functions = row_functions(checkpoint, decoding)
    del functions["last_frame"]
    for name, function in functions.items():
        yield f"{name}.onnx", onnx_bytes(function, name, key_of(name, checkpoint, decoding))
    starts = io.BytesIO()
    np.savez_compressed(starts, **cast(dict[str, Any], _starts(checkpoint, decoding)))
    yield "starts.npz", starts.getvalue()
    yield "play.py", EXAMPLE.read_bytes()
    scene, (low, high) = checkpoint.scene, bounds(checkpoint.statistics, checkpoint.robot)
    about = {
        "weights": checkpoint.identity,
        "num_past_clips": checkpoint.model.config.num_past_clips,
        "fsq_levels": list(checkpoint.tokenizer.fsq_levels),
        "history_weights": None if scene is None else list(scene.use.history_weights),
        "action_names": list(checkpoint.robot.names_of_numbers),
        "action_low": low.tolist(),
        "action_high": high.tolist(),
        "functions": {
            name: {
                "inputs": {key: list(example.shape) for key, example in function.examples().items()},
                "outputs": list(function.outputs),
            }
            for name, function in functions.items()
        },
    }
    yield "world.json", json_bytes(about)


def _starts(checkpoint: Checkpoint, decoding: DecodingConfig) -> dict[str, np.ndarray]:
    """Returns the recorded starts as arrays, the first axis for starts."""
    num_starts = len(checkpoint.starts)
    # A strict simulator leaves histories to be encoded when it steps, which never happens here.
    state = WorldSimulator(checkpoint, decoding, strict=True).reset(range(num_starts), [0] * num_starts)
    arrays = {"tokens": state.tokens, "chunks": state.actions}
    if state.belief is not None:
        arrays |= {"pose": state.belief.poses, "covariance": state.belief.covariances}
    scene_inputs = EagerEngine(checkpoint, checkpoint.model, decoding).scene_inputs(state)
    if scene_inputs is not None:
        arrays["scene_inputs"] = scene_inputs
    return {name: part.numpy() for name, part in arrays.items()}
