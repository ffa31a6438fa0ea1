"""Plays a world that `hwm-env export` wrote. Needs NumPy and onnxruntime, but neither PyTorch nor hwm_env.

python play.py --steps 20 --out played.npz
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]


class World:
    """A learned world: `reset`, then `step` with 17 actions of 25 numbers each; `frames` decodes the newest clip.

    Args:
        directory: what `hwm-env export` wrote.
        threads: threads that compute.
    """

    def __init__(self, directory: Path, threads: int = 1) -> None:
        self.about = json.loads((directory / "world.json").read_text())
        self.starts = dict(np.load(directory / "starts.npz"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.functions = {
            name: onnxruntime.InferenceSession(directory / f"{name}.onnx", options, ["CPUExecutionProvider"])
            for name in self.about["functions"]
        }
        self.num_fields = len(self.about["functions"]["clip"]["outputs"]) - 3

    def reset(self, start: int = 0, seed: int = 0) -> None:
        """Begins at a recorded start."""
        self.seed, self.steps = seed, 0
        own = {name: values[start : start + 1] for name, values in self.starts.items()}
        self.tokens, self.chunk = own["tokens"][:, -1], own["chunks"][:, -1]
        # Parts that a world without a scene lacks are absent.
        self.scene = {name: own[name] for name in ("pose", "covariance") if name in own}
        scene_inputs = own.get("scene_inputs")
        if scene_inputs is not None:
            self.scene["scene_inputs"] = scene_inputs[:, -1]
        inputs = {"tokens": own["tokens"][:, :-1], "chunks": own["chunks"][:, :-1]}
        if scene_inputs is not None:
            inputs["scene_inputs"] = scene_inputs[:, :-1]
        self.encodings = list(self.call("history", inputs).values())

    def step(self, chunk: Array) -> Array:
        """Advances the world by one clip: float [17, 25] in physical units to tokens int32 [3, h, w]."""
        about, chunk = self.about, np.asarray(chunk, np.float32)[None]
        names = list(about["functions"]["clip"]["inputs"])
        inputs = dict(zip(names, self.encodings, strict=False))
        inputs["next_time"] = np.array([about["num_past_clips"] - 1 + self.steps])
        inputs["newest_tokens"], inputs["chunks"] = self.tokens, np.stack([self.chunk, chunk], axis=1)
        if "scene" in about["functions"]:
            weights = about["history_weights"]
            weight = np.array([weights[min(self.steps, len(weights) - 1)]], np.float32)
            place = {"pose": self.scene["pose"], "covariance": self.scene["covariance"]}
            moved = self.call("scene", place | {"chunk": chunk, "history_weight": weight})
            self.scene |= {"pose": moved["pose_after"], "covariance": moved["covariance_after"]}
            inputs |= {name: moved[name] for name in ("prior_logits", "own_weight") if name in moved}
            if "scene_inputs" in moved:
                inputs["scene_inputs"] = np.stack([self.scene["scene_inputs"], moved["scene_inputs"]], axis=1)
                self.scene["scene_inputs"] = moved["scene_inputs"]
        if "uniforms" in names:
            inputs["uniforms"] = uniforms(self.seed, self.steps, about["functions"]["clip"]["inputs"]["uniforms"])
        outputs = self.call("clip", inputs)
        self.encodings = self.encodings[self.num_fields :] + list(outputs.values())[3:]
        self.tokens, self.chunk, self.steps = outputs["tokens"], chunk, self.steps + 1
        tokens: Array = self.tokens[0]
        return tokens

    def frames(self) -> Array:
        """Returns the newest clip's frames, uint8 [17, height, width, 3]."""
        digits, rest = [], self.tokens.copy()
        for level in self.about["fsq_levels"]:
            digits.append(2 * (rest % level) / (level - 1) - 1)
            rest //= level
        values = np.stack(digits, axis=-1).astype(np.float32)
        frames: Array = self.call("frames", {"values": values})["frames"][0]
        return frames

    def call(self, name: str, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs a function: arrays by name to arrays by name."""
        function = self.functions[name]
        # An exported function lacks inputs without an effect.
        used = {port.name: inputs[port.name] for port in function.get_inputs()}
        return dict(zip(self.about["functions"][name]["outputs"], function.run(None, used), strict=True))


def uniforms(seed: int, step: int, shape: Sequence[int]) -> Array:
    """Returns the random numbers of an env step, float32 in [0, 1), the same as in hwm_env."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    # Arrays, since scalars warn of the overflow that is meant here.
    keys, steps = np.array([seed], np.uint64), np.array([step], np.uint64)
    keys = mixed(mixed(mixed(keys + golden) + steps * golden) + np.uint64(0x632BE59BD9B4E019))
    numbers = mixed(keys + np.arange(1, np.prod(shape) + 1, dtype=np.uint64) * golden)
    drawn: Array = ((numbers >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)
    return drawn


def mixed(numbers: Array) -> Array:
    """Returns the output of SplitMix64 (Steele et al., OOPSLA 2014) for states, uint64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    output: Array = numbers ^ (numbers >> np.uint64(31))
    return output


def driving(world: World, rng: np.random.Generator) -> Array:
    """Returns 17 actions: the joints stay as they are, speed and turn are random."""
    chunk = np.repeat(world.chunk[0, -1:], world.chunk.shape[1], axis=0)
    low, high = (np.array(world.about[name], np.float32) for name in ("action_low", "action_high"))
    chunk[:, -2:] = rng.uniform(low[-2:], high[-2:])
    return chunk


def main() -> None:
    """Drives at random and prints how fast that was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=int, default=0, help="index of the recorded start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20, help="env steps of 17 frames")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help=".npz file for tokens, chunks and frames")
    options = parser.parse_args()
    world, rng = World(Path(__file__).parent, options.threads), np.random.default_rng(options.seed)
    world.reset(options.start, options.seed)
    chunks, tokens, frames = [], [], []
    began = time.perf_counter()
    for _ in range(options.steps):
        chunks.append(driving(world, rng))
        tokens.append(world.step(chunks[-1]))
        frames.append(world.frames())
    took_s = time.perf_counter() - began
    print(f"{options.steps / took_s:.1f} env steps a second, {17 * options.steps / took_s:.0f} frames a second")
    if options.out:
        np.savez(options.out, tokens=tokens, chunks=chunks, frames=frames)


if __name__ == "__main__":
    main()
