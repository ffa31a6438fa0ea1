"""The same actions in both worlds, side by side, with what differs and by how much.

    python -m demos.compare_worlds --policy policies.recorded:from_replay@out/teleop/drive_000.npz

A policy acts in the reference world; what its robot did there is then done in the learned world, from the same start.
Writes compare_worlds.mp4 (truth, learned world, difference, PSNR so far) and compare_worlds.png (the last frame of each
step). Where the learned world knows its room, both show a plan of it with the robot of each world.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import hwm_env  # noqa: F401 (registers the environments)
from demos.driving.floor_plan import COLOURS, FloorPlan, captions
from demos.driving.session import WorldName
from demos.driving.track import Track
from demos.panels import LABEL_PIXELS, panel, side_by_side
from hwm_env.data.png import write_png
from hwm_env.data.videos import write_video
from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.fields import Count, checked
from hwm_env.scene.scene import Scene
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, UInt8Array

PANEL: Final = 320
STRIP: Final = 112
CURVE_HEIGHT: Final = 150
LOW_DB, HIGH_DB = 8.0, 32.0
"""Ends of the curve's axis."""
_OURS, _BASELINE = (200, 90, 20), (120, 120, 120)


@dataclass(frozen=True, slots=True, eq=False)
class PairedEpisode:
    """One episode in both worlds."""

    first: UInt8Array
    """[S, S, 3]: what both begin after."""
    truth: UInt8Array
    """Frames of the reference world, [N, S, S, 3]."""
    learned: UInt8Array
    """The same of the learned world."""
    infos: Mapping[WorldName, Sequence[Mapping[str, Any]]]
    """What the envs say after the reset and after each step."""
    scene: Scene | None
    """What the learned world knows of its room."""

    @property
    def psnr(self) -> list[float]:
        """Of each frame of the learned world, dB."""
        return _psnr(self.learned, self.truth)

    @property
    def psnr_of_first(self) -> list[float]:
        """Of the first frame in their place."""
        return _psnr(np.broadcast_to(self.first, self.truth.shape).copy(), self.truth)

    def tracks(self, frame: int) -> dict[WorldName, Track]:
        """Where the robots are in a frame, and where they have been."""
        step, within = divmod(frame, FRAMES_PER_CLIP)
        share = (within + 1) / FRAMES_PER_CLIP
        return {name: Track.of(infos[: step + 2]).during(share) for name, infos in self.infos.items()}


def compare(policy_name: str, task: str | None, start: int, seed: int, steps: int, checkpoint: str) -> PairedEpisode:
    """Lives an episode in the reference world, and its actions in the learned one.

    Args:
        policy_name: as `hwm_env.evaluation.policies.loading.load_policies` takes it.
        task: name of a task, for policies that need a goal.
        start: recorded start.
        seed: of goal, policy and noise.
        steps: env steps.
        checkpoint: name or directory.

    Raises:
        HWMError: a name means nothing, or the reference world cannot be shown here.
    """
    checked("steps", steps, Count)
    policy, *_ = load_policies(policy_name, task or "none")
    common = {"checkpoint": checkpoint, "task": task, "max_episode_steps": -1}
    try:
        true_env: Any = gymnasium.make("HWMReference-v0", **common, **asdict(policy.interface)).unwrapped
    except gymnasium.error.UnregisteredEnv as error:
        raise InvalidInputError("the reference world needs MuJoCo: pip install 'hwm-env[reference]'") from error
    learned_env: Any = gymnasium.make("HWM-v0", **common, obs_mode="state", action_mode="chunk").unwrapped
    try:
        observation, true_info = true_env.reset(seed=seed, options={"start": start})
        _, learned_info = learned_env.reset(seed=seed, options={"start": start})
        infos: dict[WorldName, list[Mapping[str, Any]]] = {"reference": [true_info], "learned": [learned_info]}
        policy.reset([seed])
        first, truth, learned = true_env.moment.last_frame.copy(), [], []
        for _ in range(steps):
            observation, *_, true_info = true_env.step(policy.act([observation])[0])
            *_, learned_info = learned_env.step(_executed(true_env))
            infos["reference"].append(true_info)
            infos["learned"].append(learned_info)
            truth.append(true_env.clip)
            learned.append(learned_env.clip)
    finally:
        true_env.close()
        learned_env.close()
    return PairedEpisode(first, np.concatenate(truth), np.concatenate(learned), infos, learned_env.simulator.scene)


def write_film(comparison: PairedEpisode, file: Path) -> None:
    """Writes all frames, 30 a second."""
    psnr, baseline = comparison.psnr, comparison.psnr_of_first
    plan = None if comparison.scene is None else FloorPlan(comparison.scene.odometry, PANEL)
    frames = []
    for index, (true, ours) in enumerate(zip(comparison.truth, comparison.learned, strict=True)):
        row = _row(true, ours, PANEL, ("reference world", "learned world", "difference"))
        if plan is not None:
            row = side_by_side([row, _plan_panel(plan, comparison.tracks(index), PANEL)])
        frames.append(np.concatenate([row, _curve(psnr, baseline, index + 1, row.shape[1])]))
    write_video(file, np.stack(frames))


