"""Prints pip constraints for the oldest releases that pyproject.toml admits: `make test-oldest` installs those."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest() -> Iterator[str]:
    """Yields `name==version` for each dependency of the package and of the extras that users need."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in ("dev", "docs")]
    for requirement in sorted({line for lines in (project["dependencies"], *extras) for line in lines}):
        bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
        assert bound is not None, f"expected NAME>=VERSION in pyproject.toml, got {requirement!r}"
        yield f"{bound[1]}=={bound[2]}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in oldest())
