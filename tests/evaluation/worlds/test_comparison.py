"""Comparisons of simulators whose scores are known, and of a real one against a loop written out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env import cli
from hwm_env.checkpoint import load
from hwm_env.data.labels import GAP, STRIP_HEIGHT
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.evaluation.frechet import frechet_distance
from hwm_env.evaluation.lpips import LPIPS, weight_shapes
from hwm_env.evaluation.reports.comparison_videos import write_comparisons
from hwm_env.evaluation.worlds import comparison
from hwm_env.evaluation.worlds.comparison import compare
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from tests.evaluation.detectors import Grid, grid_features, saved

av = pytest.importorskip("av")
pytest.importorskip("PIL")
pytest.importorskip("torchmetrics")

SIZE = 64
LIGHTER = 3
"""Difference of grey values between the recorded images and the decoded tokens."""

SSIM_PRECISION = 3e-3
"""Error for flat images in float32, whose variance is a small difference of large numbers."""

MakeData = Callable[..., Dataset]


class Lookup:
    """A tokenizer of flat clips: a token is the grey value of the first frame, and each next frame is lighter by 1."""

    fsq_levels = (8, 8, 8, 5, 5, 5)
    codebook_size = 64_000
    identity = token_identity = "lookup"
    spatial_compression = 8

    def decode(self, tokens: Tensor) -> Tensor:
        greys = tokens[:, 0, 0, 0, None] + torch.arange(17)
        return greys.view(-1, 17, 1, 1, 1).to(torch.uint8).expand(-1, 17, SIZE, SIZE, 3)


def grey_of(clip: int) -> int:
    """Returns the grey value, and token, of a clip's first frame by its index in the shard."""
    return 100 + 40 * (clip % 2) + clip


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    """Makes data sets of one shard, with episodes of given lengths in clips; actions encode the clip's grey value."""

    def make(*lengths: int, images: bool = False, tokenizer: str | None = "lookup") -> Dataset:
        greys = np.array([grey_of(clip) for clip in range(sum(lengths))])
        size = (SIZE, SIZE) if images else None
        writer = DatasetWriter(tmp_path / "data", token_grid=(8, 8), image_size=size, tokenizer=tokenizer)
        frames = greys.repeat(17) + np.tile(np.arange(17), len(greys)) + LIGHTER
        writer.write_shard(
            0,
            states=greys.repeat(17).reshape(-1, 1).repeat(25, axis=1).astype(np.float32),
            segments=np.arange(len(lengths), dtype=np.int32).repeat([17 * length for length in lengths]),
            tokens=np.broadcast_to(greys.reshape(-1, 1, 1, 1), (len(greys), 3, 8, 8)).astype(np.int32),
            frames=np.broadcast_to(frames.reshape(-1, 1, 1, 1), (len(frames), SIZE, SIZE, 3)).astype(np.uint8)
            if images
            else None,
        )
        writer.finish(1)
        return Dataset(tmp_path / "data")

    return make


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    simulator.tokenizer = Lookup()
    return simulator


