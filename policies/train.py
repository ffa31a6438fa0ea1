"""Trains a policy with Stable-Baselines3, in the learned or in the reference world.

python -m policies.train --algo ppo --task face-target --env HWM-v0 --out runs/face-target.zip
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import gymnasium

from hwm_env.arguments import parse_config
from hwm_env.data.files import check_file, check_writable, json_bytes, write_files
from hwm_env.devices import check_device
from hwm_env.envs.sb3 import SB3VecEnv
from hwm_env.errors import InvalidInputError, exit_with_one_line, require_extra
from hwm_env.evaluation.policies.loading import reraise_as
from hwm_env.evaluation.policies.sb3_policy import FAMILY_ATTRIBUTE, INTERFACE_ATTRIBUTE
from hwm_env.fields import CheckedFields, Count, CountOrZero, Seed
from hwm_env.policy import Interface
from policies.kept_policies import KeptPolicies, zip_of
from policies.learning_curve import LearningCurve
from policies.planners.knots import controls_of

require_extra("stable_baselines3", "rl")

from stable_baselines3 import PPO, SAC  # noqa: E402
from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

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
_CLASSES: Final[dict[str, type[PPO] | type[SAC]]] = {"ppo": PPO, "sac": SAC}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun(CheckedFields):
    """How a policy is trained."""

    out: Path
    """Zip for the policy; its learning curve goes beside it as JSON, with the env steps and times of each kept
    policy."""
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
    initial: Path | None = None
    """Zip of a policy to continue from, as this command writes it, with its optimizer and settings; None: a new
    policy. It runs code that is in it."""
    keep_every: Count | None = None
    """Env steps between policies that are kept on the way, beside `out` with their env steps in the name; None: only
    the last one is kept."""
    observes: Literal["state", "pixels"] = "state"
    """What the policy observes: the robot's joints and the goal, or the last frame alone, for a task whose goal is
    always the same, such as face-target:door."""
    decoding_steps: CountOrZero | None = None
    """Passes of the model a clip; 0: the scene alone predicts; None: as in the checkpoint."""
    pictures: bool = True
    """Whether the learned world predicts pictures, which the policy does not see. Without them the training is many
    times as fast, if the checkpoint has a scene."""
    device: str = "auto"
    """Device of the learned world and of the policy: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def train(run: TrainingRun) -> LearningCurve:
    """Trains a policy, and saves it with its learning curve.

    Its actions are the numbers that matter for the task, normalised and
    held for a clip.

    Raises:
        InvalidInputError: an argument has an invalid value, or `initial` is no policy of this algorithm with these
            observations and actions.
        CheckpointError: the checkpoint is unknown, or lacks what the task needs.
        SavingError: `out` cannot be written; this is also checked before the training.
    """
    if run.out.suffix != ".zip":
        raise InvalidInputError(f"out must end in .zip, got {run.out}")
    check_writable(run.out)
    if run.initial is not None:
        check_file(run.initial, InvalidInputError, "give a policy that policies.train wrote")
    interface = Interface(
        obs_mode=run.observes, action_mode="hold", normalized_actions=True, controls=controls_of(run.task)
    )
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
    curve, kept = LearningCurve(), KeptPolicies(run.out, run.keep_every)
    worlds = VecMonitor(SB3VecEnv(envs))
    try:
        model = _model(run, worlds)
        setattr(model, INTERFACE_ATTRIBUTE, asdict(interface))
        if run.initial is None:
            # What is kept on the way, or continues from it, is no independent policy.
            setattr(model, FAMILY_ATTRIBUTE, str(run.out.with_suffix("")))
        model.learn(run.steps, callback=[curve, kept], progress_bar=False)
    finally:
        worlds.close()
    policies = [*kept.policies, kept.describe(run.out)]
    content = json_bytes({"run": described(run), "policies": policies, "episodes": curve.episodes})
    write_files([(run.out, zip_of(model)), (run.out.with_suffix(".json"), content)])
    return curve


def described(run: TrainingRun) -> dict[str, Any]:
    """Returns the arguments of a run, ready for JSON: files by their names, wherever they are."""
    return {**asdict(run), "out": run.out.name, "initial": run.initial and run.initial.name}


def _model(run: TrainingRun, worlds: VecMonitor) -> BaseAlgorithm:
    algorithm, device = _CLASSES[run.algo], check_device(run.device)
    if run.initial is None:
        network = "CnnPolicy" if run.observes == "pixels" else "MultiInputPolicy"
        settings = dict(SETTINGS[run.algo])
        if run.algo == "sac":
            settings["buffer_size"] = run.steps
        return algorithm(network, worlds, seed=run.seed, device=device, **settings)
    with reraise_as(f"{run.initial} cannot be continued with {run.algo} at {run.task}"):
        return algorithm.load(run.initial, worlds, device=device, seed=run.seed)


if __name__ == "__main__":
    with exit_with_one_line():
        train(parse_config(TrainingRun, program="python -m policies.train"))
