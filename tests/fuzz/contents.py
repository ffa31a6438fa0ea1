"""Fuzzes the contents of files: checkpoints, foreign checkpoints, data sets, tables, replays."""

import gc
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping, read_states
from hwm_env.data.writer import DatasetWriter
from hwm_env.evaluation.lpips import LPIPS, weight_shapes
from hwm_env.replay import Replay, digest
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.checks import check_codebook
from hwm_env.tokenizers.lerobot_source import lerobot_source
from hwm_env.types import ACTION_NAMES
from tests.data.lerobot_files import HEAD, counting, write_lerobot
from tests.fuzz.answers import run_command
from tests.fuzz.values import JSON_VALUES, Rng, damaged, mutated, nasty_json, pick

Attempt = Callable[[], object]
FOREIGN = Path(__file__).parents[1] / "fixtures" / "masked_hwm_checkpoint"


@dataclass
class Files:
    """Valid files, and a directory for their damaged copies."""

    checkpoint: Path
    directory: Path

    def copy_of(self, source: Path) -> Path:
        """Returns a copy to damage, which replaces the last one."""
        target = self.directory / "damaged"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return target

    @cached_property
    def lerobot(self) -> dict[str, Path]:
        """Data sets of each version with a camera in videos or in the tables."""
        made = {
            version: write_lerobot(self.directory / version, version, counting((20, 20)))
            for version in ("v2.1", "v3.0")
        }
        for version in ("v2.1", "v3.0"):
            name = f"{version} with pictures"
            made[name] = write_lerobot(
                self.directory / name, version, counting((20, 20)), cameras=(), pictures={HEAD: "PNG"}
            )
        return made

    @cached_property
    def data(self) -> Path:
        rng = np.random.default_rng(0)
        writer = DatasetWriter(self.directory / "data", token_grid=(8, 8), image_size=None)
        for index in range(2):
            writer.write_shard(
                index,
                states=rng.normal(size=(340, 25)).astype(np.float32),
                segments=np.repeat(np.arange(2), 170).astype(np.int32),
                tokens=rng.integers(0, 64_000, (20, 3, 8, 8), dtype=np.int32),
            )
        writer.finish(2)
        return self.directory / "data"

    @cached_property
    def replay(self) -> Path:
        """A file that also holds the encoded history, since the episode begins in the middle of another one."""
        simulator = WorldSimulator.from_pretrained(self.checkpoint)
        chunk = torch.zeros(1, 17, 25)
        state, _ = simulator.step(simulator.reset([0], [0]), chunk)
        _, clip = simulator.step(state, chunk)
        driven = {"actions": chunk.numpy(), "digests": np.array([digest(clip.tokens[0].numpy())])}
        file = self.directory / "replay.npz"
        replace(Replay.begin(simulator, state, -1), **driven).save(file)
        return file


def checkpoint_configs(rng: Rng, files: Files) -> Attempt:
    directory = files.copy_of(files.checkpoint)
    file = directory / "config.json"
    content = mutated(rng, json.loads(file.read_text()))
    file.write_bytes(nasty_json(rng) if rng.integers(6) == 0 else json.dumps(content).encode())
    return lambda: _play(directory)


def checkpoint_tensors(rng: Rng, files: Files) -> Attempt:
    directory = files.copy_of(files.checkpoint)
    file = pick(rng, sorted(directory.glob("*.safetensors")))
    if rng.integers(2):
        file.write_bytes(damaged(rng, file.read_bytes()))
    else:
        tensors = load_file(file)
        name = pick(rng, sorted(tensors))
        flat = tensors[name].flatten()
        if tensors[name].is_floating_point():
            flat[int(rng.integers(len(flat)))] = pick(rng, (np.nan, np.inf, 1e30))
        else:
            flat[int(rng.integers(len(flat)))] = pick(rng, (-1, 64_000, 2**31 - 1))
        other = pick(rng, (tensors[name], tensors[name][:1], tensors[name].double(), tensors[name].bool()))
        save_file({**tensors, name: other.clone()}, file, _metadata(file))
    return lambda: _play(directory)


def foreign_configs(rng: Rng, files: Files) -> Attempt:
    directory = files.copy_of(FOREIGN)
    file = directory / "config.json"
    content = json.loads(file.read_text())
    content[pick(rng, sorted(content))] = pick(rng, JSON_VALUES)
    file.write_bytes(nasty_json(rng) if rng.integers(8) == 0 else json.dumps(content).encode())
    if rng.integers(4) == 0:
        weights = directory / "pytorch_model.bin"
        weights.write_bytes(damaged(rng, weights.read_bytes()))
    return lambda: run_command("import-checkpoint", directory, files.directory / "imported")


def data_sets(rng: Rng, files: Files) -> Attempt:
    directory = files.copy_of(files.data)
    file = pick(rng, sorted(path for path in directory.rglob("*") if path.is_file()))
    if file.suffix == ".json":
        content = mutated(rng, json.loads(file.read_text()))
        file.write_bytes(nasty_json(rng) if rng.integers(4) == 0 else json.dumps(content).encode())
    elif "video" in file.name and rng.integers(2):
        tokens = np.fromfile(file, "<i4")
        tokens[int(rng.integers(len(tokens)))] = pick(rng, (-3, 64_000, 70_000, 2**31 - 1))
        tokens.tofile(file)
        return lambda: _must_refuse(lambda: check_codebook(Dataset(directory), 64_000))
    elif rng.integers(3) == 0:
        numbers = np.fromfile(file, "<f4")
        numbers[int(rng.integers(len(numbers)))] = pick(rng, (np.nan, np.inf, 1e38))
        numbers.tofile(file)
    else:
        file.write_bytes(damaged(rng, file.read_bytes()))
    return lambda: run_command("inspect", directory)


