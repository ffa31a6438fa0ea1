"""The recipes of the stages that make a world of the room: by steps for two cores, or by minutes for any device."""

import os
from dataclasses import dataclass, replace

Options = tuple[str, ...]
"""Options of a command."""

TRAIN_EPISODES = 1600
EPISODES_A_MINUTE = 20
"""Training episodes for each core and minute of training, so that recording takes a part of the time."""
TOKENIZER_SHARE, READOUT_SHARE, SCENE_SHARE, WORLD_MODEL_SHARE, DECODER_SHARE = 0.2, 0.05, 0.25, 0.4, 0.1
"""Shares of the minutes."""
SCENE_ALONE_STEPS = 200
"""Steps of a world model that takes no part in predictions, but is in the checkpoint for whoever trains it further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipes:
    """How much is recorded, and how each part is trained; the defaults take two CPU cores about a day."""

    train_episodes: int = TRAIN_EPISODES
    validation_episodes: int = 60
    offsets: Options = ("0", "8")
    """Every recording is cut into clips at each of these offsets, which multiplies the number of windows."""
    tokenizer: Options = ()
    readout: Options = ("--steps", "3000")
    scene: Options = ("--model.steps", "48000")
    odometry: Options = ()
    world_model_steps: int = 24000
    world_model: Options = ("--batch-size", "4", "--micro-batch-size", "2", "--report-every", "500")
    decoder: Options = ("--steps", "8000")
    processes: int = 2
    """Number of processes that train the world model together, one thread each."""
    calibration: Options = ()


BEGUN = Recipes(
    train_episodes=700,
    offsets=("0",),
    scene=("--model.steps", "8000", "--model.batch-size", "12", "--model.learning-rate", "0.001"),
    world_model_steps=3000,
    world_model=("--batch-size", "4", "--micro-batch-size", "1", "--report-every", "500"),
    decoder=("--steps", "2000"),
)
"""For a start from another checkpoint."""
LARGE_BATCHES = Recipes(
    tokenizer=("--batch-size", "128", "--warmup-steps", "120"),
    scene=(
        *("--model.steps", "16000", "--model.batch-size", "128", "--model.warmup-steps", "800"),
        *("--model.learning-rate", "0.004", "--model.plane-learning-rate", "0.025"),
    ),
    world_model_steps=8000,
    world_model=(
        *("--batch-size", "128", "--micro-batch-size", "128", "--warmup-steps", "200"),
        *("--learning-rate", "0.002", "--matrix-learning-rate", "0.02"),
    ),
    decoder=("--batch-size", "128", "--warmup-steps", "120"),
    processes=1,
)
"""For a GPU."""


def recipes_for(device_type: str, minutes: float | None, *, begun: bool = False, scene_alone: bool = False) -> Recipes:
    """Returns the recipes for a device.

    Args:
        device_type: "cpu" or "cuda".
        minutes: time for all trainings together, or `None` for the whole recipes, by steps. Recording, encoding,
            localisation and calibration come on top.
        begun: whether the trainings start from another checkpoint. On a GPU, the recipes are the same.
        scene_alone: whether the scene predicts without the world model, which is then hardly trained.
    """
    on_cpu = BEGUN if begun else Recipes()
    recipes = on_cpu if device_type == "cpu" else LARGE_BATCHES
    scene_share, world_model_share = SCENE_SHARE, WORLD_MODEL_SHARE
    if scene_alone:
        recipes = replace(recipes, world_model_steps=SCENE_ALONE_STEPS)
        scene_share, world_model_share = SCENE_SHARE + 0.9 * WORLD_MODEL_SHARE, 0.1 * WORLD_MODEL_SHARE
    if minutes is None:
        return recipes
    cores = os.cpu_count() or 1
    train_episodes = min(TRAIN_EPISODES, max(20, round(EPISODES_A_MINUTE * minutes * cores)))
    recipes = replace(
        recipes,
        train_episodes=train_episodes,
        tokenizer=(*recipes.tokenizer, "--minutes", f"{TOKENIZER_SHARE * minutes:g}"),
        readout=(*recipes.readout, "--minutes", f"{READOUT_SHARE * minutes:g}"),
        scene=(*recipes.scene, "--model.minutes", f"{scene_share * minutes:g}"),
        world_model=(*recipes.world_model, "--minutes", f"{world_model_share * minutes:g}"),
        decoder=(*recipes.decoder, "--minutes", f"{DECODER_SHARE * minutes:g}"),
    )
    if train_episodes == TRAIN_EPISODES:
        return recipes
    return replace(
        recipes,
        validation_episodes=max(10, train_episodes // 20),
        offsets=("0",),
        odometry=("--odometry.steps", "500"),
        world_model=(*recipes.world_model, "--validation-samples", "8"),
        calibration=("--episodes", "8", "--steps", "4"),
    )
