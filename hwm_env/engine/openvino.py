"""Runs a function of one row in OpenVINO, for any number of rows."""

import hashlib
import logging
import os
import tempfile
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from hwm_env.engine.functions import RowFunction
from hwm_env.errors import require_extra

PACKAGE: Final = Path(__file__).parents[1]
CACHE_VARIABLE: Final = "HWM_CACHE"
"""Environment variable with the directory of converted functions; by default hwm-env in the user's cache."""

logger = logging.getLogger(__name__)


class OpenVINOFunction:
    """A function of one row that OpenVINO computes, each row alone and several at the same time.

    It is converted at the first call, which takes seconds, and kept on disk for the next process. A copy or a pickle
    is compiled again.

    Args:
        function: the function.
        name: its name in the cache.
        key: hash of everything that decides its results, besides the code.
        precision: number type of the matrix products, "float32" or "bfloat16".
    """

    def __init__(self, function: RowFunction, name: str, key: str, precision: str = "float32") -> None:
        self.function = function
        self._name = name
        self._key = key
        self._precision = precision
        self._lock = threading.Lock()
        self._requests: dict[int, list[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_requests")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _requests={})

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Computes B rows.

        Args:
            inputs: the function's inputs, each [B, ...] and of the number type of its example.

        Returns:
            Its outputs, each [B, ...].
        """
        ov = require_extra("openvino", "engine")
        num_rows = inputs[0].shape[0]
        with self._lock:
            requests = self._compiled(ov, num_rows)
            model = requests[0].get_compiled_model()
            outputs = [
                torch.empty(num_rows, *list(output.shape)[1:], dtype=_TYPES[output.element_type.get_type_name()])
                for output in model.outputs
            ]
            # A request shares the memory of its arrays, which must live until it has finished.
            in_use: list[Any] = [None] * len(requests)
            for row in range(num_rows):
                request = requests[row % len(requests)]
                request.wait()
                arrays = [part[row : row + 1].contiguous().numpy() for part in (*inputs, *outputs)]
                in_use[row % len(requests)] = arrays
                for place, array in enumerate(arrays):
                    tensor = ov.Tensor(array, shared_memory=True)
                    if place < len(inputs):
                        request.set_input_tensor(place, tensor)
                    else:
                        request.set_output_tensor(place - len(inputs), tensor)
                request.start_async()
            for request in requests:
                request.wait()
        return outputs

    def _compiled(self, ov: Any, num_rows: int) -> list[Any]:
        """Returns requests: one that all threads work on for a single row, else one a thread."""
        threads = torch.get_num_threads()
        streams = min(threads, num_rows)
        streams = 1 if streams == 1 else threads
        if streams not in self._requests:
            properties = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
                "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self._precision],
                # Other processes may compute on the same cores.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = _core().compile_model(self._converted(ov), "CPU", properties)
            self._requests[streams] = [compiled.create_infer_request() for _ in range(streams)]
        return self._requests[streams]

    def _converted(self, ov: Any) -> Any:
        """Returns the function as OpenVINO's model, from the cache or converted and put there."""
        file = cache_directory() / f"{self._name}-{_hash(self._key, _code(), ov.__version__, torch.__version__)}.xml"
        if file.exists():
            return _core().read_model(file)
        logger.info("Converting %s for OpenVINO; this happens once and takes seconds.", self._name)
        shapes = [list(example.shape) for example in self.function.examples().values()]
        with warnings.catch_warnings():
            # PyTorch's exporter warns of its own code.
            warnings.simplefilter("ignore")
            model = ov.convert_model(self.function.exported(), input=shapes)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
                ov.save_model(model, Path(temporary) / file.name, compress_to_fp16=False)
                # The weights first: the other file shows that both are there.
                os.replace(Path(temporary) / f"{file.stem}.bin", file.with_suffix(".bin"))
                os.replace(Path(temporary) / file.name, file)
        except (OSError, RuntimeError) as error:
            logger.warning("%s cannot be kept in %s: %s", self._name, file.parent, error)
        return model


_TYPES: Final = {"f32": torch.float32, "i32": torch.int32, "i64": torch.int64, "u8": torch.uint8}


def cache_directory() -> Path:
    """Returns the directory of converted functions."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwm-env"


@cache
def _core() -> Any:
    return require_extra("openvino", "engine").Core()


@cache
def _code() -> str:
    """Returns a hash of this package's code."""
    return _hash(*(file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
