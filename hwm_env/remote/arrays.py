"""Arrays in JSON: nested lists, or `{"dtype", "shape", "data"}` with the bytes in base64."""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from hwm_env.fields import real_numbers, short

DTYPES: Final = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "int32": "<i4", "int64": "<i8", "uint8": "|u1"}
"""Number types of packed arrays, little-endian."""
_MOST_AXES: Final = 6
_SCHEMA: Final = {
    "description": "Numbers as nested lists, or packed: little-endian bytes in base64, the last axis running fastest.",
    "anyOf": [
        {"type": "array", "items": {}},
        {
            "type": "object",
            "properties": {
                "dtype": {"enum": list(DTYPES)},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": _MOST_AXES},
                "data": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["dtype", "shape", "data"],
            "additionalProperties": False,
        },
    ],
}


def packed(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Returns an array as a packed JSON object, which restores it to the bit."""
    data = np.ascontiguousarray(array, DTYPES[array.dtype.name])
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(data.tobytes()).decode()}


def unpacked(value: object) -> npt.NDArray[Any]:
    """Returns the array that JSON content stands for; of nested lists float64 or, of whole numbers, int64.

    Raises:
        InvalidInputError: it is neither nested lists of real numbers nor a packed array.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Mapping):
        return _from_bytes(value)
    numbers = real_numbers("numbers", value, "nested lists of finite numbers, or a packed array")
    if isinstance(value, list) and numbers.size and (numbers == np.floor(numbers)).all():
        exact = np.asarray(value)
        return exact if exact.dtype.kind == "i" else numbers
    return numbers


def _from_bytes(value: Mapping[str, Any]) -> npt.NDArray[Any]:
    dtype, shape, data = (value.get(name) for name in ("dtype", "shape", "data"))
    if set(value) != {"dtype", "shape", "data"} or not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"a packed array has a dtype of {list(DTYPES)}, a shape and data, got {short(dict(value))}")
    is_shape = isinstance(shape, list) and len(shape) <= _MOST_AXES and all(type(side) is int for side in shape)
    if not is_shape or not isinstance(shape, list) or min(shape, default=0) < 0 or not isinstance(data, str):
        raise ValueError(f"a packed array has a shape of whole numbers and data in base64, got shape {short(shape)}")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the data of a packed array must be base64 ({error})") from error
    expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if len(content) != expected:
        raise ValueError(f"{dtype} of shape {shape} has {expected} bytes, got {len(content)}")
    return np.frombuffer(content, DTYPES[dtype]).reshape(shape).astype(dtype)


def _listed(array: npt.NDArray[Any]) -> Any:
    return array.tolist()


Numbers = Annotated[
    npt.NDArray[Any],
    PlainValidator(unpacked),
    PlainSerializer(_listed, when_used="json"),
    WithJsonSchema(_SCHEMA),
]
"""An array as a field of a message; nested lists in answers."""
Packed = Annotated[
    npt.NDArray[Any],
    PlainValidator(unpacked),
    PlainSerializer(packed, when_used="json"),
    WithJsonSchema(_SCHEMA),
]
"""An array as a field of a message; packed in answers."""
