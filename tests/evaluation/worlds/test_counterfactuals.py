"""Responses to counterfactual actions, in worlds whose scores are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.errors import DatasetError
from hwm_env.evaluation.worlds import counterfactuals
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.counterfactuals import COMMANDS, measure_counterfactuals
from hwm_env.reference import robot
from hwm_env.types import ACTION_NAMES
from tests.evaluation.worlds.standing import IN_THE_OPEN, Standing


class Actor:
    """A simulator that shows the true clips of some actions, whichever it receives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shown_actions: list[int]) -> None:
        self.checkpoint = SimpleNamespace(image_size=64)
        self.scene = None
        self.tokenizer = self
        self.device = "cpu"
        self._shown_actions = shown_actions
        truth = counterfactuals._true_clips

        def record(*args: object) -> tuple[np.ndarray, Tensor]:
            measured, self._frames = truth(*args)  # type: ignore[arg-type]
            return measured, self._frames

        monkeypatch.setattr(counterfactuals, "_true_clips", record)
        loops = Loops(torch.zeros(len(COMMANDS), 1), None)
        monkeypatch.setattr(counterfactuals, "continue_worlds", lambda *args, poses: loops)

    def decode(self, tokens: Tensor) -> Tensor:
        return self._frames[self._shown_actions]


@pytest.mark.usefixtures("needs_rendering")
def test_a_world_that_follows_its_actions_is_always_right(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Actor(monkeypatch, list(range(len(COMMANDS))))
    measured = measure_counterfactuals(world, Standing(IN_THE_OPEN, IN_THE_OPEN), starts=2, seed=0)  # type: ignore[arg-type]
    assert (measured.starts, measured.right) == (2, 1.0)
    assert set(measured.right_by_action.values()) == {1.0}
    assert not any(measured.confused_with.values())


@pytest.mark.usefixtures("needs_rendering")
def test_a_world_that_never_moves_is_right_once_in_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Actor(monkeypatch, [0] * len(COMMANDS))
    measured = measure_counterfactuals(world, Standing(IN_THE_OPEN), starts=1, seed=0)  # type: ignore[arg-type]
    assert measured.right == pytest.approx(1 / 7)
    assert measured.right_by_action == {name: float(name == "stay") for name in COMMANDS}
    assert measured.confused_with == {name: {} if name == "stay" else {"stay": 1} for name in COMMANDS}


@pytest.mark.parametrize(
    "held_out",
    [
        Standing(IN_THE_OPEN, left_shoulder_pitch=1.0),
        Standing((3.4, 0.0, 0.0)),
        Standing(IN_THE_OPEN, linear_velocity=0.3),
    ],
    ids=["an arm is up", "nowhere to go", "it drives"],
)
def test_only_moments_that_suit_all_actions_are_starts(held_out: Standing) -> None:
    with pytest.raises(DatasetError, match="rests before free space"):
        measure_counterfactuals(None, held_out, starts=1, seed=0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("needs_rendering")
def test_the_true_clips_show_and_measure_what_was_commanded() -> None:
    with counterfactuals.ReferenceWorld(64) as world:
        measured, frames = counterfactuals._true_clips(world, np.array(IN_THE_OPEN, np.float64), robot.REST_POSE)
    names = list(COMMANDS)
    last = measured[:, -1]
    assert last[names.index("left"), ACTION_NAMES.index("angular_velocity")] == pytest.approx(0.6)
    assert last[names.index("forward"), ACTION_NAMES.index("linear_velocity")] == pytest.approx(0.5)
    # Half a second at 1.5 rad/s.
    raised = last[names.index("left_arm_up"), ACTION_NAMES.index("left_shoulder_pitch")]
    assert raised == pytest.approx(1.5 * 17 / 30, rel=1e-5)
    assert np.array_equal(last[names.index("stay")], robot.REST_POSE)
    left, right = frames[names.index("left_arm_up")].float(), frames[names.index("right_arm_up")].float()
    stay = frames[names.index("stay")].float()
    assert (left - stay)[-1, :, :32].abs().sum() > (left - stay)[-1, :, 32:].abs().sum()
    assert (right - stay)[-1, :, :32].abs().sum() < (right - stay)[-1, :, 32:].abs().sum()
    assert torch.equal(frames[0, 0], frames[0, -1])
