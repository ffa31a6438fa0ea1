"""Rows with encoded histories (`history="streaming"`) step alone as they do in a batch."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from tests.envs.conftest import MakeEnv

pytestmark = pytest.mark.slow

ARGUMENTS = {"history": "streaming", "obs_mode": "tokens", "decoding_steps": 1, "temperature": 0.0, "strict": True}


def test_a_world_does_not_notice_that_another_one_began_at_a_state(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    many, alone = (
        gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=str(tiny_checkpoint), **ARGUMENTS),
        make_env(**ARGUMENTS),
    )
    many.reset(seed=0)
    alone.reset(seed=0)
    alone.action_space.seed(0)
    for step in range(13):
        if step == 10:
            options = {"state": many.get_state()[1]}
            many.reset(options={"per_world": [{}, options], "reset_mask": np.array([False, True])})
        action = alone.action_space.sample()
        np.testing.assert_array_equal(many.step(np.stack([action] * 2))[0][0], alone.step(action)[0])
    many.close()
