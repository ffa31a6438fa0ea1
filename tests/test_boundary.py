"""Values and files from outside that must be refused, each with one clear line; the fuzz tries many more."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hwm_env.checkpoint import load
from hwm_env.data.files import MAX_JSON_BYTES, read_json
from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping, read_states
from hwm_env.data.writer import DatasetWriter
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.episodes import Episode
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError, ModelOutputError
from hwm_env.evaluation.policies.loading import gather_policies, load_policies
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.checks import check_tokenizer
from tests.conftest import make_tiny_checkpoint


@pytest.fixture
def env(tiny_checkpoint: Path) -> HumanoidWorldModelEnv:
    env = HumanoidWorldModelEnv(checkpoint=tiny_checkpoint, task=None)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 2.5}, "num_frames must be a whole number, got 2.5"),
        ({"max_episode_steps": "40"}, "max_episode_steps must be a whole number .*, got '40'"),
        ({"max_episode_steps": [40]}, r"max_episode_steps must be a whole number .*, got \[40\]"),
        ({"image_size": np.array(64)}, r"image_size must be a whole number or None, got array\(64\)"),
        ({"temperature": "0.5"}, "temperature must be a number or None, got '0.5'"),
        ({"temperature": float("nan")}, "temperature must be a finite number or None, got nan"),
        ({"strict": 1}, "strict must be True or False, got 1"),
        ({"obs_mode": ["pixels"]}, r"obs_mode must be one of .*, got \['pixels'\]"),
        ({"checkpoint": 3}, "checkpoint must be a text or a Path, got 3"),
        ({"decoding_steps": True}, "decoding_steps must be a whole number or None, got True"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{message}"):
        EnvConfig(**arguments)


def test_numpy_numbers_are_as_good_as_others() -> None:
    config = EnvConfig(max_episode_steps=np.int64(3), temperature=np.float32(0.5), strict=np.bool_(True))  # type: ignore[arg-type]
    assert (config.max_episode_steps, config.temperature, config.strict) == (3, 0.5, True)


@pytest.mark.parametrize("make", [np.complex128, np.object_, np.str_, np.bool_])
def test_actions_are_real_numbers(env: HumanoidWorldModelEnv, make: Any) -> None:
    action = env.action_space.sample()
    with pytest.raises(InvalidInputError, match="expected 17 x 25 finite numbers"):
        env.step(action.astype(make))


@pytest.mark.parametrize("seed", [1.5, "1", True, [1], -1, np.array([1])])
def test_seeds_are_whole_numbers(env: HumanoidWorldModelEnv, seed: Any) -> None:
    before = env.get_state().np_random.bit_generator.state
    with pytest.raises(InvalidInputError, match="seed must be"):
        env.reset(seed=seed)
    assert env.get_state().np_random.bit_generator.state == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "options", "message"),
    [
        (1.5, None, "seed must be a whole number, got 1.5"),
        (True, None, "seed must be a whole number, got True"),
        ([0, "1"], None, "row 1: seed must be a whole number or None, got '1'"),
        (None, {"per_world": 3}, "per_world must be"),
        (None, {"per_world": [{}, 3]}, r"per_world\[1\] must be"),
        (None, 3, "options must be a dict or None, got 3"),
    ],
)
def test_bad_resets_of_many_rows(tiny_checkpoint: Path, seed: Any, options: Any, message: str) -> None:
    envs = HumanoidWorldModelVectorEnv(2, checkpoint=tiny_checkpoint, task=None)
    with pytest.raises(InvalidInputError, match=message):
        envs.reset(seed=seed, options=options)
    with pytest.raises(InvalidInputError, match=r"num_envs must be a whole number, got 2\.0"):
        HumanoidWorldModelVectorEnv(2.0, checkpoint=tiny_checkpoint)  # type: ignore[arg-type]


def test_tampered_states_change_nothing(env: HumanoidWorldModelEnv) -> None:
    state = env.get_state()
    moment = state.episode.moment
    states = moment.states
    broken: list[tuple[Any, str]] = [
        (replace(state, _np_random=None), "np_random must be"),
        (replace(state, origin=3), "origin must be a text"),
        (replace(state, episode=replace(state.episode, elapsed_steps=1.5)), "elapsed_steps must be a whole number"),
        (replace(state, episode=Episode(None, None, 0)), "moment must be one of a learned world"),  # type: ignore[type-var]
    ]
    for change, message in (
        ({"tokens": states.tokens + 64_000}, "history tokens must lie in"),
        ({"tokens": states.tokens.long() + 2**32}, "history tokens must lie in"),
        ({"tokens": states.tokens.float()}, "must be integers"),
        ({"actions": states.actions * torch.nan}, "the state's actions must be finite"),
        ({"seeds": (-1,)}, "the seed of row 0 must be at least 0"),
        ({"step_indices": (1.5,)}, "the step index of row 0 must be a whole number"),
    ):
        other = replace(moment, states=replace(states, **change))
        broken.append((replace(state, episode=replace(state.episode, moment=other)), message))
    expected = env.step(env.action_space.low)[0]
    env.set_state(state)
    for tampered, message in broken:
        with pytest.raises(InvalidInputError, match=message):
            env.set_state(tampered)
    np.testing.assert_array_equal(env.step(env.action_space.low)[0], expected)


def test_states_of_another_model_are_refused(tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, history="streaming")
    state, actions = simulator.reset([0, 1], [0, 1]), torch.zeros(2, 17, 25)
    for change, message in (
        ({"encoded": state.select([0]).encoded}, "encoded history must be that of 8 clips .* in 2 rows"),
        ({"encoded": 3}, "encoded history must be"),
        ({"actions": state.actions[:1]}, "the state's actions must have shape"),
        ({"seeds": (1,)}, "one seed for each of 2 rows"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            simulator.step(replace(state, **change), actions)  # type: ignore[arg-type]
    for wrong in (actions.to(torch.complex64), actions.bool(), actions.numpy()):
        with pytest.raises(InvalidInputError, match="chunk must be"):
            simulator.step(state, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["model"].update(num_layers="2"), "num_layers must be a whole number, got '2'"),
        (lambda config: config["model"].update(num_layers=10**9), "num_layers must be at most 1024"),
        (lambda config: config["model"].update(width=65_536), "does not fit config.json"),
        (lambda config: config["model"].update(fsq_levels=[8.0]), r"fsq_levels\[0\] must be a whole number, got 8.0"),
        (lambda config: config["decoding"].update(temperature=float("nan")), "temperature must be a finite number"),
        (lambda config: config["decoding"].update(steps=True), "steps must be a whole number, got True"),
        (lambda config: config["readout"].update(dropout=None), "dropout must be a number, got None"),
        (lambda config: config["action_statistics"].update(low=[1e30] * 25), "expected low as 25 finite"),
        (lambda config: config["action_statistics"].update(low=[9.0] * 25), "expected low below high"),
        (lambda config: config.update(provenance=[1]), "provenance must be a dict"),
        (lambda config: config.update(model=3), "expected an object with the fields of MaskedHWMConfig, got 3"),
        (lambda config: config.update(tokenizer={"kind": ["tiny"]}), "tokenizer of an unknown kind"),
    ],
)
def test_configs_of_a_wrong_type_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    content = json.loads((directory / "config.json").read_text())
    change(content)
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        load(directory)


@pytest.mark.parametrize("name", ["readout", "starts", "model", "tokenizer"])
def test_nan_in_a_checkpoint_is_refused(tiny_checkpoint: Path, tmp_path: Path, name: str) -> None:
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    file = directory / f"{name}.safetensors"
    tensors = load_file(file)
    first = next(key for key in sorted(tensors) if tensors[key].is_floating_point())
    tensors[first].flatten()[0] = torch.nan
    metadata = {"config": json.dumps({})} if name == "tokenizer" else None
    if name == "tokenizer":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as content:
            metadata = content.metadata()
    save_file(tensors, file, metadata)
    with pytest.raises(CheckpointError, match=f"{name}.safetensors.*NaN or infinity in {first}"):
        load(directory)


def test_a_read_out_that_is_not_finite_is_reported() -> None:
    checkpoint = make_tiny_checkpoint()
    assert checkpoint.readout is not None
    next(checkpoint.readout.parameters()).data.fill_(torch.nan)
    from hwm_env.envs.humanoid import HumanoidEnv
    from hwm_env.envs.learned import LearnedWorld

    world = LearnedWorld(WorldSimulator(replace(checkpoint, starts=replace(checkpoint.starts, poses=None))))
    with pytest.raises(ModelOutputError, match="not finite in row 0"):
        HumanoidEnv(world, EnvConfig(task="drive-to-target")).reset(seed=0)


def test_tokens_beyond_the_codebook_are_found_anywhere(tmp_path: Path) -> None:
    tokenizer = make_tiny_checkpoint().tokenizer
    rng = np.random.default_rng(0)
    for place, token in (((1, 299, 2, 7, 7), 70_000), ((0, 250, 0, 0, 0), -3), ((1, 0, 1, 3, 3), 64_000)):
        directory = tmp_path / str(token)
        writer = DatasetWriter(directory, token_grid=(8, 8))
        for index in range(2):
            tokens = rng.integers(0, 64_000, (300, 3, 8, 8), dtype=np.int32)
            if index == place[0]:
                tokens[place[1:]] = token
            numbers = np.zeros((5100, 25), np.float32)
            writer.write_shard(index, states=numbers, segments=np.zeros(5100, np.int32), tokens=tokens)
        writer.finish(2)
        found = f"got {token} in clip {place[1]} of shard {place[0]}"
        with pytest.raises(CheckpointError, match=rf"expected tokens from 0 to 63999.*{found}"):
            check_tokenizer(tokenizer, Dataset(directory))


@pytest.mark.parametrize("content", [b"[" * 10_000, b'{"a":' * 100_000, b"[" * 10**5 + b"]" * 10**5])
def test_nested_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"some\.json is not JSON"):
        read_json(tmp_path / "some.json")


def test_huge_json_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "some.json").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(CheckpointError, match=f"at most {MAX_JSON_BYTES} bytes, got {MAX_JSON_BYTES + 1}"):
        read_json(tmp_path / "some.json", CheckpointError)


@pytest.mark.parametrize("shape", [(10**12, 25), (2**62, 2**62), (10**6, 25)])
def test_arrays_that_promise_more_than_there_is_take_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + b"\0" * 1000)
    with pytest.raises(DatasetError, match=r"a\.npy cannot be read"):
        read_states(tmp_path / "a.npy", StateMapping(), np.arange(3) / 30, 3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(some_policy\.py, line 1\)"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def f(:", "SyntaxError"),
        ("def f(task):\n    raise SystemExit(0)", r"SystemExit: 0 \(some_policy\.py, line 2\)"),
        ("def f(task):\n    raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_factories_that_fail_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str) -> None:
    import sys

    (tmp_path / "some_policy.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_policy", raising=False)
    with pytest.raises(InvalidInputError, match=f"'some_policy:f'.*{reason}") as caught:
        load_policies("some_policy:f", "face-target")
    assert "\n" not in str(caught.value)


def test_zips_can_be_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="runs code"):
        gather_policies([str(tmp_path / "some.zip")], ["face-target"], allow_zips=False)
