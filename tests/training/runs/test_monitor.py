"""TensorBoard files, read back with TensorBoard's own reader."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hwm_env.training.runs import monitor
from hwm_env.training.runs.monitor import TensorBoard


def read(directory: Path) -> EventAccumulator:
    events = EventAccumulator(str(directory), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_curves_and_videos_can_be_read_back(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    for step in (1, 2):
        board.numbers(step, {"train/loss": 1.0 / step})
    levels = torch.arange(0, 250, 50, dtype=torch.uint8)
    board.videos(2, "sample", levels[None, :, None, None, None].expand(2, 5, 8, 16, 3))
    events = read(tmp_path)
    assert [(point.step, point.value) for point in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    (picture,) = events.Images("sample/1")
    assert (picture.width, picture.height) == (16, 8)
    gif = Image.open(io.BytesIO(picture.encoded_image_string))
    assert gif.n_frames == 5
    for frame, level in enumerate(levels):
        gif.seek(frame)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - int(level)).max() <= 2


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both begin in one second, as the ninth and tenth of their process."""
    monkeypatch.setattr(monitor, "_numbers", itertools.count(9))
    monkeypatch.setattr(monitor.time, "time_ns", lambda: 10**18)
    first = TensorBoard(tmp_path, 0)
    for step in (1, 2, 3):
        first.numbers(step, {"loss": 10.0})
    second = TensorBoard(tmp_path, 2)
    second.numbers(3, {"loss": 5.0})
    assert [(point.step, point.value) for point in read(tmp_path).Scalars("loss")] == [(1, 10.0), (2, 10.0), (3, 5.0)]
