"""Functions of one row as ONNX files, converted once and kept on disk."""

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import torch

from hwm_env.data.files import write_bytes
from hwm_env.engine.functions import RowFunction
from hwm_env.errors import SavingError, require_extra

PACKAGE: Final = Path(__file__).parents[1]
CACHE_VARIABLE: Final = "HWM_CACHE"
"""Environment variable with the directory of converted functions; by default hwm-env in the user's cache."""

logger = logging.getLogger(__name__)


def onnx_bytes(function: RowFunction, name: str, key: str) -> bytes:
    """Returns a function as the content of an ONNX file, from the cache or converted, which takes seconds.

    Args:
        function: the function.
        name: its name in the cache.
        key: everything that decides its results, besides the code.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    file = cache_directory() / f"{name}-{_hash(key, _code(), torch.__version__)}.onnx"
    if file.exists():
        return file.read_bytes()
    for module in ("onnx", "onnxscript"):
        require_extra(module, "engine")
    logger.warning("Converting the function %r of the world to ONNX; this takes seconds, once.", name)
    with _quiet():
        program = torch.onnx.export(
            function.exported(),
            input_names=list(function.examples()),
            output_names=list(function.outputs),
            dynamo=True,
            # Runtimes optimise.
            optimize=False,
            verbose=False,
        )
    assert program is not None, "no file was given"
    content: bytes = program.model_proto.SerializeToString()
    try:
        write_bytes(file, content)
    except SavingError as error:
        logger.warning("The converted function is not kept: %s", error)
    return content


def cache_directory() -> Path:
    """Returns the directory of converted functions."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwm-env"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what PyTorch's exporter says about its own code and about packages that are not needed."""
    talkative = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = talkative.level
    talkative.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        talkative.setLevel(before)


@cache
def _code() -> str:
    """Returns a hash of this package's code."""
    return _hash(*(file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
