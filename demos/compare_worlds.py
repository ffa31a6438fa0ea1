"""Compares both worlds under the same actions, side by side, with their difference and PSNR.

    python -m demos.compare_worlds --policy policies.recorded:from_replay@out/teleop/drive_000.npz

A policy acts in the reference world, and the measured actions are repeated in the learned world from the same start.
Writes compare_worlds.mp4 (reference world, learned world, difference, PSNR so far) and compare_worlds.png (the last
frame of each step). If the learned world has a scene, both show a floor plan with the robot of each world.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
import torch

import hwm_env  # noqa: F401 (registers the environments)
from demos.driving.floor_plan import COLOURS, FloorPlan, captions
from demos.driving.session import WorldName
from demos.driving.track import Track
from demos.panels import LABEL_PIXELS, panel, side_by_side
from hwm_env.arguments import parse_config
from hwm_env.data.png import write_png
from hwm_env.data.videos import write_video
from hwm_env.errors import HWMError, InvalidInputError, require_extra
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.fields import CheckedFields, Count, checked
from hwm_env.scene.scene import Scene
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, UInt8Array

require_extra("PIL.Image", "demo")

from PIL import Image, ImageDraw, ImageFont  # noqa: E402

PANEL: Final = 320
STRIP: Final = 112
CURVE_HEIGHT: Final = 150
LOW_DB, HIGH_DB = 8.0, 32.0
"""Limits of the curve's vertical axis."""
_LEARNED, _BASELINE = (200, 90, 20), (120, 120, 120)


@dataclass(frozen=True, slots=True, eq=False)
class PairedEpisode:
    """One episode in both worlds."""

    first: UInt8Array
    """The last frame before both, [S, S, 3]."""
    truth: UInt8Array
    """Frames of the reference world, [N, S, S, 3]."""
    learned: UInt8Array
    """Frames of the learned world, [N, S, S, 3]."""
    infos: Mapping[WorldName, Sequence[Mapping[str, Any]]]
    """Infos of the environments after the reset and after each step."""
    scene: Scene | None
    """The learned world's scene, if any."""

    @property
    def psnr(self) -> list[float]:
        """PSNR of each frame of the learned world (dB)."""
        return _psnr(self.learned, self.truth)

    @property
    def psnr_of_first(self) -> list[float]:
        """PSNR of the first frame, repeated (dB)."""
        return _psnr(np.broadcast_to(self.first, self.truth.shape).copy(), self.truth)

    def tracks(self, frame: int) -> dict[WorldName, Track]:
        """Returns the track of each world's robot up to a frame."""
        step, within = divmod(frame, FRAMES_PER_CLIP)
        share = (within + 1) / FRAMES_PER_CLIP
        return {name: Track.of(infos[: step + 2]).during(share) for name, infos in self.infos.items()}


def compare(policy_name: str, task: str | None, start: int, seed: int, steps: int, checkpoint: str) -> PairedEpisode:
    """Plays an episode in the reference world, and repeats its measured actions in the learned world.

    Args:
        policy_name: name of a policy, see `hwm_env.evaluation.policies.loading.load_policies`.
        task: name of a task, for policies that need a goal.
        start: index of the recorded start.
        seed: seed of goal, policy and noise.
        steps: env steps.
        checkpoint: name or directory of the learned world.

    Raises:
        HWMError: a name is unknown, or the reference world is not available.
    """
    checked("steps", steps, Count)
    policy, *_ = load_policies(policy_name, task or "none")
    common: dict[str, Any] = {"checkpoint": checkpoint, "task": task, "max_episode_steps": -1}
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


def write_film(episode: PairedEpisode, file: Path) -> None:
    """Writes all frames as a video of 30 frames a second."""
    psnr, baseline = episode.psnr, episode.psnr_of_first
    plan = None if episode.scene is None else FloorPlan(episode.scene.odometry, PANEL)
    frames = []
    for index, (true, learned) in enumerate(zip(episode.truth, episode.learned, strict=True)):
        panels = [
            panel(frame, label, PANEL)
            for frame, label in (
                (true, "reference world: the truth"),
                (learned, "learned world: predicted"),
                (_difference(true, learned), "difference (white: none)"),
            )
        ]
        if plan is not None:
            panels.append(_plan_panel(plan, episode.tracks(index), PANEL))
        joined = side_by_side(panels)
        frames.append(np.concatenate([joined, _curve(psnr, baseline, index + 1, joined.shape[1])]))
    write_video(file, np.stack(frames))


