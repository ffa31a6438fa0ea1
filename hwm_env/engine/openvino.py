"""Runs a function of one row in OpenVINO, for any number of rows."""

import threading
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from hwm_env.engine.functions import RowFunction
from hwm_env.engine.onnx import onnx_bytes
from hwm_env.errors import require_extra


class OpenVINOFunction:
    """A function of one row that OpenVINO computes, each row alone and several at the same time.

    The first call converts it to ONNX, see `onnx_bytes`, and compiles it. A copy or a pickle is compiled again.

    Args:
        function: the function.
        name: its name in the cache.
        key: everything that decides its results, besides the code.
        precision: number type of the matrix products, "float32" or "bfloat16".
    """

    def __init__(self, function: RowFunction, name: str, key: str, precision: str = "float32") -> None:
        self._function = function
        self._input_names = tuple(function.examples())
        self._name = name
        self._key = key
        self._precision = precision
        self._lock = threading.Lock()
        self._requests: dict[tuple[int, int], list[Any]] = {}

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
        num_rows, by_name = inputs[0].shape[0], dict(zip(self._input_names, inputs, strict=True))
        with self._lock:
            requests = self._compiled(num_rows)
            model = requests[0].get_compiled_model()
            outputs = [
                torch.empty(num_rows, *list(output.shape)[1:], dtype=_TYPES[output.element_type.get_type_name()])
                for output in model.outputs
            ]
            # The converted function lacks inputs without an effect.
            names = [port.get_names() & by_name.keys() for port in model.inputs]
            used = [by_name[name] for (name,) in names]
            # A request shares the memory of its arrays, which must live until it has finished.
            in_use: list[Any] = [None] * len(requests)
            for row in range(num_rows):
                request = requests[row % len(requests)]
                request.wait()
                arrays = [part[row : row + 1].contiguous().numpy() for part in (*used, *outputs)]
                in_use[row % len(requests)] = arrays
                for place, array in enumerate(arrays):
                    tensor = ov.Tensor(array, shared_memory=True)
                    if place < len(used):
                        request.set_input_tensor(place, tensor)
                    else:
                        request.set_output_tensor(place - len(used), tensor)
                request.start_async()
            for request in requests:
                request.wait()
        return outputs

    def _compiled(self, num_rows: int) -> list[Any]:
        """Returns requests: one that all threads work on for a single row, else one a thread."""
        threads = torch.get_num_threads()
        streams = 1 if num_rows == 1 else threads
        if (threads, streams) not in self._requests:
            model = _core().read_model(onnx_bytes(self._function, self._name, self._key))
            properties = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
                "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self._precision],
                # Other processes may compute on the same cores.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = _core().compile_model(model, "CPU", properties)
            self._requests[threads, streams] = [compiled.create_infer_request() for _ in range(streams)]
        return self._requests[threads, streams]


_TYPES: Final = {"f32": torch.float32, "i32": torch.int32, "i64": torch.int64, "u8": torch.uint8}


@cache
def _core() -> Any:
    return require_extra("openvino", "engine").Core()