@pytest.fixture
def perfect(simulator: WorldSimulator, monkeypatch: pytest.MonkeyPatch) -> WorldSimulator:
    """A simulator that decodes the clip's grey value from the actions."""

    def step(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
        tokens = actions[:, :1, :1, None].int().expand(-1, 3, 8, 8)
        return state, Clip(tokens, torch.zeros(tokens.shape), torch.zeros(tokens.shape), Lookup())

    monkeypatch.setattr(simulator, "step", step)
    return simulator


def psnr(a: float, b: float) -> float:
    return 100.0 if a == b else 20 * np.log10(255 / abs(a - b))


def ssim(a: float, b: float) -> float:
    """Returns the SSIM of two flat images, whose contrast and structure terms are 1."""
    a, b = a / 255, b / 255
    return (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)


def greys(images: np.ndarray) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


def test_a_perfect_world_scores_like_the_truth_and_repeating_has_its_closed_form(
    perfect: WorldSimulator, make_data: MakeData
) -> None:
    (sample,) = compare(perfect, make_data(12), samples=1, steps=3)
    assert (sample.shard, sample.first_clip, sample.history_clips, sample.seed) == (0, 0, 9, 0)
    assert greys(sample.history) == greys(sample.history_seen) == [grey_of(8) + frame for frame in range(17)]
    truth = [grey_of(9 + step) + frame for step in range(3) for frame in range(17)]
    assert greys(sample.truth) == greys(sample.predicted) == truth
    assert sample.scores["model"]["psnr_db"] == [100.0] * 51
    assert sample.scores["model"]["ssim"] == pytest.approx([1.0] * 51, abs=SSIM_PRECISION)
    last = grey_of(8) + 16
    repeated = sample.scores["repeat_last_frame"]
    assert repeated["psnr_db"] == pytest.approx([psnr(last, grey) for grey in truth], abs=1e-4)
    assert repeated["ssim"] == pytest.approx([ssim(last, g) for g in truth], abs=SSIM_PRECISION)


def test_recorded_images_are_the_truth_where_there_are_any(perfect: WorldSimulator, make_data: MakeData) -> None:
    (sample,) = compare(perfect, make_data(11, images=True), samples=1, steps=2)
    truth = [grey_of(9 + step) + frame + LIGHTER for step in range(2) for frame in range(17)]
    assert greys(sample.truth) == truth
    assert greys(sample.history) == [grey_of(8) + frame + LIGHTER for frame in range(17)]
    assert greys(sample.history_seen) == [grey_of(8) + frame for frame in range(17)]
    assert sample.scores["model"]["psnr_db"] == pytest.approx([psnr(0, LIGHTER)] * 34)
    last = grey_of(8) + 16 + LIGHTER
    assert sample.scores["repeat_last_frame"]["psnr_db"] == pytest.approx([psnr(last, g) for g in truth], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("samples", "expected"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 13]), (9, [0, 1, 2, 13])]
)
def test_windows_are_spread_evenly_within_segments(
    perfect: WorldSimulator, make_data: MakeData, samples: int, expected: list[int]
) -> None:
    """There are windows of 10 clips: 3 in the segment of 12 clips, none in that of 1, 1 in that of 10."""
    compared = list(compare(perfect, make_data(12, 1, 10), samples=samples, steps=1, seed=5))
    assert [sample.first_clip for sample in compared] == expected
    assert [sample.seed for sample in compared] == [5 + index for index in range(len(expected))]


def test_short_segments_shorten_the_history_never_the_steps(perfect: WorldSimulator, make_data: MakeData) -> None:
    data = make_data(3, 5)
    (sample,) = compare(perfect, data, samples=9, steps=4)
    assert (sample.first_clip, sample.history_clips, len(sample.predicted)) == (3, 1, 4 * 17)
    assert greys(sample.history) == [grey_of(3) + frame for frame in range(17)]
    assert [sample.history_clips for sample in compare(perfect, data, samples=9, steps=2)] == [3]
    with pytest.raises(DatasetError, match=r"at least 6 whole clips.*5 env steps.*the longest has 5; ask for fewer"):
        list(compare(perfect, data, samples=1, steps=5))


