"""What a drive has to tell: sentences for everybody, numbers for experts, and the stick figure of the robot."""

from typing import Final

import numpy as np

from demos.driving.controls import Controls
from demos.driving.drive import Drive
from demos.driving.session import DriveSnapshot, View
from hwm_env.reference.body import skeleton
from hwm_env.tasks.registry import kind_of
from hwm_env.types import CLIP_DURATION_S, Float32Array

LATE_S: Final = 0.1
"""Stalls longer than this are reported."""
_GOALS: Final = {
    "drive-to-target": "drive to the {}",
    "face-target": "turn to the {}",
    "look-at": "look at the {}",
    "reach-cube": "put a hand on the {} cube",
}

Bone = tuple[str, tuple[float, float], tuple[float, float]]
"""Side (left, right or body) and the two ends of a bone, in metres to the right and up."""


def sentences(drive: Drive, task: str | None) -> list[tuple[str, str]]:
    """Returns what everybody should know, as pairs of a name and a text."""
    snapshot, pace = drive.shown.snapshot, drive.pace
    latency = "" if pace.latency_s is None else f", a key shows after {pace.latency_s:.1f} s"
    speed = f"{pace.real_time_factor:.1f} times as fast as real time{latency}"
    return [
        ("goal", _goal(next(iter(snapshot.views.values())), task)),
        ("trust", _trust(snapshot)),
        ("time", f"{snapshot.step * CLIP_DURATION_S:.1f} s, step {snapshot.step}, {snapshot.rewinds} can be undone"),
        ("speed", f"waiting {pace.stalled_s:.1f} s for the model" if pace.stalled_s > LATE_S else speed),
    ]


def numbers(drive: Drive, controls: Controls) -> list[tuple[str, str]]:
    """Returns what experts want to know, as pairs of a name and a text."""
    snapshot, pace, decoding = drive.shown.snapshot, drive.pace, drive.session.decoding
    view = next(iter(snapshot.views.values()))
    pose, learned = view.info.get("base_pose"), snapshot.views.get("learned")
    confidence = None if learned is None else learned.info.get("confidence")
    steps = "1 step" if decoding.steps == 1 else f"{decoding.steps} steps"
    return [
        ("pose", "unknown" if pose is None else f"{pose[0]:+.2f} m, {pose[1]:+.2f} m, {np.degrees(pose[2]):+.0f}°"),
        ("reward", f"{view.reward:+.2f}, sum {view.total_reward:+.2f}"),
        ("confidence", "unknown" if confidence is None else f"{confidence:+.2f} nats per token"),
        ("decoding", f"{steps}, temperature {decoding.temperature:.1f}"),
        ("joint", f"{controls.limb}: {controls.joint}" if controls.joint else "none"),
        ("driving", f"at {controls.speed:.0%} of the highest speed"),
        ("frames", f"{pace.queued_frames} ahead"),
    ]


def error_probability(snapshot: DriveSnapshot) -> float | None:
    """Returns the probability that the learned world's newest clip is wrong; `None` if it is unknown or not shown."""
    learned = snapshot.views.get("learned")
    probability = None if learned is None else learned.info.get("error_probability")
    return None if probability is None else float(probability)


def percentage(probability: float) -> str:
    """Returns a probability in words, such as "5 %"; never 0 % or 100 %."""
    if probability < 0.01:
        return "less than 1 %"
    return "more than 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def figure(state: Float32Array) -> dict[str, list[Bone]]:
    """Returns the robot's skeleton for a state [25], seen from its `side` (facing right) and from `behind`."""
    bones = skeleton(np.zeros((1, 3)), state[None])
    views: dict[str, list[Bone]] = {"side": [], "behind": []}
    for name, (start, end) in bones.items():
        side = name.split("_")[0] if name.startswith(("left", "right")) else "body"
        for view, column, sign in (("side", 0, 1), ("behind", 1, -1)):
            ends = [(sign * float(point[0, column]), float(point[0, 2])) for point in (start, end)]
            views[view].append((side, ends[0], ends[1]))
    return views


def _goal(view: View, task: str | None) -> str:
    if task is None:
        return "none, just drive"
    thing = str(view.info.get("target", view.info.get("cube", ""))).replace("_", " ")
    goal = _GOALS[kind_of(task)].format(thing) if thing and kind_of(task) in _GOALS else task
    return f"{goal}: done" if view.info.get("is_success") else goal


def _trust(snapshot: DriveSnapshot) -> str:
    if "learned" not in snapshot.views:
        return "this is the ground truth"
    which = "this" if len(snapshot.views) == 1 else "the predicted"
    probability = error_probability(snapshot)
    chance = "unknown (not calibrated)" if probability is None else percentage(probability)
    return f"probability that {which} picture is wrong: {chance}"
