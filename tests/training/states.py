"""Reads and compares the contents of a run's checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hwm_env.training.runs.run import STATE_FILE


def saved(directory: Path) -> dict[str, Any]:
    """Returns the state from which a run resumes, and the averaged weights as saved."""
    state = torch.load(directory / STATE_FILE, weights_only=True)
    return {"state": state["parts"], "shipped": load_file(directory / "model.safetensors")}


def assert_same_bits(first: Path, second: Path) -> None:
    """Asserts that the contents of two checkpoints are equal to the bit."""
    ours, others = dict(leaves(saved(first))), dict(leaves(saved(second)))
    assert ours.keys() == others.keys()
    for name, leaf in ours.items():
        other = others[name]
        assert torch.equal(leaf, other) if isinstance(leaf, torch.Tensor) else leaf == other, name


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value in nested dictionaries and lists with its path."""
    if isinstance(tree, dict | list | tuple):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(part, f"{name}/{key}")
    else:
        yield name, tree
