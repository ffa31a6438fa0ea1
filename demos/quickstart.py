"""Plays one policy from one start in the reference world and in the learned world.

Writes out/quickstart.mp4 and out/quickstart.png, and prints how close the learned world stays to the truth. If MuJoCo
cannot render, the recorded ground truth of the same tour replaces the reference world.
"""

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import hwm_env  # noqa: F401 (registers the environments)
from demos.panels import panel, side_by_side
from hwm_env.arguments import parse_config
from hwm_env.data.files import write_bytes
from hwm_env.data.png import write_png
from hwm_env.data.videos import write_video
from hwm_env.errors import HWMError, exit_with_one_line
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.fields import CheckedFields
from hwm_env.types import CLIP_DURATION_S, UInt8Array
from policies.tour import TOUR, Tour

START = 55
"""A start with the left arm in view and the table ahead."""
RECORDED_TRUTH = Path(__file__).with_name("recorded_truth.npz")


@dataclass(frozen=True, slots=True)
class QuickstartEpisode:
    """The frames of the tour in one world."""

    first_frame: UInt8Array
    """The last frame before the first step, [S, S, 3]."""
    clips: UInt8Array
    """The clip of each step, [steps, 17, S, S, 3]."""
    step_s: float
    """Median wall-clock time of a step, including its frames (s)."""


def play(env_id: str) -> QuickstartEpisode:
    """Plays the tour in an environment."""
    env: Any = gymnasium.make(env_id, task=None, obs_mode="pixels_state", action_mode="chunk")
    policy = Tour()
    policy.reset([0])
    observation, _ = env.reset(seed=0, options={"start": START})
    first_frame, clips, times = observation["pixels"], [], []
    for _ in TOUR:
        began = time.perf_counter()
        observation, *_ = env.step(policy.act([observation])[0])
        clips.append(env.unwrapped.clip)
        times.append(time.perf_counter() - began)
    env.close()
    return QuickstartEpisode(first_frame, np.stack(clips), float(np.median(times)))


def play_truth() -> tuple[QuickstartEpisode, str]:
    """Plays the tour in the reference world, or loads its recording; also returns a label of the source."""
    try:
        return play("HWMReference-v0"), "reference world"
    except (HWMError, gymnasium.error.UnregisteredEnv) as error:
        print(f"The reference world cannot be shown here ({error}). Its recorded ground truth is played instead.\n")
        with np.load(RECORDED_TRUTH, allow_pickle=False) as recorded:
            return QuickstartEpisode(recorded["first_frame"], recorded["clips"], float("nan")), "reference (recorded)"


def psnr_by_step(clips: UInt8Array, truth: UInt8Array) -> list[float]:
    """Returns the PSNR (dB) of each step's clip against the truth."""
    scores: list[float] = psnr_db(torch.from_numpy(clips), torch.from_numpy(truth)).tolist()
    return scores


def print_table(truth: QuickstartEpisode, learned: QuickstartEpisode) -> None:
    """Prints the PSNR of each step in the learned world and of a baseline."""
    model = psnr_by_step(learned.clips, truth.clips)
    repeat = psnr_by_step(np.broadcast_to(truth.first_frame, truth.clips.shape).copy(), truth.clips)
    print("PSNR against the reference world, dB (the learned world is never corrected)")
    print(f"{'step':>4}  {'action':<14}{'learned':>9}{'repeat first frame':>20}")
    for step, ((name, _), score, baseline) in enumerate(zip(TOUR, model, repeat, strict=True), start=1):
        print(f"{step:>4}  {name:<14}{score:>9.1f}{baseline:>20.1f}")
    print(f"mean  {'':<14}{np.mean(model):>9.1f}{np.mean(repeat):>20.1f}")
    print(
        f"\nA step of HWM-v0 shows {CLIP_DURATION_S:.3f} s of robot time and took {learned.step_s:.3f} s: "
        f"{CLIP_DURATION_S / learned.step_s:.1f} times real time."
    )


def write_comparison(truth: QuickstartEpisode, truth_label: str, learned: QuickstartEpisode, file: Path) -> None:
    """Writes both worlds side by side as a video of 30 frames a second."""
    pairs = [
        side_by_side([panel(true_frame, f"{truth_label}: {name}", 256), panel(learned_frame, "learned world", 256)])
        for (name, _), true_clip, learned_clip in zip(TOUR, truth.clips, learned.clips, strict=True)
        for true_frame, learned_frame in zip(true_clip, learned_clip, strict=True)
    ]
    write_video(file, np.stack(pairs))


def write_contact_sheet(truth: QuickstartEpisode, truth_label: str, learned: QuickstartEpisode, file: Path) -> None:
    """Writes the last frame of each step: the truth above, the learned world below."""
    strips = [
        side_by_side(
            [
                panel(frame, label, 160)
                for frame, label in zip(
                    [episode.first_frame, *episode.clips[:, -1]],
                    [world, *(f"{step} {name}" for step, (name, _) in enumerate(TOUR, start=1))],
                    strict=True,
                )
            ]
        )
        for episode, world in ((truth, truth_label), (learned, "learned world"))
    ]
    write_png(file, np.concatenate(strips))


@dataclass(frozen=True, kw_only=True, slots=True)
class QuickstartConfig(CheckedFields):
    """Plays one policy from one start in two worlds."""

    out: Path = Path("out")
    """Directory for the video and the contact sheet."""
    record_truth: bool = False
    """Record the ground truth from the reference world again, and stop."""


def main() -> None:
    """Plays the tour in both worlds, prints the table and writes the files."""
    config = parse_config(QuickstartConfig, program="python -m demos.quickstart")
    if config.record_truth:
        truth = play("HWMReference-v0")
        content = io.BytesIO()
        np.savez_compressed(content, first_frame=truth.first_frame, clips=truth.clips)
        write_bytes(RECORDED_TRUTH, content.getvalue())
        return
    truth, truth_label = play_truth()
    learned = play("HWM-v0")
    print_table(truth, learned)
    video, sheet = config.out / "quickstart.mp4", config.out / "quickstart.png"
    write_comparison(truth, truth_label, learned, video)
    write_contact_sheet(truth, truth_label, learned, sheet)
    print(f"\nWritten: {video} (side by side), {sheet} (last frame of each step)")


if __name__ == "__main__":
    with exit_with_one_line():
        main()
