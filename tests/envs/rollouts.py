"""Rollouts and their fingerprints; as a program, prints the fingerprint of a rollout."""

import hashlib
import sys
from typing import Any

import gymnasium
import numpy as np
import torch

Step = tuple[Any, float, bool, bool, dict[str, Any]]


def rollout(
    env: gymnasium.Env[Any, Any], *, seed: int, steps: int, options: dict[str, Any] | None = None
) -> list[Step]:
    """Returns the results of a reset and some random steps; the actions depend on the seed alone."""
    observation, info = env.reset(seed=seed, options=options)
    env.action_space.seed(seed)
    return [(observation, 0.0, False, False, info), *(env.step(env.action_space.sample()) for _ in range(steps))]


def fingerprint(value: Any) -> str:
    """Returns a hash that is equal only if types, names and all bits are equal."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        digest.update(type(part).__name__.encode())
        if isinstance(part, dict):
            for key in sorted(part):
                digest.update(key.encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            for item in part:
                add(item)
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()


if __name__ == "__main__":
    import hwm_env  # noqa: F401  (registers the environments)

    env_id, checkpoint, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    made = gymnasium.make(env_id, checkpoint=checkpoint, obs_mode="pixels_state")
    sys.stdout.write(fingerprint(rollout(made, seed=7, steps=20)))
    made.close()
