"""Fuzzes the results of third-party code: TorchScript, zips of Stable-Baselines3, policies and their factories."""

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from hwm_env.checkpoint import load
from hwm_env.envs.learned import LearnedWorld
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.evaluation.policies.trials import make_cases, play
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.cosmos import CosmosTokenizer
from tests.evaluation.policies.scripted import Turner
from tests.fuzz.contents import Files
from tests.fuzz.values import VALUES, Rng, damaged, mutated, pick

Attempt = Callable[[], object]


class Encoder(nn.Module):
    """An encoder that returns tokens of any shape, type and range."""

    def __init__(self, shape: tuple[int, ...], value: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.full(shape, value).to(dtype), requires_grad=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.output, images


class Bare(nn.Module):
    """A network that returns one tensor."""

    def __init__(self, shape: tuple[int, ...], value: float) -> None:
        super().__init__()
        self.register_buffer("output", torch.full(shape, value))

    def forward(self, images: Tensor) -> Tensor:
        return self.output


class Failing(nn.Module):
    """A network that raises an error."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.numel() < 0, "never"
        return images


class Text(nn.Module):
    """A network that returns no tensor."""

    def forward(self, images: Tensor) -> str:
        return "tokens"


def tokenizers(rng: Rng, files: Files) -> Attempt:
    directory = files.directory / "cosmos"
    directory.mkdir(exist_ok=True)
    shapes = ((1, 3, 2, 2), (1, 5, 2, 2), (1, 3, 4, 4), (3, 2, 2), (), (1, 3, 0, 2))
    images = ((1, 3, 17, 16, 16), (1, 3, 16, 16, 16), (1, 17, 3, 16, 16), (1, 3, 17, 8, 8), (1,))
    value, dtype = pick(rng, (5, -1, 64_000, 2**31)), pick(rng, (torch.int64, torch.int32, torch.float32, torch.bool))
    encoders = (
        Encoder(pick(rng, shapes), value, dtype),
        Bare(pick(rng, shapes), 5.0),
        Failing(),
        Text(),
        nn.Identity(),
    )
    decoders = (Bare(pick(rng, images), pick(rng, (0.0, np.nan, np.inf, 1e30))), Failing(), Text(), nn.Identity())
    for name, modules in (("encoder", encoders), ("decoder", decoders)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(pick(rng, modules)).save(str(directory / f"{name}.jit"))
        if rng.integers(4) == 0:
            file = directory / f"{name}.jit"
            file.write_bytes(damaged(rng, file.read_bytes()))

    def attempt() -> None:
        tokenizer = CosmosTokenizer.load(directory)
        if rng.integers(2):
            tokens = tokenizer.encode(torch.zeros(1, 17, 16, 16, 3, dtype=torch.uint8))
            assert tokens.dtype == torch.int32
            assert 0 <= int(tokens.min()) <= int(tokens.max()) < 64_000
        else:
            assert tokenizer.decode(torch.zeros(1, 3, 2, 2, dtype=torch.int32)).shape == (1, 17, 16, 16, 3)

    return attempt


class Zips:
    """A valid zip of Stable-Baselines3."""

    @cached_property
    def content(self) -> dict[str, bytes]:
        from stable_baselines3 import PPO

        packed = io.BytesIO()
        env = gymnasium.make("HWM-v0", checkpoint=self.checkpoint, task=None, obs_mode="state", action_mode="hold")
        PPO("MultiInputPolicy", env, policy_kwargs={"net_arch": [4]}).save(packed)
        with zipfile.ZipFile(packed) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint


_ZIPS: dict[Path, Zips] = {}


def zips(rng: Rng, files: Files) -> Attempt:
    content = dict(_ZIPS.setdefault(files.checkpoint, Zips(files.checkpoint)).content)
    name = pick(rng, sorted(content))
    action = rng.integers(5)
    if action == 0:
        del content[name]
    elif action == 1:
        content[name] = damaged(rng, content[name])
    elif action == 2:
        content["data"] = json.dumps(mutated(rng, json.loads(content["data"]))).encode()
    elif action == 3:
        content["data"] = pick(
            rng, (b"[" * 100_000, b"null", b"{}", b"\xff", b'{"policy_class": {":serialized:": "gASVAAAA"}}')
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, written in content.items():
            archive.writestr(member, written)
    file = files.directory / "policy.zip"
    file.write_bytes(damaged(rng, packed.getvalue()) if action == 4 else packed.getvalue())

    def attempt() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (policy,) = load_policies(str(file), "face-target")
            policy.act([{"state": np.zeros(25, np.float32)}])

    return attempt


class Odd(Turner):
    """A policy that returns any value as action, or raises it."""

    def __init__(self, gives: Any) -> None:
        super().__init__(0.0)
        self.gives = gives

    def act(self, observations: Any) -> Any:
        if isinstance(self.gives, BaseException):
            raise self.gives
        return self.gives


ERRORS = (ValueError("two\nlines"), SystemExit(3), ZeroDivisionError(), RuntimeError("x" * 10_000), MemoryError())
odd_value: Any = None


def factory(task: str) -> Any:
    """Returns or raises the current value of `odd_value`."""
    if isinstance(odd_value, BaseException):
        raise odd_value
    return odd_value


_WORLDS: dict[Path, LearnedWorld] = {}


def policies(rng: Rng, files: Files) -> Attempt:
    if files.checkpoint not in _WORLDS:
        _WORLDS[files.checkpoint] = LearnedWorld(WorldSimulator(load(files.checkpoint)))
    actions = (np.full((1, 25), np.nan), np.zeros((1, 25), complex), np.zeros((1, 24)), [None], [[0.0] * 25])
    odd = Odd(pick(rng, (*VALUES, *actions, *ERRORS)))
    return lambda: play(_WORLDS[files.checkpoint], odd, "face-target", make_cases(1, 4, 0), 1)


def factories(rng: Rng, files: Files) -> Attempt:
    modules = files.directory / "modules"
    modules.mkdir(exist_ok=True)
    if str(modules) not in sys.path:
        sys.path.insert(0, str(modules))
    bodies = (
        "1 / 0",
        "raise SystemExit(0)",
        "import sys; sys.exit('bye')",
        "def f(:",
        "import nowhere",
        "f = 3",
        "\x00",
    )
    name = f"module_{int(rng.integers(2**31))}"
    (modules / f"{name}.py").write_text(pick(rng, bodies))
    references = (
        f"{name}:f",
        "tests.fuzz.foreign_code:factory",
        "x",
        ":",
        "a:b@c",
        "os:getcwd",
        "..:x",
        "\x00:f",
        "sys:exit",
    )

    def attempt() -> None:
        global odd_value
        odd_value = pick(rng, (*VALUES, *ERRORS, Odd(0.0), [Odd(0.0), 3]))
        load_policies(pick(rng, references), "face-target")

    return attempt


KINDS = {"TorchScript": tokenizers, "zips": zips, "policies": policies, "factories": factories}
