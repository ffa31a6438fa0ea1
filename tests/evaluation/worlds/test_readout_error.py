import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.evaluation.worlds.readout_error import dead_reckoning, errors, hands_in_view, measure_held_out, summarise
from hwm_env.reference import robot
from hwm_env.reference.body import quantities
from hwm_env.reference.kinematics import RobotState, advance, move_base
from hwm_env.simulator import WorldSimulator


def truth_of(*poses: tuple[float, float, float], **numbers: float) -> torch.Tensor:
    return torch.from_numpy(quantities(np.array(poses), np.tile(robot.pose(numbers), (len(poses), 1)))).float()


def test_every_quantity_has_its_own_error() -> None:
    truth = truth_of((1.0, 2.0, 3.0))
    at = {name: errors(_shifted(truth, name), truth) for name in ("base", "head", "left", "right")}
    for name, quantity in (("head", "head_position"), ("left", "left_hand"), ("right", "right_hand")):
        assert at[name][quantity].item() == pytest.approx(0.5, abs=1e-5)
        others = [error.item() for key, error in at[name].items() if key not in (quantity, "hand_in_view")]
        assert max(others) < 1e-3
    assert at["base"]["base_position"].item() == pytest.approx(0.5, abs=1e-5)


def _shifted(truth: torch.Tensor, name: str) -> torch.Tensor:
    first = {"base": 0, "head": 3, "left": 9, "right": 12}[name]
    read = truth.clone()
    read[:, first] += 0.3
    read[:, first + 1] -= 0.4
    return read


def test_an_error_of_the_base_is_not_counted_again() -> None:
    here, there = truth_of((1.0, 2.0, 3.0)), truth_of((2.0, 2.0, -3.0))
    measured = errors(there, here)
    assert measured["base_position"].item() == pytest.approx(1.0, abs=1e-5)
    assert measured["heading"].item() == pytest.approx(math.degrees(2 * math.pi - 6), abs=1e-3)
    for name in ("head_position", "gaze", "left_hand", "right_hand"):
        assert measured[name].item() == pytest.approx(0.0, abs=0.05 if name == "gaze" else 1e-5)


def test_the_gaze_is_measured_as_an_angle() -> None:
    level = {"hip_pitch": 0.0, "knee_pitch": 0.0, "ankle_pitch": 0.0}
    one, other = (truth_of((0, 0, 0.3), **level, neck_pitch=pitch) for pitch in (0.1, 0.4))
    assert errors(one, other)["gaze"].item() == pytest.approx(math.degrees(0.3), abs=1e-3)


def test_hands_are_in_view_as_in_the_pictures() -> None:
    """Raised hands are in view and hanging ones are not, as in tests/reference/test_world.py."""
    raised = {"shoulder_pitch": 1.2, "elbow_pitch": 0.4}
    left = {f"left_{joint}": angle for joint, angle in raised.items()}
    right = {f"right_{joint}": angle for joint, angle in raised.items()}
    for numbers, expected in (({}, [False, False]), (left, [True, False]), (right, [False, True])):
        for yaw in (0.0, 2.0):
            assert hands_in_view(truth_of((1.0, -1.0, yaw), **numbers))[0].tolist() == expected
    behind = truth_of((0.0, 0.0, 0.0), **left)
    behind[:, 6:9] *= -1
    assert hands_in_view(behind)[0].tolist() == [False, False]


def test_summaries_tell_median_and_nine_in_ten() -> None:
    truth = truth_of(*[(0.0, 0.0, 0.0)] * 11)
    read = truth.clone()
    read[:, 0] = torch.arange(11) / 10
    result = summarise(read, truth)
    assert result["base_position"]["median"] == pytest.approx(0.5)
    assert result["base_position"]["p90"] == pytest.approx(0.9)
    assert result["base_position"]["unit"] == "m"
    assert result["base_position"]["count"] == 11
    assert result["heading"]["unit"] == "deg"
    assert "hand_in_view" not in result
    raised = truth_of(*[(0.0, 0.0, 0.0)] * 2, left_shoulder_pitch=1.2, left_elbow_pitch=0.4)
    assert summarise(raised, raised)["hand_in_view"]["count"] == 2