def write_sheet(episode: PairedEpisode, file: Path) -> None:
    """Writes the last frame of each step, one column per step, and the whole curve."""
    last = slice(FRAMES_PER_CLIP - 1, None, FRAMES_PER_CLIP)
    columns = [
        np.concatenate(
            [
                panel(frame, label, STRIP)
                for frame, label in (
                    (true, f"{step}: reference"),
                    (learned, "learned"),
                    (_difference(true, learned), "difference"),
                )
            ]
        )
        for step, (true, learned) in enumerate(zip(episode.truth[last], episode.learned[last], strict=True), start=1)
    ]
    sheet = side_by_side(columns)
    if episode.scene is not None:
        pixels = len(sheet) - LABEL_PIXELS
        plan = FloorPlan(episode.scene.odometry, pixels)
        sheet = side_by_side([sheet, _plan_panel(plan, episode.tracks(len(episode.truth) - 1), pixels)])
    curve = _curve(episode.psnr, episode.psnr_of_first, len(episode.truth), max(sheet.shape[1], 480))
    sheet = np.pad(sheet, ((0, 0), (0, curve.shape[1] - sheet.shape[1]), (0, 0)), constant_values=255)
    write_png(file, np.concatenate([sheet, curve]))


def _executed(env: Any) -> Float32Array:
    """Returns the measured actions of the newest step in the reference world, [17, 25]."""
    measured: Float32Array = env.moment.measured.copy()
    return measured


def _plan_panel(plan: FloorPlan, tracks: Mapping[WorldName, Track], pixels: int) -> UInt8Array:
    """Draws the floor plan below the captions of its marks, each in the colour of its world."""
    label = Image.new("RGB", (pixels, LABEL_PIXELS), "white")
    pen, font, left = ImageDraw.Draw(label), ImageFont.load_default(size=11), 5.0
    for name, text in captions(tracks).items():
        pen.text((left, 5), text, fill=COLOURS[name], font=font)
        left += pen.textlength(text, font=font) + 12
    joined: UInt8Array = np.concatenate([np.asarray(label), plan.draw(tracks)])
    return joined


def _difference(true: UInt8Array, learned: UInt8Array) -> UInt8Array:
    """Draws the absolute difference of two frames; white where they are equal."""
    difference: UInt8Array = (255 - np.abs(true.astype(np.int16) - learned)).astype(np.uint8)
    return difference


def _curve(psnr: Sequence[float], baseline: Sequence[float], count: int, width: int) -> UInt8Array:
    """Draws the PSNR of the first `count` frames and of the baseline: [CURVE_HEIGHT, width, 3]."""
    picture = Image.new("RGB", (width, CURVE_HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    left, right, top, bottom = 46, width - 10, 30, CURVE_HEIGHT - 12

    def at(index: int, value: float) -> tuple[float, float]:
        share = (np.clip(value, LOW_DB, HIGH_DB) - LOW_DB) / (HIGH_DB - LOW_DB)
        return left + (right - left) * index / max(len(psnr) - 1, 1), bottom - (bottom - top) * float(share)

    for value in (10, 20, 30):
        pen.line([at(0, value), at(len(psnr) - 1, value)], fill=(225, 225, 225))
        pen.text((6, at(0, value)[1] - 8), f"{value} dB", fill="black", font=font)
    for values, colour in ((baseline, _BASELINE), (psnr, _LEARNED)):
        pen.line([at(index, value) for index, value in enumerate(values[:count])], fill=colour, width=2)
    texts: list[tuple[str, str | tuple[int, int, int]]] = [
        ("likeness to the truth (PSNR)", "black"),
        (f"learned world {psnr[count - 1]:.1f} dB", _LEARNED),
        (f"first frame repeated {baseline[count - 1]:.1f} dB", _BASELINE),
    ]
    x = float(left)
    for text, ink in texts:
        pen.text((x, 6), text, fill=ink, font=font)
        x += 20 + pen.textlength(text, font=font)
    return np.asarray(picture)


def _psnr(frames: UInt8Array, truth: UInt8Array) -> list[float]:
    scores: list[float] = psnr_db(torch.from_numpy(frames), torch.from_numpy(truth)).tolist()
    return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig(CheckedFields):
    """Runs the same actions in both worlds, and shows them side by side."""

    policy: str = "policies.tour:tour"
    """Policy: module:factory, module:factory@argument (policies.recorded:from_replay@FILE), or a zip of SB3."""
    task: str | None = None
    """Name of a task, for policies that need a goal."""
    start: int = 55
    """Recorded start."""
    seed: int = 0
    """Seed of goal, policy and noise."""
    steps: Count = 10
    """Env steps."""
    checkpoint: str = "room-64"
    """Name or directory of the learned world."""
    out: Path = Path("out")
    """Directory for film and sheet."""


def main(argv: list[str] | None = None) -> int:
    """Compares the worlds and writes the files; returns the exit status, 2 for errors."""
    try:
        config = parse_config(CompareConfig, argv, program="python -m demos.compare_worlds")
        episode = compare(config.policy, config.task, config.start, config.seed, config.steps, config.checkpoint)
        film, sheet = config.out / "compare_worlds.mp4", config.out / "compare_worlds.png"
        write_film(episode, film)
        write_sheet(episode, sheet)
    except HWMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"PSNR against the reference world: {np.mean(episode.psnr):.1f} dB, first frame repeated "
        f"{np.mean(episode.psnr_of_first):.1f} dB\nWritten: {film}, {sheet}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
