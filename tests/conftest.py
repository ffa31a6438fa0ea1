"""Fixtures and checkpoints that tests of several packages share."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from hwm_env.checkpoint import Checkpoint, save
from hwm_env.data.statistics import ActionStatistics
from hwm_env.decoding.config import DecodingConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.model.readout import Readout, ReadoutConfig
from hwm_env.reference import robot, room
from hwm_env.starts import Starts
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, FRAMES_PER_CLIP, HISTORY_CLIPS
from tests.combinations import Cover, all_combinations, pairwise

NUM_STARTS = 4

# MuJoCo chooses its graphics back end when it is first imported, and some tests import it themselves.
with contextlib.suppress(ImportError):
    importlib.import_module("hwm_env.reference.backend")

# The models of the tests are too small for several threads, which slow each other down on a busy machine.
torch.set_num_threads(1)

# By default an example may take 200 ms, but its duration depends on the load of the machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the files with slow tests first, so that no process runs one alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def make_tiny_checkpoint() -> Checkpoint:
    """Returns an untrained checkpoint with the shapes of a real one (64 x 64 pixels, 9 past clips), but narrower."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model_config = replace(TINY, grid_size=(8, 8), fsq_levels=(8, 8, 8, 5, 5, 5), num_past_clips=HISTORY_CLIPS)
    tokenizer_config = TinyTokenizerConfig(coarse_width=8, fine_width=8, frame_width=8, pixel_width=8)
    model = MaskedHWM(model_config)
    with torch.no_grad():
        for weight in model.parameters():
            # The output layers of an untrained model are zero, so that it would ignore its actions.
            weight.add_(0.2 * torch.randn_like(weight))
    actions = rng.uniform(robot.ACTION_LOW, robot.ACTION_HIGH, (NUM_STARTS, HISTORY_CLIPS, 1, ACTION_DIM))
    free = [xy for xy in rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, (200, 2)) if room.is_free(xy, margin_m=0.3)]
    poses = np.column_stack([free[:NUM_STARTS], rng.uniform(-np.pi, np.pi, NUM_STARTS)])
    tokens_shape = (NUM_STARTS, HISTORY_CLIPS, 3, *model_config.grid_size)
    return Checkpoint(
        model=model,
        tokenizer=TinyTokenizer(tokenizer_config),
        statistics=ActionStatistics(
            mean=actions.mean((0, 1, 2)).astype(np.float32),
            std=actions.std((0, 1, 2)).astype(np.float32),
            low=robot.ACTION_LOW,
            high=robot.ACTION_HIGH,
            p01=robot.ACTION_LOW,
            p99=robot.ACTION_HIGH,
            max_change=robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ),
        ),
        starts=Starts(
            torch.randint(model_config.codebook_size, tokens_shape, dtype=torch.int32),
            torch.from_numpy(np.repeat(actions, FRAMES_PER_CLIP, axis=2)).float(),
            torch.from_numpy(poses).float(),
        ),
        readout=Readout(
            ReadoutConfig(fsq_levels=model_config.fsq_levels, grid_size=model_config.grid_size, width=8, hidden=8)
        ),
        decoding=DecodingConfig(steps=2, history="streaming"),
    )


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(pairwise, id="pairs"),
        pytest.param(all_combinations, id="all", marks=pytest.mark.exhaustive),
    ],
)
def cover(request: pytest.FixtureRequest) -> Cover:
    """Chooses combinations of options: by default so that all pairs of values occur, in `make test-all` every one."""
    chosen: Cover = request.param
    return chosen


@pytest.fixture
def fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Returns a function that sets whether all devices seem to have bfloat16 in hardware."""
    return lambda is_fast: monkeypatch.setattr("hwm_env.precision.has_fast_bfloat16", lambda _: is_fast)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a checkpoint that loads and steps within milliseconds."""
    directory = tmp_path_factory.mktemp("checkpoint")
    save(make_tiny_checkpoint(), directory)
    return directory