def test_dead_reckoning_is_exact_where_nothing_is_in_the_way() -> None:
    rng = np.random.default_rng(0)
    actions = np.zeros((2, 3, 17, 25), np.float32)
    actions[..., 23] = rng.uniform(-0.3, 0.3, (2, 3, 17))
    actions[..., 24] = rng.uniform(-0.8, 0.8, (2, 3, 17))
    begin = np.array([[0.0, 0.0, 3.0], [0.2, -0.1, -1.0]])
    reckoned = dead_reckoning(torch.from_numpy(begin), torch.from_numpy(actions)).numpy()
    for world in range(2):
        pose = begin[world]
        for clip in range(3):
            for frame in actions[world, clip]:
                pose = move_base(pose, float(frame[23]), float(frame[24]))
            np.testing.assert_allclose(reckoned[world, clip, :2], pose[:2], atol=1e-6)
            assert math.cos(reckoned[world, clip, 2] - pose[2]) == pytest.approx(1.0)


CLIPS, STEPS = 9 + 3, (1, 3)


def write_recording(directory: Path, *, poses: bool = True) -> np.ndarray:
    """Writes two drives along the wall with blank images; returns the poses at the end of each clip, [2, CLIPS, 3]."""
    frames = CLIPS * 17
    states, paths = [], []
    for begin in ((3.4, 0.0, 0.1), (-3.0, -2.0, 0.0)):
        state = RobotState(np.array(begin), robot.REST_POSE)
        for _ in range(frames):
            state = advance(state, robot.pose({"linear_velocity": 0.5, "angular_velocity": 0.1}))
            states.append(state.action)
            paths.append(state.base_pose)
    writer = DatasetWriter(directory, image_size=(64, 64))
    pictures = np.random.default_rng(0).integers(0, 255, (2 * frames, 64, 64, 3), dtype=np.uint8)
    result = np.array(paths, np.float32)
    writer.write_shard(
        0,
        states=np.array(states, np.float32),
        segments=np.repeat(np.arange(2, dtype=np.int32), frames),
        frames=pictures,
        poses=result if poses else None,
    )
    writer.finish()
    return result.reshape(2, CLIPS, 17, 3)[:, :, -1]


def test_closed_loops_are_judged_beside_their_baselines(tiny_checkpoint: Path, tmp_path: Path) -> None:
    poses = write_recording(tmp_path / "recording")
    checkpoint = load(tiny_checkpoint)
    assert checkpoint.readout is not None
    result = measure_held_out(
        checkpoint.readout, WorldSimulator(checkpoint), tmp_path / "recording", starts=2, steps=STEPS
    )
    assert result["starts"] == 2
    assert result["start"]["base_position"]["count"] == 2
    assert list(result["closed_loop"]) == ["1", "3"]
    for step in STEPS:
        of_step = result["closed_loop"][str(step)]
        moved = np.linalg.norm(poses[:, 8 + step, :2] - poses[:, 8, :2], axis=1)
        assert of_step["never_moved"]["base_position"]["median"] == pytest.approx(np.median(moved), abs=1e-4)
        turned = math.degrees(0.1 * 17 / 30 * step)
        assert of_step["never_moved"]["heading"]["median"] == pytest.approx(turned, abs=0.01)
        # The first drive ends at the wall, where the wheels slip; the second is free.
        slipped = 0.5 * 17 / 30 * step
        assert of_step["dead_reckoning"]["base_position"]["median"] == pytest.approx(slipped / 2, rel=0.02)
        assert of_step["dead_reckoning"]["heading"]["p90"] < 0.01
        assert of_step["dead_reckoning"]["left_hand"]["p90"] < 1e-4
        assert of_step["predicted"].keys() == of_step["recorded"].keys()
        assert of_step["predicted"]["base_position"] != of_step["recorded"]["base_position"]


def test_recordings_without_poses_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording", poses=False)
    checkpoint = load(tiny_checkpoint)
    assert checkpoint.readout is not None
    with pytest.raises(DatasetError, match="no base poses"):
        measure_held_out(checkpoint.readout, WorldSimulator(checkpoint), tmp_path / "recording", starts=1, steps=(1,))
