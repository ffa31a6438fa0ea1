"""Features of clips, from networks that are called like the field's and from files that are none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hwm_env.errors import CheckpointError
from hwm_env.evaluation.video_features import BATCH, VideoFeatures
from tests.evaluation.detectors import Flat, Grid, Unlike, grid_features, saved

CLIPS = torch.randint(0, 256, (BATCH + 3, 17, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_network_sees_videos_as_the_field_gives_them(tmp_path: Path) -> None:
    detector = VideoFeatures.load(saved(Grid(), tmp_path / "grid.pt"))
    assert detector.name == "grid.pt"
    features = detector(CLIPS)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.double(), grid_features(CLIPS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_files_that_are_no_networks_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "some.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"found nothing; give a video classifier|is not a TorchScript file"):
        VideoFeatures.load(file)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Unlike(), r"some\.pt cannot be called like i3d_torchscript\.pt with videos \(1, 3, 17, 64, 64\)"),
        (Flat(), r"some\.pt: expected features \[1, D\], got \(1,\)"),
    ],
)
def test_networks_of_another_kind_are_refused(tmp_path: Path, network: nn.Module, message: str) -> None:
    file = saved(network, tmp_path / "some.pt")
    with pytest.raises(CheckpointError, match=message):
        VideoFeatures.load(file)
