"""Status texts and the stick figure of the robot, for the window and the browser."""

from typing import Final

import numpy as np

from demos.driving.controls import Controls
from demos.driving.drive import Drive
from hwm_env.reference.body import skeleton
from hwm_env.types import Float32Array

LATE_S: Final = 0.1
"""Stalls longer than this are reported."""

Bone = tuple[str, tuple[float, float], tuple[float, float]]
"""Side (left, right or body) and the two ends of a bone, in metres to the right and up."""


def lines(drive: Drive, controls: Controls, task: str | None) -> list[tuple[str, str]]:
    """Returns the status as pairs of a name and a text."""
    snapshot, pace, decoding = drive.shown.snapshot, drive.pace, drive.session.decoding
    view = next(iter(snapshot.views.values()))
    info = view.info
    goal = str(info.get("target", info.get("cube", "")))
    pose, probability = info.get("base_pose"), info.get("error_probability")
    waiting = f", waiting {pace.stalled_s:.1f} s" if pace.stalled_s > LATE_S else ""
    latency = "unknown" if pace.latency_s is None else f"{1000 * pace.latency_s:.0f} ms"
    passes = "pass" if decoding.steps == 1 else "passes"
    return [
        ("task", " ".join([task or "none", goal, "done" if info.get("is_success") else ""])),
        ("step", f"{snapshot.step}   reward {view.reward:+.2f}   sum {view.total_reward:+.2f}"),
        ("pose", "unknown" if pose is None else f"{pose[0]:+.2f} m  {pose[1]:+.2f} m  {np.degrees(pose[2]):+.0f} deg"),
        ("trust", "not calibrated" if probability is None else f"error probability {probability:.2f}"),
        ("decoding", f"{decoding.steps} {passes}, temperature {decoding.temperature:.1f}"),
        ("limb", f"{controls.limb}: {controls.joint}   speed {controls.speed:.0%}"),
        ("model", f"{pace.real_time_factor:.1f} x real time, {pace.queued_frames} frames ahead{waiting}"),
        ("latency", f"key to frame {latency}"),
    ]


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
