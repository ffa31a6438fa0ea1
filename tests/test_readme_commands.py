"""The commands of the README and the docs: their options exist, and the README's way to a world of one's own works."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hwm_env.arguments import parse_config
from hwm_env.cli.parsing import parse
from hwm_env.reference.rendering import can_render
from tests.test_arguments import CONFIGS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def documented_commands() -> Iterator[list[str]]:
    """Yields the words of all command lines in the pages and the docs that start one of our programs."""
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words[:1] == ["hwm-env"] or (words[:2] == ["python", "-m"] and words[2] in PARSED):
                    yield words


PARSED = {module.removesuffix(".__main__"): (module, config) for module, config in CONFIGS.items()}


@pytest.mark.parametrize("words", list(documented_commands()), ids=" ".join)
def test_documented_commands_have_options_that_exist(words: list[str]) -> None:
    if words[0] == "hwm-env":
        parse(words[1:])
        return
    pytest.importorskip("stable_baselines3")
    module, config = PARSED[words[2]]
    parse_config(getattr(import_module(module), config), words[3:], program=words[2])


def test_most_commands_are_documented() -> None:
    documented = {words[1] for words in documented_commands() if words[0] == "hwm-env"}
    assert len(documented) >= 12


@pytest.mark.slow
def test_from_a_directory_of_videos_to_a_world_that_plays(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (commands,) = [block.splitlines() for block in blocks if block.startswith("hwm-env tokenize my-videos")]
    assert len(commands) == 4
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown = ""
    for command in ["hwm-env collect my-videos --videos --episodes 4", *commands]:
        if command.startswith("hwm-env train"):
            # Half of the steps, with a third of the layers, are enough to see that it learns.
            command += " --steps 24 --report-every 12 --model.num-layers 2 --model.shared-layers-start 1"
        if command.startswith("hwm-env generate"):
            command += " --steps 4"
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        shown = done.stdout
    assert shown == "(64, 64, 3)\n"
    run = tmp_path / "runs/mine"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [12, 24]
    first, second = (line["validation_next_clip_loss"] for line in log)
    assert second < min(first - 0.2, math.log(64_000) - 0.4), "it has learned nothing: all tokens are equally likely"
    for directory in (run / "comparisons", run / "videos"):
        videos = list(directory.glob("sample_*_comparison.mp4"))
        assert len(videos) == 4
        assert all(video.stat().st_size > 10_000 for video in videos)
        assert json.loads((directory / "metrics.json").read_text())["mean"]["model"]["psnr_db"] > 8
    weights = load_file(run / "checkpoint/model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