@pytest.mark.slow
def test_equals_the_loop_written_out(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compares a real model and tokenizer with a loop written out, in several batches."""
    monkeypatch.setattr(comparison, "BATCH", 2)
    checkpoint = load(tiny_checkpoint)
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, temperature=1.0)
    rng = np.random.default_rng(0)
    starts = checkpoint.starts
    writer = DatasetWriter(tmp_path, token_grid=(8, 8), tokenizer=checkpoint.tokenizer.identity)
    tokens, actions = starts.tokens[:3, :7].flatten(0, 1).numpy(), starts.actions[:3, :7].flatten(0, 2).numpy()
    actions = actions + rng.normal(scale=1e-3, size=actions.shape).astype(np.float32)
    writer.write_shard(0, states=actions, segments=np.arange(3, dtype=np.int32).repeat(7 * 17), tokens=tokens)
    writer.finish(1)

    compared = list(compare(simulator, Dataset(tmp_path), samples=3, steps=2, seed=40))
    assert [(sample.first_clip, sample.history_clips, sample.seed) for sample in compared] == [
        (0, 5, 40),
        (7, 5, 41),
        (14, 5, 42),
    ]
    chunks = torch.from_numpy(actions).view(-1, 17, 25)
    for sample in compared:
        first = sample.first_clip
        history = torch.from_numpy(tokens[None, first : first + 5])
        state = simulator.begin(history, chunks[None, first : first + 5], [sample.seed])
        frames = []
        for step in range(2):
            state, clip = simulator.step(state, chunks[None, first + 5 + step])
            frames.append(clip.frames[0].numpy())
        predicted = np.concatenate(frames)
        truth = np.concatenate([checkpoint.tokenizer.decode(torch.from_numpy(tokens[first + 5 : first + 7])).numpy()])
        truth = truth.reshape(predicted.shape)
        assert (sample.predicted == predicted).all()
        assert (sample.truth == truth).all()
        squared = (predicted.astype(float) - truth.astype(float)) ** 2
        expected = 10 * np.log10(255**2 / squared.mean(axis=(1, 2, 3)))
        assert sample.scores["model"]["psnr_db"] == pytest.approx(expected.tolist(), abs=1e-4)


def read_video(file: Path) -> tuple[np.ndarray, float]:
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), stream.average_rate


@pytest.mark.slow
def test_the_videos_show_history_then_truth_beside_prediction(
    perfect: WorldSimulator, make_data: MakeData, tmp_path: Path
) -> None:
    write_comparisons(perfect, make_data(11, images=True), tmp_path / "out", samples=1, steps=2)
    frames, rate = read_video(tmp_path / "out/sample_000_comparison.mp4")
    assert rate == 30
    assert frames.shape == (3 * 17, 256 + 2 * STRIP_HEIGHT, 2 * 256 + GAP, 3)
    shown = [grey_of(clip) + frame for clip in (8, 9, 10) for frame in range(17)]
    # Away from the edges the video's compression error is small.
    pictures = frames[:, STRIP_HEIGHT + 8 : -STRIP_HEIGHT - 8].astype(float)
    left, right = (pictures[:, :, side].mean(axis=(1, 2, 3)) for side in (slice(8, 248), slice(268, 508)))
    assert np.abs(left - np.add(shown, LIGHTER)).max() < 1.5
    assert np.abs(right - shown).max() < 1.5
    strips = [frames[:, :STRIP_HEIGHT, :256], frames[:, :STRIP_HEIGHT, -256:], frames[:, -STRIP_HEIGHT:]]
    assert all((strip > 150).any(axis=(1, 2, 3)).all() for strip in strips)
    history, future = strips[1][0].astype(int), strips[1][17].astype(int)
    assert np.abs(history - future).max() > 100  # the label of the right half changes with the first prediction


@pytest.mark.slow
def test_the_json_is_what_the_samples_are(perfect: WorldSimulator, make_data: MakeData, tmp_path: Path) -> None:
    returned = write_comparisons(perfect, make_data(12, images=True), tmp_path / "out", samples=2, steps=2, seed=3)
    content = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == returned
    assert content["truth"] == "recorded"
    assert [sample["video"] for sample in content["samples"]] == [
        "sample_000_comparison.mp4",
        "sample_001_comparison.mp4",
    ]
    assert [(sample["first_clip"], sample["seed"]) for sample in content["samples"]] == [(0, 3), (1, 4)]
    for who in ("model", "repeat_last_frame"):
        for metric in ("psnr_db", "ssim"):
            by_sample = [sample[who][metric] for sample in content["samples"]]
            assert [len(values) for values in by_sample] == [34, 34]
            by_frame = [(one + other) / 2 for one, other in zip(*by_sample, strict=True)]
            assert content["mean_by_frame"][who][metric] == pytest.approx(by_frame)
            assert content["mean"][who][metric] == pytest.approx(sum(by_frame) / 34)
    settings = content["settings"]
    assert settings["checkpoint"] == perfect.checkpoint.identity
    assert settings["tokenizer"] == {"checkpoint": "lookup", "data": "lookup"}
    assert (settings["samples"], settings["steps"], settings["seed"], settings["lpips"]) == (2, 2, 3, None)
    assert (settings["fps"], settings["ssim_data_range"]) == (30, 1.0)
    assert "lpips" not in content["mean"]["model"]


def test_lpips_is_there_when_its_weights_are(perfect: WorldSimulator, make_data: MakeData, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.rand(shape, generator=random) for name, shape in weight_shapes().items()}
    torch.save(weights, tmp_path / "alex.pth")
    data = make_data(10)
    content = write_comparisons(perfect, data, tmp_path / "out", samples=1, steps=1, lpips=tmp_path / "alex.pth")
    (sample,) = compare(perfect, data, samples=1, steps=1)
    scores = content["samples"][0]
    assert scores["model"]["lpips"] == pytest.approx([0.0] * 17, abs=1e-6)
    repeated = torch.from_numpy(sample.history[-1:]).expand(17, -1, -1, -1)
    expected = LPIPS(weights)(repeated, torch.from_numpy(sample.truth))
    assert scores["repeat_last_frame"]["lpips"] == pytest.approx(expected.tolist(), rel=1e-4)
    assert min(expected) > 1e-5
    assert content["settings"]["lpips"] == "alex.pth"


@pytest.mark.slow
def test_fvd_is_there_when_its_network_is(perfect: WorldSimulator, make_data: MakeData, tmp_path: Path) -> None:
    file = saved(Grid(), tmp_path / "grid.pt")
    data = make_data(12, images=True)
    content = write_comparisons(perfect, data, tmp_path / "out", samples=2, steps=2, fvd=file)
    assert content["settings"]["fvd"] == "grid.pt"
    samples = list(compare(perfect, data, samples=2, steps=2))
    truth, predicted = (
        grid_features(torch.from_numpy(np.concatenate(frames)).unflatten(0, (4, 17)))
        for frames in ([s.truth for s in samples], [s.predicted for s in samples])
    )
    repeated = grid_features(torch.from_numpy(np.stack([s.history[-1:] for s in samples for _ in range(2)])))
    assert content["fvd"] == {
        "clips": 4,
        "model": pytest.approx(frechet_distance(predicted, truth), rel=1e-4),
        "repeat_last_frame": pytest.approx(frechet_distance(repeated, truth), rel=1e-4),
    }
    assert 1e-5 < content["fvd"]["model"] < content["fvd"]["repeat_last_frame"]
    assert write_comparisons(perfect, data, tmp_path / "out", samples=1, steps=2)["fvd"] is None


def test_tokens_of_another_tokenizer_are_refused(perfect: WorldSimulator, make_data: MakeData, tmp_path: Path) -> None:
    data = make_data(10, tokenizer="another")
    with pytest.raises(CheckpointError, match=r"tokenised by another, not by this tokenizer \(lookup\)"):
        write_comparisons(perfect, data, tmp_path / "out", samples=1, steps=1)
    assert not (tmp_path / "out").exists()


def test_tokens_of_unknown_origin_are_taken_and_reported(
    perfect: WorldSimulator, make_data: MakeData, tmp_path: Path
) -> None:
    data = make_data(10, tokenizer=None)
    content = write_comparisons(perfect, data, tmp_path / "out", samples=1, steps=1)
    assert content["settings"]["tokenizer"] == {"checkpoint": "lookup", "data": None}
    assert content["truth"] == "decoded tokens"


def test_what_cannot_be_compared_is_refused(perfect: WorldSimulator, make_data: MakeData, tmp_path: Path) -> None:
    data = make_data(10, images=True)
    for samples, steps in ((0, 1), (1, 0)):
        with pytest.raises(InvalidInputError, match="must be at least 1, got 0"):
            list(compare(perfect, data, samples=samples, steps=steps))
    perfect.tokenizer.spatial_compression = 16
    with pytest.raises(DatasetError, match=r"raw images of 128 x 128 pixels \(16 per token\), got \(64, 64\)"):
        list(compare(perfect, data, samples=1, steps=1))
    for path in (tmp_path / "data").rglob("video_0.bin"):
        path.unlink()
    with pytest.raises(DatasetError, match="has no tokens"):
        list(compare(perfect, Dataset(tmp_path / "data"), samples=1, steps=1))


def exit_code(argv: Sequence[str | Path]) -> int:
    return cli.main([str(argument) for argument in argv])


@pytest.mark.slow
def test_the_command(
    tiny_checkpoint: Path, make_data: MakeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(4, tokenizer=None)
    out, file = tmp_path / "out", tmp_path / "elsewhere/metrics.json"
    argv = ["generate", tiny_checkpoint, tmp_path / "data", "--out", out, "--samples", "1", "--json", file]
    options = ["--steps", "2", "--decoding-steps", "1", "--temperature", "0", "--seed", "7"]
    assert exit_code([*argv, *options]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "sample_000_comparison.mp4"]
    assert file.read_bytes() == (out / "metrics.json").read_bytes()
    content = json.loads(file.read_text(encoding="utf-8"))
    settings = content["settings"]
    assert (settings["seed"], settings["steps"]) == (7, 2)
    assert (settings["decoding"]["steps"], settings["decoding"]["temperature"]) == (1, 0.0)
    assert json.loads(capsys.readouterr().out)["mean"] == content["mean"]

    assert exit_code([*argv, "--steps", "4"]) == 2
    assert "expected a segment of at least 5 whole clips" in capsys.readouterr().err
    assert exit_code([*argv, "--lpips", tmp_path / "nowhere"]) == 2
    assert "found nothing; give the weights of lpips.LPIPS" in capsys.readouterr().err
    assert exit_code([*argv, "--fvd", tmp_path / "nowhere"]) == 2
    assert "found nothing; give a video classifier in TorchScript" in capsys.readouterr().err
