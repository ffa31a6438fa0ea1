"""Values for fuzzing that are invalid in most places, and a few that are valid in some."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

Rng = np.random.Generator


class Hostile:
    """An object whose methods all fail."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("no array")

    def __len__(self) -> int:
        raise RuntimeError("no length")


VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    17,
    2**31,
    2**63,
    10**400,
    0.0,
    0.5,
    1.0,
    2.5,
    -0.0,
    1e300,
    5e-324,
    float("nan"),
    float("inf"),
    -float("inf"),
    1 + 2j,
    "",
    "1",
    "pixels",
    "none",
    "\x00",
    "a" * 5000,
    "\udcff",
    "line\nbreak",
    b"1",
    (),
    (1,),
    (1, 2, 3),
    [],
    [1],
    [[1, 2], [3]],
    ["neck_pitch"],
    {},
    {"start": 1},
    {1: 2},
    set(),
    range(3),
    object(),
    Hostile(),
    int,
    print,
    lambda: None,
    Path("/nowhere"),
    np.int64(1),
    np.float32(0.5),
    np.bool_(True),
    np.float64("nan"),
    np.str_("chunk"),
    np.array(1),
    np.array([1, 2]),
    np.array([1.5]),
    np.array(["a"]),
    np.array([object()]),
    np.zeros((2, 17, 25)),
    np.zeros(25, np.complex64),
    np.array([], np.float32),
    np.datetime64("2026-01-01"),
    torch.tensor(1),
    torch.zeros(2, requires_grad=True),
    torch.zeros(25, dtype=torch.bfloat16),
    torch.device("cpu"),
    NotImplemented,
    Ellipsis,
)
JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    2.5,
    10**9,
    2**64,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "1",
    "x" * 5000,
    "\ud800",
    [],
    [1],
    [1, 2, 3, 4],
    [[1]],
    [None],
    ["a", 1],
    [10**9, 10**9],
    {},
    {"a": 1},
)


def pick(rng: Rng, values: Any) -> Any:
    """Returns one of the values."""
    return values[int(rng.integers(len(values)))]


def mutated(rng: Rng, content: Any) -> Any:
    """Returns a copy of JSON content with one value changed, missing or added."""
    changed = copy.deepcopy(content)
    parent, key = pick(rng, list(_places(changed)))
    action = rng.integers(8)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent["surplus"] = pick(rng, JSON_VALUES)
    else:
        parent[key] = pick(rng, JSON_VALUES)
    return changed


def nasty_json(rng: Rng) -> bytes:
    """Returns bytes instead of a valid JSON file."""
    makers = (
        lambda: b"[" * 10_000,
        lambda: b'{"a":' * 10_000,
        lambda: b"[" * 40_000_000,
        lambda: b"[" * 100_000 + b"]" * 100_000,
        lambda: b"",
        lambda: b"null",
        lambda: b"[]",
        lambda: b"\xff\xfe{}",
        lambda: b'{"format": 1e999}',
        lambda: b'{"format": ' + b"9" * 5000 + b"}",
        lambda: json.dumps({"format": 1, "model": {}}).encode(),
        lambda: bytes(rng.integers(0, 256, 300, dtype=np.uint8)),
    )
    return pick(rng, makers)()


def damaged(rng: Rng, content: bytes) -> bytes:
    """Returns a file's bytes cut short, lengthened or with some bytes changed."""
    action = rng.integers(4)
    if action == 0:
        return content[: int(rng.integers(len(content)))]
    if action == 1:
        return content + bytes(rng.integers(0, 256, 100, dtype=np.uint8))
    changed = np.frombuffer(content, np.uint8).copy()
    first = 0 if action == 2 else int(rng.integers(max(1, len(changed) - 50)))
    places = first + rng.integers(0, min(400, len(changed) - first), 4)
    changed[places] = rng.integers(0, 256, 4)
    return changed.tobytes()


def _places(content: Any) -> Any:
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])
