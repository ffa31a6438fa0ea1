"""What a drive tells, word by word."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from demos.driving.controls import Controls
from demos.driving.drive import Pace
from demos.driving.session import DriveSnapshot, View
from demos.driving.status import error_probability, numbers, percentage, sentences
from demos.driving.track import Track
from hwm_env.decoding.config import DecodingConfig
from hwm_env.reference import robot


@dataclass
class Session:
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(steps=2, temperature=0.5))


@dataclass
class Shown:
    snapshot: DriveSnapshot


EASY = Pace(compute_s=0.2, latency_s=0.62, queued_frames=9, stalled_s=0.0)


class Drive:
    """A drive of whom only the words matter."""

    def __init__(self, pace: Pace = EASY, **infos: dict[str, Any]) -> None:
        self.pace, self.session = pace, Session()
        frames = np.zeros((1, 2, 2, 3), np.uint8)
        views = {name: View(frames, info, 0.5, -1.0, Track.of([info])) for name, info in infos.items()}
        self.shown = Shown(DriveSnapshot(12, robot.REST_POSE, views, 0.2, 7))  # type: ignore[arg-type]


def said(drive: Drive, task: str | None = None) -> dict[str, str]:
    return dict(sentences(drive, task))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.0, "less than 1 %"), (0.05, "5 %"), (0.5, "50 %"), (0.98, "98 %"), (1.0, "more than 99 %")],
)
def test_a_probability_in_words(probability: float, words: str) -> None:
    assert percentage(probability) == words
    drive = Drive(learned={"error_probability": np.float32(probability)})
    assert said(drive)["trust"] == f"probability that this picture is wrong: {words}"


def test_trust_is_about_the_learned_world() -> None:
    both = Drive(learned={"error_probability": 0.12}, reference={"error_probability": 0.0})
    assert said(both)["trust"] == "probability that the predicted picture is wrong: 12 %"
    assert error_probability(both.shown.snapshot) == 0.12
    truth = Drive(reference={"error_probability": 0.0})
    assert said(truth)["trust"] == "this is the ground truth"
    assert error_probability(truth.shown.snapshot) is None
    assert said(Drive(learned={}))["trust"] == "probability that this picture is wrong: unknown (not calibrated)"


@pytest.mark.parametrize(
    ("task", "info", "words"),
    [
        (None, {}, "none, just drive"),
        ("drive-to-target", {"target": "red_pillar"}, "drive to the red pillar"),
        ("face-target:door", {"target": "door", "is_success": True}, "turn to the door: done"),
        ("reach-cube", {"cube": "blue", "is_success": False}, "put a hand on the blue cube"),
        ("goal-image", {}, "goal-image"),
    ],
)
def test_the_goal(task: str | None, info: dict[str, Any], words: str) -> None:
    assert said(Drive(learned=info), task)["goal"] == words


def test_time_and_speed() -> None:
    lines = said(Drive(learned={}))
    assert lines["time"] == "6.8 s, step 12, 7 can be undone"
    assert lines["speed"] == "2.8 times as fast as real time, a key shows after 0.6 s"
    assert said(Drive(Pace(1.0, None, 0, 0.0), learned={}))["speed"] == "0.6 times as fast as real time"
    assert said(Drive(Pace(1.0, None, 0, 0.7), learned={}))["speed"] == "waiting 0.7 s for the model"


def test_numbers() -> None:
    info = {"base_pose": np.array([1, -0.5, np.pi / 2], np.float32), "confidence": -1.5}
    assert dict(numbers(Drive(learned=info), Controls())) == {  # type: ignore[arg-type]
        "pose": "+1.00 m, -0.50 m, +90°",
        "reward": "+0.50, sum -1.00",
        "confidence": "-1.50 nats per token",
        "decoding": "2 steps, temperature 0.5",
        "joint": "left arm: left_shoulder_pitch",
        "driving": "at 100% of the highest speed",
        "frames": "9 ahead",
    }
