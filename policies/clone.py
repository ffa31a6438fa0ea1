"""Behaviour cloning: trains a policy to act like the robot of a data set in the 1X v2.0 format.

    python -m policies.clone out/room-64/train --out out/clone.zip

The result is a model of Stable-Baselines3, which can be evaluated like any other, and trained further with PPO.
"""

import io
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import gymnasium
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm, trange

from hwm_env.arguments import DataArgument, parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import check_writable, write_bytes
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import InvalidInputError, exit_with_one_line, require_extra
from hwm_env.evaluation.policies.sb3_policy import INTERFACE_ATTRIBUTE
from hwm_env.fields import CheckedFields, Count, Positive, Seed
from hwm_env.policy import Interface
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.types import FRAMES_PER_CLIP, Int64Array

require_extra("stable_baselines3", "rl")

from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.policies import ActorCriticPolicy  # noqa: E402

INTERFACE: Final = Interface(obs_mode="pixels_state", action_mode="delta", normalized_actions=True)
DECODING_BATCH: Final = 16
VALIDATION_SHARE: Final = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloning(CheckedFields):
    """How a policy is cloned."""

    data: DataArgument
    """Data set with tokens, made by the checkpoint's tokenizer."""
    out: Path
    """Zip for the policy."""
    checkpoint: str = "room-64"
    """Whose environment the policy is for."""
    samples: Count = 4_000
    """Pairs of clips to learn from, at most."""
    steps: Count = 300
    """Optimizer steps."""
    batch_size: Count = 128
    """Pairs a step."""
    learning_rate: Positive = 3e-4
    """Peak; falls linearly to none."""
    seed: Seed = 0
    """Of everything."""


@dataclass(frozen=True, slots=True)
class CloningResult:
    """Mean squared errors of changes on held-out pairs, in units of the training data's largest changes."""

    error: float
    """Error of the policy."""
    error_of_mean: float
    """Error of the mean change as a constant prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Observations after clips, with the robot's changes in the following clips."""

    pixels: Tensor
    """Last frame of each clip, uint8 [N, 3, S, S]."""
    states: Tensor
    """State at its end, float32 [N, 25]."""
    actions: Tensor
    """Normalised changes in the next clip, float32 [N, 25]."""

    def observations(self, chosen: Tensor) -> dict[str, Tensor]:
        """Returns the observations of the chosen pairs, as the policy receives them."""
        return {"pixels": self.pixels[chosen], "state": self.states[chosen]}


def clone(cloning: Cloning) -> CloningResult:
    """Trains a policy on pairs of clips, and saves it.

    Raises:
        InvalidInputError: `out` does not end in .zip.
        DatasetError: `data` is no such data set, or has no two successive clips.
        CheckpointError: the checkpoint is unknown, or another tokenizer made the tokens of the data.
        SavingError: `out` cannot be written; this is also checked before the training.
    """
    if cloning.out.suffix != ".zip":
        raise InvalidInputError(f"out must end in .zip, got {cloning.out}")
    check_writable(cloning.out)
    checkpoint, dataset = load(cloning.checkpoint), Dataset(cloning.data)
    check_tokenizer(checkpoint.tokenizer, dataset)
    pairs = gather(checkpoint, dataset, cloning)
    env = gymnasium.make("HWM-v0", checkpoint=cloning.checkpoint, task=None, **asdict(INTERFACE))
    model = PPO("MultiInputPolicy", env, seed=cloning.seed, device="cpu", policy_kwargs={"log_std_init": -2.0})
    held_out = max(1, round(VALIDATION_SHARE * len(pairs.actions)))
    learn(model.policy, pairs, np.arange(held_out, len(pairs.actions)), cloning)
    setattr(model, INTERFACE_ATTRIBUTE, asdict(INTERFACE))
    content = io.BytesIO()
    model.save(content)
    write_bytes(cloning.out, content.getvalue())
    truth, mean = pairs.actions[:held_out], pairs.actions[held_out:].mean(0)
    predicted = _mean_actions(model.policy, pairs, torch.arange(held_out))
    return CloningResult(
        error=float((predicted - truth).square().mean()), error_of_mean=float((mean - truth).square().mean())
    )


def gather(checkpoint: Checkpoint, dataset: Dataset, cloning: Cloning) -> Pairs:
    """Gathers evenly spread pairs of clips; the first ones, which are held out later, are from the first shards."""
    windows = ClipWindows(dataset, 2)
    chosen = np.linspace(0, len(windows) - 1, min(cloning.samples, len(windows))).round().astype(np.int64)
    pixels, states, actions = [], [], []
    reach = np.maximum(FRAMES_PER_CLIP * checkpoint.statistics.max_change, np.float32(1e-3))
    for batch in tqdm(np.array_split(chosen, -(-len(chosen) // DECODING_BATCH)), desc="decode", unit="batch"):
        tokens, chunks = windows.gather(batch)
        with torch.inference_mode():
            last = checkpoint.tokenizer.decode_last(torch.from_numpy(tokens[:, 0]))
        pixels.append(last.permute(0, 3, 1, 2))
        states.append(torch.from_numpy(chunks[:, 0, -1]))
        actions.append(torch.from_numpy(((chunks[:, 1, -1] - chunks[:, 0, -1]) / reach).clip(-1, 1)))
    return Pairs(torch.cat(pixels), torch.cat(states), torch.cat(actions))


def learn(policy: ActorCriticPolicy, pairs: Pairs, training: Int64Array, cloning: Cloning) -> None:
    """Maximises the likelihood of the recorded changes.

    Args:
        policy: the policy to train.
        pairs: all pairs.
        training: indices of the pairs to learn from.
        cloning: steps, batch size, learning rate and seed.
    """
    rng = np.random.default_rng(cloning.seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=cloning.learning_rate, weight_decay=0.01)
    policy.set_training_mode(True)
    for step in trange(cloning.steps, desc="clone", unit="step"):
        chosen = torch.from_numpy(rng.choice(training, cloning.batch_size))
        likelihood = policy.get_distribution(pairs.observations(chosen)).log_prob(pairs.actions[chosen])
        optimizer.param_groups[0]["lr"] = cloning.learning_rate * (1 - step / cloning.steps)
        optimizer.zero_grad()
        (-likelihood.mean()).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimizer.step()


@torch.inference_mode()
def _mean_actions(policy: ActorCriticPolicy, pairs: Pairs, chosen: Tensor) -> Tensor:
    policy.set_training_mode(False)
    parts = [policy.get_distribution(pairs.observations(part)).mode() for part in chosen.split(256)]
    return torch.cat(parts).clamp(-1, 1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        result = clone(parse_config(Cloning, program="python -m policies.clone"))
    logger.info("held-out pairs: mean squared error %.5f, of the mean action %.5f", result.error, result.error_of_mean)
