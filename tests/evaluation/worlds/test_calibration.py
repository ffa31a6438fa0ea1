"""Calibration recovers known error probabilities, and risk loops have the properties of their sources."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env import checkpoint as checkpoints
from hwm_env.cli import main
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.reports.reliability_plot import draw_reliability
from hwm_env.evaluation.worlds import calibration, risk_loops
from hwm_env.evaluation.worlds.calibration import calibrate, out_of_fold_risk
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.reliability import auroc_within
from hwm_env.evaluation.worlds.risk_loops import FOLDS, SOURCES, RiskLoops, run_risk_loops
from hwm_env.reference.collect import episode_rng, record_episode
from hwm_env.reference.rendering import can_render
from hwm_env.reference.world import ReferenceWorld
from hwm_env.simulator import WorldSimulator
from hwm_env.trust import Calibration, TokenStatistics
from hwm_env.types import HISTORY_CLIPS
from tests.scene.scenes import make_checkpoint

pytestmark = pytest.mark.slow

EPISODES, STEPS = 8, 2
BOUND = 14.0
TRUTH = Calibration(
    bound_psnr_db=BOUND,
    intercept=-4.0,
    weights={
        "confidence": 0.0,
        "path_entropy": 1.5,
        "action_ood": 2.0,
        "drift": 0.5,
        "painted_offset": 0.5,
        "steps": 0.7,
    },
)


def made_up_loops(episodes: int = 120, steps: int = 20, seed: int = 0) -> RiskLoops:
    """Loops whose clips are wrong with the probabilities of TRUTH."""
    rng = np.random.default_rng(seed)
    shape = (len(SOURCES), episodes, steps)
    features = {
        "confidence": rng.normal(-2.0, 0.5, shape),
        "path_entropy": np.broadcast_to(rng.gamma(4.0, 0.25, shape[:2])[..., None], shape),
        "action_ood": np.where(np.arange(len(SOURCES))[:, None, None] < 3, 0.0, rng.beta(0.4, 2.0, shape)),
        "drift": rng.normal(0.0, 1.0, shape),
        "painted_offset": np.random.default_rng(seed + 1).exponential(0.5, shape),
        "steps": np.broadcast_to(np.arange(1.0, steps + 1), shape),
    }
    wrong = rng.random(shape) < TRUTH.error_probability(features)
    return RiskLoops(psnr_db=np.where(wrong, BOUND - 2, BOUND + 2), features=features)


def test_a_risk_that_is_known_is_found_and_judged_rightly() -> None:
    loops = made_up_loops()
    fitted, report = calibrate(loops, bound_psnr_db=BOUND, seed=0)
    assert dict(fitted.weights) == pytest.approx(dict(TRUTH.weights), abs=0.2)
    best = TRUTH.error_probability(loops.features).astype(np.float64).ravel()
    wrong, steps = (loops.psnr_db < BOUND).ravel(), loops.features["steps"].astype(np.int64).ravel()
    within = report["auroc_within_a_step"]
    assert within["value"] == pytest.approx(auroc_within(best, wrong, steps), abs=0.005)
    assert within["low"] < within["value"] < within["high"]
    assert report["brier"]["value"] == pytest.approx(np.square(best - wrong).mean(), abs=0.002)
    assert report["expected_calibration_error"] < 0.03
    for compared in (*report["by_steps"].values(), *report["by_source"].values()):
        assert compared["mean_probability"] == pytest.approx(compared["share_wrong"], abs=0.05)
    assert sum(part["count"] for part in report["reliability"]) == report["clips"] == wrong.size
    assert json.loads(json.dumps(report)) == report
    assert json.loads(json.dumps(dict(fitted.quality)))["brier"] == report["brier"]


def test_nothing_is_known_from_shuffled_labels_or_another_worlds_risk() -> None:
    _, report = calibrate(made_up_loops(), bound_psnr_db=BOUND, seed=0)
    assert report["auroc_of_shuffled_labels"] == pytest.approx(0.5, abs=0.02)
    assert report["auroc_of_another_worlds_risk"]["within_a_step"] == pytest.approx(0.5, abs=0.08)
    assert report["auroc_of_another_worlds_risk"]["all"] > 0.55, "it still knows the step"
    assert report["auroc_of_one_feature"]["steps"]["within_a_step"] == 0.5
    assert report["auroc_without_a_feature"]["path_entropy"]["all"] < report["auroc"]["value"] - 0.02


def test_judged_episodes_have_no_part_in_the_fit() -> None:
    loops = made_up_loops(episodes=20)
    before = out_of_fold_risk(loops, BOUND)
    loops.psnr_db[:, 1::FOLDS] = BOUND + 1
    after = out_of_fold_risk(loops, BOUND)
    assert np.array_equal(after[:, 1::FOLDS], before[:, 1::FOLDS])
    assert (after[:, 0::FOLDS] < before[:, 0::FOLDS]).mean() > 0.9


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    _, report = calibrate(made_up_loops(episodes=20), bound_psnr_db=BOUND, seed=0)
    draw_reliability(report, tmp_path / "out/plot.png")
    with image.open(tmp_path / "out/plot.png") as picture:
        assert picture.size == (1040, 500)
        assert len(picture.getcolors(2**20)) > 20


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    directory = tmp_path_factory.mktemp("recording")
    length = (HISTORY_CLIPS + STEPS) * 17
    writer = DatasetWriter(directory, image_size=(64, 64), extra={"split": "test"})
    with ReferenceWorld(64) as world:
        episodes = [record_episode(world, episode_rng(0, "test", number), length) for number in range(EPISODES)]
    writer.write_shard(
        0,
        states=np.concatenate([episode.states for episode in episodes]),
        segments=np.repeat(np.arange(EPISODES, dtype=np.int32), length),
        frames=np.concatenate([episode.frames for episode in episodes]),
        poses=np.concatenate([episode.poses for episode in episodes]),
    )
    writer.finish()
    return directory


@pytest.fixture(scope="module")
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    loaded = checkpoints.load(tiny_checkpoint)
    return WorldSimulator(loaded, DecodingConfig(steps=2, temperature=0.0))


@pytest.fixture(scope="module")
def statistics(simulator: WorldSimulator) -> TokenStatistics:
    return TokenStatistics.from_tokens(simulator.checkpoint.starts.tokens.flatten(0, 1), simulator.tokenizer.fsq_levels)


def test_recorded_loops_are_played_with_what_was_recorded(
    simulator: WorldSimulator, statistics: TokenStatistics, recording: Path
) -> None:
    loops = run_risk_loops(simulator, statistics, recording, num_episodes=EPISODES, num_steps=STEPS, seed=0)
    held_out = HeldOut(recording, simulator.tokenizer, clips_per_episode=HISTORY_CLIPS + STEPS, num_episodes=EPISODES)
    state = simulator.begin(held_out.tokens[:, :HISTORY_CLIPS], held_out.actions[:, :HISTORY_CLIPS], [0] * EPISODES)
    entropies = []
    for step in range(STEPS):
        state, clip = simulator.step(state, held_out.actions[:, HISTORY_CLIPS + step])
        entropies.append(clip.entropy.flatten(1).mean(dim=1))
        truth = torch.stack([held_out.frames(episode)[HISTORY_CLIPS + step] for episode in range(EPISODES)])
        expected = {
            "confidence": clip.log_prob.flatten(1).mean(dim=1),
            "path_entropy": torch.stack(entropies).mean(dim=0),
            "drift": torch.from_numpy(statistics.drift(clip.tokens)),
            "steps": torch.full((EPISODES,), step + 1.0),
        }
        assert loops.psnr_db[0, :, step] == pytest.approx(psnr_db(clip.frames, truth).numpy(), abs=1e-4)
        for name, values in expected.items():
            assert loops.features[name][0, :, step] == pytest.approx(values.numpy(), abs=1e-4), name
    assert (loops.features["action_ood"][SOURCES.index("beyond")] > 0).any()
    assert loops.psnr_db.shape == (len(SOURCES), EPISODES, STEPS)


def test_the_painted_offset_is_computed_if_it_is_wanted(statistics: TokenStatistics, recording: Path) -> None:
    simulator = WorldSimulator(make_checkpoint(), DecodingConfig(steps=1, temperature=0.0))
    without, with_it = (
        run_risk_loops(
            simulator, statistics, recording, num_episodes=8, num_steps=1, seed=0, with_painted_offset=wanted
        )
        for wanted in (False, True)
    )
    assert not without.features["painted_offset"].any()
    assert (with_it.features["painted_offset"] > 0).any()
    assert np.array_equal(with_it.psnr_db, without.psnr_db)


def test_the_reference_world_goes_on_from_where_the_history_ends(
    monkeypatch: pytest.MonkeyPatch, simulator: WorldSimulator, statistics: TokenStatistics, recording: Path
) -> None:
    """Recorded actions reproduce the recorded frames, up to poses, which are stored in float32."""
    states = np.concatenate([shard.states for shard in Dataset(recording).shards]).astype(np.float64)
    episodes = states.reshape(EPISODES, -1, 25)

    def the_same_again(rng: object, of_data: object, last: np.ndarray, borrowed: np.ndarray) -> np.ndarray:
        (episode,) = (index for index in range(EPISODES) if np.array_equal(episodes[index, 9 * 17 - 1], last))
        assert not np.array_equal(borrowed, episodes[episode, 9 * 17 :])
        return episodes[episode, 9 * 17 :]

    monkeypatch.setattr(risk_loops, "DISTURBANCES", dict.fromkeys(SOURCES[1:], the_same_again))
    loops = run_risk_loops(simulator, statistics, recording, num_episodes=EPISODES, num_steps=STEPS, seed=0)
    assert (loops.features["action_ood"] == 0).all()
    for source in range(1, len(SOURCES)):
        assert loops.psnr_db[source] == pytest.approx(loops.psnr_db[0], abs=0.05)


def test_a_split_stands_in_for_the_training_data(
    monkeypatch: pytest.MonkeyPatch, simulator: WorldSimulator, tmp_path: Path
) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    monkeypatch.setattr(calibration, "STATISTICS_EPISODES", 2)
    monkeypatch.setattr(calibration, "STATISTICS_CLIPS", 3)
    dataset = calibration.statistics_split(tmp_path, simulator.tokenizer, 64)
    assert dataset.metadata.extra["split"] == "statistics"
    assert dataset.metadata.tokenizer == simulator.tokenizer.identity
    assert len(dataset.shards) == len(calibration.STATISTICS_OFFSETS)
    assert TokenStatistics.from_dataset(dataset, simulator.tokenizer.fsq_levels).grid_size == (8, 8)
    files = sorted(tmp_path.rglob("*"))
    times = [file.stat().st_mtime_ns for file in files]
    calibration.statistics_split(tmp_path, simulator.tokenizer, 64)
    assert [file.stat().st_mtime_ns for file in files] == times


def test_loops_need_episodes_and_poses(
    simulator: WorldSimulator, statistics: TokenStatistics, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="at least 8 episodes and 1 step, got 7 and 2"):
        run_risk_loops(simulator, statistics, recording, num_episodes=7, num_steps=STEPS, seed=0)
    shutil.copytree(recording, tmp_path / "without")
    shutil.rmtree(tmp_path / "without/poses")
    with pytest.raises(DatasetError, match="has no base poses"):
        run_risk_loops(simulator, statistics, tmp_path / "without", num_episodes=EPISODES, num_steps=STEPS, seed=0)


def test_the_command_puts_trust_into_the_checkpoint(
    tiny_checkpoint: Path, simulator: WorldSimulator, recording: Path, tmp_path: Path
) -> None:
    pytest.importorskip("PIL.Image")
    checkpoint, tokens = tmp_path / "mine", tmp_path / "tokens"
    shutil.copytree(tiny_checkpoint, checkpoint)
    assert main(["tokenize", str(recording), str(tokens), "--tokenizer", str(checkpoint)]) == 0
    options = {
        "--data": tokens,
        "--recording": recording,
        "--episodes": EPISODES,
        "--steps": STEPS,
        "--json": tmp_path / "trust.json",
        "--plot": tmp_path / "trust.png",
    }
    argv = ["calibrate", str(checkpoint), *(str(part) for option in options.items() for part in option)]
    assert main(argv) == 0
    report = json.loads((tmp_path / "trust.json").read_text())
    assert report["checkpoint"] == {"name": "mine", "identity": simulator.checkpoint.identity}
    assert report["share_wrong"] == 0.5, "hardly any clip of an untrained world is above the usual bound"
    assert report["token_statistics"] == "test"
    assert report["decoding"]["history"] == "streaming"
    assert (tmp_path / "trust.png").stat().st_size > 0
    trust = checkpoints.load(checkpoint).trust
    assert trust is not None
    assert dict(trust.calibration.weights) == report["calibration"]["weights"]
    assert trust.calibration.quality["auroc"] == report["auroc"]
    again = tmp_path / "again.json"
    bound = ["--bound-db", str(report["calibration"]["bound_psnr_db"])]
    assert main([str(again) if part == str(options["--json"]) else part for part in (*argv, *bound)]) == 0
    repeated = json.loads(again.read_text())
    assert repeated["stamp"].pop("command") != report["stamp"].pop("command")
    assert repeated == report


def test_a_bound_that_nothing_falls_below_is_bad_input(
    tiny_checkpoint: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "mine"
    shutil.copytree(tiny_checkpoint, checkpoint)
    assert main(["tokenize", str(recording), str(tmp_path / "tokens"), "--tokenizer", str(checkpoint)]) == 0
    where = ["--data", str(tmp_path / "tokens"), "--recording", str(recording), "--episodes", "8", "--steps", "1"]
    assert main(["calibrate", str(checkpoint), *where, "--bound-db", "1"]) == 2
    assert "clips are below 1.0 dB" in capsys.readouterr().err
    assert checkpoints.load(checkpoint).trust is None
