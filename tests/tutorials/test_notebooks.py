"""The notebooks run from top to bottom, and the repository holds them without their outputs."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbformat")

import nbformat

from hwm_env.reference.rendering import can_render

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.ipynb"))
LONGEST_S = 300
"""Longer than a cell takes on a busy machine."""


def code_of(file: Path) -> list[Any]:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells, f"{file} has no code"
    return cells


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_outputs_are_stripped(file: Path) -> None:
    for number, cell in enumerate(code_of(file), start=1):
        assert (cell.outputs, cell.execution_count) == ([], None), f"{file}: code cell {number} has outputs; clear them"


@pytest.mark.slow
def test_the_first_steps_run(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    client = pytest.importorskip("nbclient")
    (file,) = (file for file in NOTEBOOKS if file.stem == "first_steps")
    notebook = nbformat.read(file, as_version=4)
    client.NotebookClient(notebook, timeout=LONGEST_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert sorted(shown) == ["image/gif"] * 2 + ["image/png"] * 3
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
