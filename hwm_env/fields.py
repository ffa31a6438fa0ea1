"""Checks values from outside against the annotations of fields and arguments.

Annotations such as `int`, `Literal["a", "b"] | None` or `Annotated[float, Gt(0)]` give types and limits, which pydantic
checks strictly. Whole numbers count as numbers, and NumPy scalars as Python's. A text is never a number, a bool never a
whole number, and NaN and infinity are never allowed.
"""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, ConfigDict, InstanceOf, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from hwm_env.errors import InvalidInputError
from hwm_env.types import ACTION_NAMES, Float64Array

Count = Annotated[int, Ge(1), Lt(2**31)]
"""A number of things, at least one."""
CountOrZero = Annotated[int, Ge(0), Lt(2**31)]
"""A number of things, possibly none."""
Width = Annotated[int, Ge(1), Le(2**16)]
"""Number of channels of a network."""
Depth = Annotated[int, Ge(0), Le(2**10)]
"""Number of layers or blocks of a network."""
Side = Annotated[int, Ge(1), Le(2**10)]
"""Number of rows or columns of a token grid."""
Seed = Annotated[int, Ge(0), Lt(2**32)]
"""Seed of a training run."""
WorldSeed = Annotated[int, Ge(0), Lt(2**63)]
"""Seed of a row's noise in a simulator."""
EnvSeed = Annotated[int, Ge(0)]
"""Seed of an environment's generator, as in Gymnasium."""
NumWorlds = Annotated[int, Ge(1), Le(2**16)]
"""Number of rows that are computed together."""
Share = Annotated[float, Ge(0), Le(1)]
"""A share of a whole, or a probability."""
Decay = Annotated[float, Ge(0), Lt(1)]
"""Decay of a running average."""
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]


def _action_name(name: str) -> str:
    if name not in ACTION_NAMES:
        raise PydanticCustomError("action_name", "one of {names}", {"names": ", ".join(ACTION_NAMES)})
    return name


def _levels(levels: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(levels) >= _MOST_CODES:
        raise PydanticCustomError("codebook", "levels whose product is below {most}", {"most": _MOST_CODES})
    return levels


FSQLevels = Annotated[tuple[Annotated[int, Ge(2)], ...], Len(1), AfterValidator(_levels)]
"""Levels of each FSQ digit of a token."""
ActionName = Annotated[str, AfterValidator(_action_name)]
"""Name of one of an action's 25 numbers."""

T = TypeVar("T", bound="CheckedFields")

_MOST_CODES: Final = 2**31
"""Tokens are int32."""
_STRICT: Final = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_WORDS: Final = {
    "bool_type": "True or False",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "is_instance_of": "a {class}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "dict_type": "a dict",
    "mapping_type": "a dict",
    "missing": "given",
    "literal_error": "one of {expected}",
    "string_type": "a text",
    "sequence_str": "a sequence, not one text",
    "too_long": "at most {max_length} items",
    "too_short": "{min_length} or more items",
    "tuple_type": "a tuple",
}
"""Our wording of pydantic's kinds of error."""


class CheckedFields:
    """Base of dataclasses whose fields are checked against their annotations on construction."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    """How pydantic checks such a dataclass as a field of another."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError that names the first invalid field."""
        hints = _hints(type(self))  # type: ignore[arg-type]
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), hints[field.name]))
        self.check_together()

    def check_together(self) -> None:
        """Raises InvalidInputError if fields do not fit each other, with their names; does nothing by default."""


def checked(name: str, value: object, kind: Any) -> Any:
    """Checks a value from outside.

    Args:
        name: name of the argument or field, for the error.
        value: the value to check.
        kind: annotation that the value must match.

    Returns:
        The value, with NumPy scalars converted to Python's; tuples, lists and dicts are copied.

    Raises:
        InvalidInputError: the value does not match; names the expected kind and the value.
    """
    try:
        _adapter(kind).validate_python(plain := _plain(value))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        place = _place(details[0], value)
        expected = dict.fromkeys(_expected(detail) for detail in details if _place(detail, value) == place)
        if not place and type(None) in get_args(kind):
            expected["None"] = None
        raise InvalidInputError(
            f"{name}{place} must be {' or '.join(expected)}, got {short(details[0]['input'])}"
        ) from None
    return plain


def real_numbers(name: str, value: object, expected: str) -> Float64Array:
    """Checks an array of numbers from outside, such as an action.

    Args:
        name: name of the argument, for the error.
        value: an array, or anything that NumPy converts to one.
        expected: description of the expected array, for the error.

    Returns:
        A float64 copy.

    Raises:
        InvalidInputError: the value is not an array, or does not hold whole or real numbers.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # A foreign object's conversion may raise anything.
        raise InvalidInputError(f"{name}: expected {expected}, got {type(value).__name__}: {error}") from error
    if array.dtype.kind not in "iuf":
        raise InvalidInputError(f"{name}: expected {expected}, got {type(value).__name__} of {array.dtype}")
    return array.astype(np.float64)


def from_json(cls: type[T], content: object) -> T:
    """Builds a dataclass of checked fields from the content of a JSON object; lists become tuples.

    Raises:
        InvalidInputError: the content is not an object, or a field is unknown, missing or invalid.
    """
    if not isinstance(content, Mapping):
        raise InvalidInputError(f"expected an object with the fields of {cls.__name__}, got {short(content)}")
    known = fields(cls)  # type: ignore[arg-type]
    needed = {field.name for field in known if field.default is MISSING and field.default_factory is MISSING}
    unknown, missing = sorted(content.keys() - {field.name for field in known}), sorted(needed - content.keys())
    if unknown or missing:
        raise InvalidInputError(f"{cls.__name__}: unknown fields {short(unknown)}, missing fields {missing}")
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


def short(value: object) -> str:
    """Returns a value as text for an error message: on one line, shortened if long."""
    shown = _SHOWN.repr(value)
    return " ".join(shown.split())


_SHOWN: Final = reprlib.Repr()
_SHOWN.maxother = _SHOWN.maxstring = _SHOWN.maxlong = 80


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    if get_origin(kind) is Annotated and is_dataclass(get_args(kind)[0]):
        # Annotations of a whole config are for the command line.
        return _adapter(get_args(kind)[0])
    return TypeAdapter(InstanceOf[kind]) if is_dataclass(kind) else TypeAdapter(kind, config=_STRICT)


def _plain(value: object) -> object:
    """Converts NumPy scalars to Python's, also within tuples, lists and dicts."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is tuple:
        return tuple(map(_plain, value))
    if type(value) is list:
        return list(map(_plain, value))
    if type(value) is dict:
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _expected(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"])
    if words is None:
        return detail["msg"].removeprefix("Input should be ")
    context = detail.get("ctx", {})
    return words.format(
        **{name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    )


def _place(detail: ErrorDetails, value: object) -> str:
    """Returns the place of the error in a container, such as "[2]"."""
    if not isinstance(value, tuple | list | Mapping):
        return ""
    return "".join(f"[{key!r}]" for key in detail["loc"] if isinstance(key, int) or key in value)
