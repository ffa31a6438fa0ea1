"""Trains a policy with Stable-Baselines3, in the learned or in the reference world.

python -m policies.train --algo ppo --task face-target --env HWM-v0 --out runs/face-target.zip
"""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import gymnasium
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from hwm_env.arguments import parse_config
from hwm_env.data.files import check_writable, json_bytes, write_files
from hwm_env.devices import check_device
from hwm_env.envs.sb3 import SB3VecEnv
from hwm_env.errors import InvalidInputError, exit_with_one_line
from hwm_env.evaluation.policies.sb3_policy import INTERFACE_ATTRIBUTE
from hwm_env.fields import CheckedFields, Count, Seed
from hwm_env.policy import Interface
from policies.learning_curve import LearningCurve
from policies.planners.knots import controls_of

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "ppo": {
        "n_steps": 32,
        "batch_size": 128,
        "n_epochs": 10,
        "learning_rate": 1e-3,
        "gamma": 0.95,
        "gae_lambda": 0.9,
        "policy_kwargs": {"log_std_init": -0.5},
    },
    "sac": {"learning_rate": 1e-3, "gamma": 0.95, "batch_size": 256, "learning_starts": 200, "gradient_steps": -1},
}
"""Settings by algorithm: episodes have only 5 to 20 env steps and worlds are slow, so samples are few and reused."""
_CLASSES: Final = {"ppo": PPO, "sac": SAC}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun(CheckedFields):
    """How a policy is trained."""

    out: Path
    """Zip for the policy; its learning curve goes beside it, as JSON."""
    algo: Literal["ppo", "sac"] = "ppo"
    """The algorithm."""
    task: str = "face-target"
    """Name of a task."""
    env: Literal["HWM-v0", "HWMReference-v0"] = "HWM-v0"
    """Learned or reference world."""
    checkpoint: str = "room-64"
    """Of the learned world; gives the reference world's starts and bounds of actions, too."""
    steps: Count = 8_192
    """Env steps, of all worlds together."""
    num_envs: Count = 16
    """Worlds side by side."""
    max_steps: Count = 20
    """Env steps until truncation."""
    seed: Seed = 0
    """Of everything."""
    decoding_steps: Count | None = None
    """Passes of the model a clip; None: as in the checkpoint."""
    pictures: bool = True
    """Whether the learned world predicts pictures, which the policy does not see. Without them the training is many
    times as fast, if the checkpoint has a scene."""
    device: str = "auto"
    """Device of the learned world and of the policy: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def train(run: TrainingRun) -> LearningCurve:
    """Trains a policy, and saves it with its learning curve.

    The policy observes the state and the goal. Its actions are the numbers that matter for the task, normalised and
    held for a clip.

    Raises:
        InvalidInputError: an argument has an invalid value.
        CheckpointError: the checkpoint is unknown, or lacks what the task needs.
        SavingError: `out` cannot be written; this is also checked before the training.
    """
    if run.out.suffix != ".zip":
        raise InvalidInputError(f"out must end in .zip, got {run.out}")
    check_writable(run.out)
    interface = Interface(obs_mode="state", action_mode="hold", normalized_actions=True, controls=controls_of(run.task))
    envs = gymnasium.make_vec(
        run.env,
        num_envs=run.num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode="SAME_STEP",
        task=run.task,
        checkpoint=run.checkpoint,
        max_episode_steps=run.max_steps,
        decoding_steps=run.decoding_steps,
        pictures=run.pictures,
        device=run.device,
        **asdict(interface),
    )
    curve = LearningCurve()
    worlds = VecMonitor(SB3VecEnv(envs))
    try:
        model: BaseAlgorithm = _CLASSES[run.algo](
            "MultiInputPolicy", worlds, seed=run.seed, device=check_device(run.device), **SETTINGS[run.algo]
        )
        model.learn(run.steps, callback=curve, progress_bar=False)
    finally:
        worlds.close()
    setattr(model, INTERFACE_ATTRIBUTE, asdict(interface))
    content = io.BytesIO()
    model.save(content)
    described = {"run": {**asdict(run), "out": run.out.name}, "episodes": curve.episodes}
    write_files([(run.out, content.getvalue()), (run.out.with_suffix(".json"), json_bytes(described))])
    return curve


if __name__ == "__main__":
    with exit_with_one_line():
        train(parse_config(TrainingRun, program="python -m policies.train"))
