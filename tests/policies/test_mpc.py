"""Planning in the world of the episode, and in another one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwm_env import checkpoint as checkpoints
from hwm_env.envs.episodes import Episode
from hwm_env.evaluation.policies.player import Player
from hwm_env.evaluation.policies.trials import make_cases, play
from hwm_env.reference import robot
from hwm_env.reference.rendering import can_render
from hwm_env.tasks.base import RecordedHistory
from hwm_env.types import FRAMES_PER_CLIP, LINEAR_VELOCITY
from policies.mpc import MPC
from policies.planners.planner import PlannerConfig
from tests.policies.planners.worlds import Arrive, Line, Place

QUICK = PlannerConfig(horizon=2, samples=16, iterations=2)


@pytest.mark.slow
def test_an_oracle_turns_to_its_target(tiny_checkpoint: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    with Player(checkpoints.load(tiny_checkpoint), {}, 12) as player:
        world = player.world("true")
        trials = play(world, MPC("face-target", "icem", None, QUICK), "face-target", make_cases(4, 4, 0), 12)
        assert [trial.success for trial in trials] == [True] * 4
        assert max(trial.steps for trial in trials) <= 8


def test_another_world_is_known_by_what_was_seen_of_it() -> None:
    """Tokens and measured actions of each clip join the history, whose newest nine clips begin the planning world."""
    measured = np.tile(robot.REST_POSE, (FRAMES_PER_CLIP, 1))
    measured[:, LINEAR_VELOCITY] = 0.5
    histories = [RecordedHistory(np.arange(9)[:, None], np.stack([measured] * 9), None)]
    imagination: Any = Line(identity="imagined")
    policy = MPC("drive-to-target", "cem", imagination, QUICK)
    world: Any = SimpleNamespace(identity="true")
    policy.reset([0])

    def episode(x: float, steps: int) -> Any:
        return Episode(Place(x, measured, tokens=np.array([x])), Arrive(12.0), steps)  # type: ignore[arg-type, type-var]

    first, second = episode(8.0, 0), episode(10.0, 1)
    policy.begin(world, histories, [first])
    policy.watch([first])
    policy.watch([second])
    policy.watch([second])  # Its episode is over: nothing to plan.
    seen = [history.tokens[:, 0].tolist() for history in imagination.begun]
    assert seen == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 10]]
    assert [history.expected_pose is None for history in imagination.begun] == [True, False]
    assert imagination.begun[1].expected_pose == pytest.approx([8.5, 0, 0]), "where the wheels lead from 8"
    assert policy.act([{}]).shape == (1, FRAMES_PER_CLIP, 25)
    assert policy.act([{}])[0, :, LINEAR_VELOCITY].mean() > 0


def test_its_own_world_is_imagined_from_where_it_is() -> None:
    line: Any = Line(identity="same")
    policy = MPC("drive-to-target", "cem", Line(identity="same"), QUICK)  # type: ignore[arg-type]
    policy.reset([0])
    measured = np.tile(robot.REST_POSE, (FRAMES_PER_CLIP, 1))
    here: Any = Episode(Place(3.0, measured), Arrive(2.0), 0)  # type: ignore[arg-type, type-var]
    policy.begin(line, [RecordedHistory(np.zeros((1, 1), np.int32), measured[None], None)], [here])
    policy.watch([here])
    assert policy.act([{}])[0, :, LINEAR_VELOCITY].mean() < 0
