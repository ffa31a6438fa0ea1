"""Tries many inputs and counts the answers: `python -m tests.fuzz --inputs 10000` (also as `make fuzz`).

An input is determined by its kind and number: `--kind actions --first 17 --inputs 1` tries one again.
"""

import json
import logging
import os
import resource
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tyro.conf import UseAppendAction

from hwm_env.arguments import parse_config
from hwm_env.checkpoint import save
from hwm_env.fields import CheckedFields, Count, CountOrZero
from tests.conftest import make_tiny_checkpoint
from tests.fuzz import arguments, contents, foreign_code, paths
from tests.fuzz.answers import GOOD, answer

KINDS = {**arguments.KINDS, **contents.KINDS, **foreign_code.KINDS, **paths.KINDS}
MOST_MEMORY = 3 * 2**30
"""More than all inputs need; allocating terabytes fails."""


def run(kinds: list[str], first: int, count: int) -> dict[str, Counter[str]]:
    """Returns the counts of answers for each kind; a wrong answer is printed with the input's number."""
    counts = {kind: Counter[str]() for kind in kinds}
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        save(make_tiny_checkpoint(), Path(directory) / "checkpoint")
        worlds = arguments.Worlds(Path(directory) / "checkpoint")
        files = contents.Files(Path(directory) / "checkpoint", Path(directory))
        for number in range(first, first + -(-count // len(kinds))):
            for kind in kinds:
                rng = np.random.default_rng([zlib.crc32(kind.encode()), number])
                attempt = KINDS[kind](rng, worlds if kind in arguments.KINDS else files)  # type: ignore[operator]
                given = answer(attempt)
                counts[kind][given] += 1
                if given not in GOOD:
                    print(f"{kind} {number}: {given}", file=sys.stderr, flush=True)
    return counts


@dataclass(frozen=True, kw_only=True, slots=True)
class FuzzConfig(CheckedFields):
    """Tries many inputs and counts the answers."""

    inputs: Count = 10_000
    """Number of inputs of all kinds together."""
    first: CountOrZero = 0
    """Number of the first input of each kind."""
    kind: UseAppendAction[tuple[Literal[*KINDS], ...]] = ()  # type: ignore[valid-type]
    """Kind of inputs; by default all."""
    json: Path | None = None
    """JSON file for the counts."""


def main() -> int:
    """Returns 1 if an answer was wrong."""
    given = parse_config(FuzzConfig, program="python -m tests.fuzz")
    file = given.json and given.json.resolve()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    # The limit includes what is already loaded.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY, resource.RLIM_INFINITY))
    counts = run(list(given.kind) or list(KINDS), given.first, given.inputs)
    for kind, answers in counts.items():
        print(f"{kind:20}", ", ".join(f"{number} {name}" for name, number in answers.most_common()))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(counts, indent=2))
    return int(any(name not in GOOD for answers in counts.values() for name in answers))


if __name__ == "__main__":
    sys.exit(main())
