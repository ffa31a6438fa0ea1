"""The commands of the README and the docs: their options exist, and the way to a world of one's own works."""

import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hwm_env.arguments import parse_config
from hwm_env.cli import main
from hwm_env.cli.commands import COMMANDS
from hwm_env.cli.parsing import parse
from hwm_env.reference.rendering import can_render
from tests.pages import PAGES, ROOT, blocks_of, text_of
from tests.test_arguments import CONFIGS

PARSED = {module.removesuffix(".__main__"): (module, config) for module, config in CONFIGS.items()}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
TUTORIAL = "docs/tutorials/recordings.md"
SMALLER = {
    # Half of the steps, with a third of the layers, are enough to see that it learns.
    "train": "--steps 24 --report-every 12 --model.num-layers 2 --model.shared-layers-start 1",
    "generate": "--steps 4",
}
"""Options that shorten the commands of the tutorial."""


def documented_commands() -> Iterator[list[str]]:
    """Yields the words of all command lines in the README and the docs, apart from those that show a command's help."""
    for page in PAGES:
        for block in blocks_of(page, "sh"):
            for line in block.code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words and words[-1] != "--help":
                    words[0] = words[0].removeprefix(".venv/bin/")
                    yield words


@pytest.mark.parametrize("words", list(documented_commands()), ids=" ".join)
def test_documented_commands_have_options_that_exist(words: list[str]) -> None:
    match words:
        case ["hwm-env", *options]:
            parse(options)
        case ["accelerate" | "torchrun", *launcher] if "hwm_env" in launcher:
            files = [file for option, file in pairwise(launcher) if option == "--config_file"]
            assert all((ROOT / file).exists() for file in files)
            parse(launcher[launcher.index("hwm_env") + 1 :])
        case ["python", "-m", program, *options] if program in PARSED:
            pytest.importorskip("stable_baselines3")
            module, config = PARSED[program]
            parse_config(getattr(import_module(module), config), options, program=program)
        case ["python", "-m", program, *_]:
            assert find_spec(program) is not None
        case ["python", "-c", code, *_]:
            compile(code, "python -c", "exec")
        case ["make", target, *_]:
            assert target in TARGETS
        case ["pre-commit", "install"]:
            assert (ROOT / ".pre-commit-config.yaml").exists()
        case ["pip", "install", *_, "-e" | "--editable", project]:
            assert set(project.removeprefix(".[").removesuffix("]").split(",")) <= EXTRAS
        case _:
            pytest.fail("nothing here checks such a command")


def test_most_commands_are_documented() -> None:
    documented = {words[1] for words in documented_commands() if words[0] == "hwm-env"}
    assert len(documented) >= 12


def test_the_reference_has_every_command() -> None:
    sections = [
        f"## {name}\n\n{command.summary}\n\n```sh\nhwm-env {name} --help\n```\n" for name, command in COMMANDS.items()
    ]
    _, *found = re.split(r"^(?=## )", text_of("docs/reference/commands.md"), flags=re.MULTILINE)
    assert [section.rstrip() for section in found] == [section.rstrip() for section in sections]


def commands_to_a_world(page: str) -> list[str]:
    """Returns the command lines of a page that lead from videos to a world; there may be none."""
    blocks = [block.code for block in blocks_of(page, "sh") if block.code.startswith("hwm-env tokenize my-videos")]
    return blocks[0].splitlines() if blocks else []


def test_the_readme_and_the_tutorial_have_the_same_commands() -> None:
    assert len(commands_to_a_world(TUTORIAL)) == 4
    assert commands_to_a_world("README.md") in ([], commands_to_a_world(TUTORIAL))


@pytest.mark.slow
def test_from_a_directory_of_videos_to_a_world_that_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    monkeypatch.chdir(tmp_path)
    *commands, play = commands_to_a_world(TUTORIAL)
    for command in ["hwm-env collect my-videos --videos --episodes 4", *commands]:
        _, *words = shlex.split(command)
        assert main([*words, *SMALLER.get(words[0], "").split()]) == 0
    capsys.readouterr()
    exec(shlex.split(play)[-1], {})
    assert capsys.readouterr().out == "(64, 64, 3)\n"
    run = tmp_path / "runs/mine"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [12, 24]
    first, second = (line["validation_next_clip_loss"] for line in log)
    assert second < min(first - 0.3, math.log(64_000) - 0.4), "it has learned nothing: all tokens are equally likely"
    for directory in (run / "comparisons", run / "videos"):
        videos = list(directory.glob("sample_*_comparison.mp4"))
        assert len(videos) == 4
        assert all(video.stat().st_size > 10_000 for video in videos)
        assert json.loads((directory / "metrics.json").read_text())["mean"]["model"]["psnr_db"] > 8
    weights = load_file(run / "checkpoint/model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
    for number, block in enumerate(blocks_of(TUTORIAL, "python")):
        exec(compile(block.code, f"{TUTORIAL}, block {number}", "exec"), {})