def write_sheet(comparison: PairedEpisode, file: Path) -> None:
    """Writes the last frame of each step, a column each, and the whole curve."""
    last = slice(FRAMES_PER_CLIP - 1, None, FRAMES_PER_CLIP)
    columns = [
        np.concatenate(
            [
                panel(frame, label, STRIP)
                for frame, label in (
                    (true, f"{step}: reference"),
                    (ours, "learned"),
                    (_difference(true, ours), "difference"),
                )
            ]
        )
        for step, (true, ours) in enumerate(zip(comparison.truth[last], comparison.learned[last], strict=True), start=1)
    ]
    sheet = side_by_side(columns)
    if comparison.scene is not None:
        pixels = len(sheet) - LABEL_PIXELS
        plan = FloorPlan(comparison.scene.odometry, pixels)
        sheet = side_by_side([sheet, _plan_panel(plan, comparison.tracks(len(comparison.truth) - 1), pixels)])
    curve = _curve(comparison.psnr, comparison.psnr_of_first, len(comparison.truth), max(sheet.shape[1], 480))
    sheet = np.pad(sheet, ((0, 0), (0, curve.shape[1] - sheet.shape[1]), (0, 0)), constant_values=255)
    write_png(file, np.concatenate([sheet, curve]))


def _executed(env: Any) -> Float32Array:
    """What the robot of the reference world did in the newest step, [17, 25]."""
    measured: Float32Array = env.moment.measured.copy()
    return measured


def _row(true: UInt8Array, ours: UInt8Array, pixels: int, labels: Sequence[str]) -> UInt8Array:
    pictures = (true, ours, _difference(true, ours))
    return side_by_side([panel(frame, label, pixels) for frame, label in zip(pictures, labels, strict=True)])


def _plan_panel(plan: FloorPlan, tracks: Mapping[WorldName, Track], pixels: int) -> UInt8Array:
    """The plan under what its marks tell, each in its colour."""
    label = Image.new("RGB", (pixels, LABEL_PIXELS), "white")
    pen, font, left = ImageDraw.Draw(label), ImageFont.load_default(size=11), 5.0
    for name, text in captions(tracks).items():
        pen.text((left, 5), text, fill=COLOURS[name], font=font)
        left += pen.textlength(text, font=font) + 12
    return np.concatenate([np.asarray(label), plan.draw(tracks)])


def _difference(true: UInt8Array, ours: UInt8Array) -> UInt8Array:
    """White where nothing differs."""
    return (255 - np.abs(true.astype(np.int16) - ours)).astype(np.uint8)


def _curve(psnr: Sequence[float], baseline: Sequence[float], count: int, width: int) -> UInt8Array:
    """PSNR over the frames, of which `count` are known: [CURVE_HEIGHT, width, 3]."""
    picture = Image.new("RGB", (width, CURVE_HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    left, right, top, bottom = 46, width - 10, 30, CURVE_HEIGHT - 12

    def at(index: int, value: float) -> tuple[float, float]:
        share = (np.clip(value, LOW_DB, HIGH_DB) - LOW_DB) / (HIGH_DB - LOW_DB)
        return left + (right - left) * index / max(len(psnr) - 1, 1), bottom - (bottom - top) * float(share)

    for value in (10, 20, 30):
        pen.line([at(0, value), at(len(psnr) - 1, value)], fill=(225, 225, 225))
        pen.text((6, at(0, value)[1] - 8), f"{value} dB", fill="black", font=font)
    for values, colour in ((baseline, _BASELINE), (psnr, _OURS)):
        pen.line([at(index, value) for index, value in enumerate(values[:count])], fill=colour, width=2)
    pen.text((left, 6), f"learned world {psnr[count - 1]:.1f} dB", fill=_OURS, font=font)
    pen.text((left + 190, 6), f"first frame repeated {baseline[count - 1]:.1f} dB", fill=_BASELINE, font=font)
    return np.asarray(picture)


def _psnr(frames: UInt8Array, truth: UInt8Array) -> list[float]:
    scores: list[float] = psnr_db(torch.from_numpy(frames), torch.from_numpy(truth)).tolist()
    return scores


def main(argv: list[str] | None = None) -> int:
    """Compares and writes; 2 where that cannot be done."""
    parser = argparse.ArgumentParser(description="The same actions in both worlds, side by side.")
    parser.add_argument(
        "--policy",
        default="policies.tour:tour",
        help="module:factory, module:factory@argument (policies.recorded:from_replay@FILE), or a zip of SB3",
    )
    parser.add_argument("--task", help="name of a task, for policies that need a goal")
    parser.add_argument("--start", type=int, default=55, help="recorded start")
    parser.add_argument("--seed", type=int, default=0, help="of goal, policy and noise")
    parser.add_argument("--steps", type=int, default=10, help="env steps")
    parser.add_argument("--checkpoint", default="room-64", help="name or directory of the learned world")
    parser.add_argument("--out", type=Path, default=Path("out"), help="directory for film and sheet")
    arguments = parser.parse_args(argv)
    try:
        comparison = compare(
            arguments.policy,
            arguments.task,
            arguments.start,
            arguments.seed,
            arguments.steps,
            arguments.checkpoint,
        )
        film, sheet = arguments.out / "compare_worlds.mp4", arguments.out / "compare_worlds.png"
        write_film(comparison, film)
        write_sheet(comparison, sheet)
    except HWMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"PSNR against the reference world: {np.mean(comparison.psnr):.1f} dB, first frame repeated "
        f"{np.mean(comparison.psnr_of_first):.1f} dB\nWritten: {film}, {sheet}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
