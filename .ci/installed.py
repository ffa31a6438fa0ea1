"""Checks an installed hwm_env in an environment without its extras; `.ci/wheel` runs it in an empty directory."""

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("hwm_env", "policies", "demos")
INTERNAL = ("hwm_env.engine.play", "hwm_env.service.", "demos.serve.", "demos.teleop.")
"""Beginnings of modules that may fail without naming an extra: an example to copy, and parts of programs that ask for
the extra before they import them."""


def check_files() -> None:
    """Checks that the installed files are those of the packages in the repository: no tests, docs or caches."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", *PACKAGES]
    wanted = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
    installed = {path.as_posix() for path in files("hwm-env") or ()}
    installed = {path for path in installed if not re.match(r"hwm_env-[^/]*\.dist-info/|.*/bin/hwm-env$", path)}
    assert installed == wanted, f"missing or too many: {sorted(installed ^ wanted)}"


def check_it_plays() -> None:
    """Resets the environment in a process of its own, and runs the README's first block of Python."""
    reset = "import gymnasium, hwm_env; gymnasium.make('HWM-v0').reset(seed=0)"
    (block, *_) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), flags=re.DOTALL)
    for code in (reset, block):
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def modules() -> Iterator[str]:
    """Yields the names of all installed modules but those that are programs when imported."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{name}.", onerror=lambda _: None))


def check_imports_name_their_extra() -> None:
    """Imports each module: it works, or names the extra to install."""
    for name in modules():
        if not name.endswith("__main__") and not name.startswith(INTERNAL):
            try:
                importlib.import_module(name)
            except ImportError as error:
                if "pip install 'hwm-env[" not in str(error):
                    raise


if __name__ == "__main__":
    check_files()
    check_it_plays()
    check_imports_name_their_extra()