def tables(rng: Rng, files: Files) -> Attempt:
    file = files.directory / "states.npy"
    good = rng.normal(size=(40, 25))
    header = io.BytesIO()
    shape = pick(rng, ((10**12, 25), (2**62, 2**62), (10**9, 10**9), (-1, 25), (0, 25), (40, 10**10)))
    dtype = pick(rng, ("<f8", "<c16", "|O", "|S5", "<M8[ns]", "|V8"))
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    packed = io.BytesIO()
    np.savez(packed, states=good)
    odd = pick(rng, (good.astype(complex), good.astype("U8"), good[None], good[:, 0], good[:0], good.astype(">f4")))
    whole = io.BytesIO()
    np.save(whole, odd)
    plain = io.BytesIO()
    np.save(plain, good)
    contents = (
        header.getvalue(),
        header.getvalue(),
        packed.getvalue(),
        whole.getvalue(),
        damaged(rng, plain.getvalue()),
    )
    file.write_bytes(pick(rng, contents))
    return lambda: read_states(file, StateMapping(), np.arange(40) / 30, 40)


def mappings(rng: Rng, files: Files) -> Attempt:
    file = files.directory / "mapping.json"
    content: dict[str, Any] = {"columns": {"neck_pitch": "a"}, "time": "t", "hz": 30, "fill": {"hip_yaw": 0.1}}
    file.write_bytes(nasty_json(rng) if rng.integers(4) == 0 else json.dumps(mutated(rng, content)).encode())
    table = files.directory / "states.csv"
    table.write_text(
        "\n".join([",".join(["t", "a", *ACTION_NAMES]), *(",".join([str(i / 30)] * 27) for i in range(40))])
    )
    return lambda: read_states(table, StateMapping.read(file), np.arange(40) / 30, 40)


def lerobot(rng: Rng, files: Files) -> Attempt:
    directory = files.copy_of(files.lerobot[pick(rng, sorted(files.lerobot))])
    info, lines = directory / "meta/info.json", directory / "meta/episodes.jsonl"
    match rng.integers(4):
        case 0:
            info.write_bytes(json.dumps(mutated(rng, json.loads(info.read_text()))).encode())
        case 1:
            info.write_bytes(nasty_json(rng))
        case 2 if lines.exists():
            row = json.loads(lines.read_text().splitlines()[0])
            lines.write_bytes(json.dumps(mutated(rng, row)).encode())
        case _:
            file = pick(rng, sorted(path for path in directory.rglob("*") if path.is_file()))
            file.write_bytes(damaged(rng, file.read_bytes()))
    # PyAV's decoders keep the memory of their threads until then.
    gc.collect()
    return lambda: [list(job.read().frames) for job in lerobot_source(directory, (0,), StateMapping(), 16).jobs]


def replays(rng: Rng, files: Files) -> Attempt:
    file = files.directory / "damaged.npz"
    with np.load(files.replay) as content:
        arrays = dict(content)
    name = pick(rng, sorted(arrays))
    odd = (np.float64(np.nan), np.array("x"), arrays[name][..., None], arrays[name].astype(str), np.int64(-1))
    decoding = json.dumps(mutated(rng, json.loads(str(arrays["decoding"]))))
    if rng.integers(3) == 0:
        file.write_bytes(damaged(rng, files.replay.read_bytes()))
    else:
        np.savez(file, **{**arrays, **pick(rng, ({name: pick(rng, odd)}, {"decoding": np.array(decoding)}))})
    return lambda: run_command("replay", file, "--checkpoint", files.checkpoint)


def lpips_weights(rng: Rng, files: Files) -> Attempt:
    tensors = {name: torch.ones(shape) for name, shape in weight_shapes().items()}
    name = pick(rng, sorted(tensors))
    tensors[name].flatten()[0] = pick(rng, (np.nan, np.inf, 1.0))
    file = files.directory / "lpips.safetensors"
    save_file(pick(rng, (tensors, {name: tensors[name]}, {**tensors, name: tensors[name][None].clone()})), file)
    return lambda: LPIPS.load(file)


def _play(directory: Path) -> None:
    env = gymnasium.make("HWM-v0", checkpoint=directory, task=None)
    env.reset(seed=0)
    reward = env.step(env.action_space.sample())[1]
    assert np.isfinite(reward)


def _must_refuse(attempt: Attempt) -> None:
    attempt()
    raise AssertionError("accepted what is wrong")


def _metadata(file: Path) -> dict[str, str] | None:
    with safe_open(file, framework="pt") as content:
        metadata: dict[str, str] | None = content.metadata()
    return metadata


KINDS = {
    "checkpoint configs": checkpoint_configs,
    "checkpoint tensors": checkpoint_tensors,
    "foreign checkpoints": foreign_configs,
    "data sets": data_sets,
    "tables": tables,
    "mappings": mappings,
    "LeRobot data sets": lerobot,
    "replays": replays,
    "LPIPS weights": lpips_weights,
}
