"""LeRobot data sets in their published layouts: what becomes of rows and pictures, and what is refused."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.tokenizers import recordings
from hwm_env.tokenizers.lerobot_source import lerobot_source
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.tokenizers.tiny import TinyTokenizer
from tests.data.lerobot_files import HEAD, WRIST, counting, write_lerobot, write_table, write_video

pytest.importorskip("av")
pytest.importorskip("pyarrow")

LENGTHS = (40, 34, 51)
GRIPPER = StateMapping(columns={"left_hand_closure": "observation.state.gripper"})
VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


def read_all(directory: Path, **options: Any) -> list[tuple[np.ndarray, np.ndarray, set[int]]]:
    """Returns the grey of each frame, the states and the segments of each shard."""
    source = lerobot_source(directory, (0,), options.pop("mapping", StateMapping()), 16, **options)
    read = [job.read() for job in source.jobs]
    return [(np.array([frame.mean() for frame in one.frames]), one.states, set(one.segments.tolist())) for one in read]


@VERSIONS
def test_every_episode_is_a_segment_with_its_own_rows_and_pictures(version: str, tmp_path: Path) -> None:
    episodes = counting(LENGTHS)
    directory = write_lerobot(tmp_path / "data", version, episodes, cameras=(HEAD, WRIST))
    for camera, sign in (("head", 1), (WRIST, -1)):
        shards = read_all(directory, camera=camera, mapping=GRIPPER)
        assert len(shards) == len(episodes)
        for index, (episode, (greys, states, segments)) in enumerate(zip(episodes, shards, strict=True)):
            expected = episode.greys.astype(float) if sign > 0 else 255 - episode.greys.astype(float)
            np.testing.assert_allclose(greys, expected, atol=3)
            np.testing.assert_allclose(states[:, 0], episode.states[:, 0], atol=1e-5)
            np.testing.assert_allclose(states[:, 20], index)
            assert segments == {index}


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_an_episode_in_the_middle_of_a_long_file_is_reached_by_seeking(codec: str, tmp_path: Path) -> None:
    """The greys of all frames of a file differ, key frames are rare, and the episodes begin between them."""
    av = pytest.importorskip("av")
    try:
        av.codec.Codec(codec, "w")
    except av.error.FFmpegError:
        pytest.skip(f"this FFmpeg does not have {codec}")
    episodes = counting((29, 31, 37, 50))
    for index, episode in enumerate(episodes):
        episode.greys[:] = 10 + 60 * index + np.arange(len(episode.greys))
    directory = write_lerobot(tmp_path / "data", "v3.0", episodes, per_file=4, codec=codec, size=(64, 64))
    for episode, (greys, _, _) in zip(episodes, read_all(directory), strict=True):
        np.testing.assert_allclose(greys, episode.greys.astype(float), atol=3)


@VERSIONS
@pytest.mark.parametrize("fps", [10, 50])
def test_other_rates_are_resampled(version: str, fps: int, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", version, counting((3 * fps, 2 * fps), fps), fps=fps)
    for index, (greys, states, _) in enumerate(read_all(directory)):
        times_s = np.arange(len(states)) / 30
        assert len(states) == int(((3, 2)[index] - 1 / fps) * 30 + 1e-6) + 1
        np.testing.assert_allclose(states[:, 0], times_s, atol=1e-4)
        np.testing.assert_allclose(greys, 20 + 60 * index + 30 * times_s, atol=1.5 + 30 / fps)


@pytest.mark.parametrize(
    "names", [["hip_yaw", "neck_pitch", "gripper"], {"motors": ["hip_yaw", "neck_pitch", "gripper"]}, None, ["all"]]
)
def test_entries_are_named_by_the_data_set_or_by_number(names: object, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting((20,)), names=names)
    mapping = StateMapping(columns={"hip_yaw": "observation.state[0]", "left_hand_closure": "action[1]"})
    ((_, by_number, _),) = read_all(directory, mapping=mapping)
    np.testing.assert_allclose(by_number[:, 0], np.arange(20) / 30, atol=1e-5)
    named = StateMapping(columns={"hip_yaw": "observation.state.hip_yaw", "left_hand_closure": "action.neck_pitch"})
    if names in (None, ["all"]):
        with pytest.raises(
            DatasetError, match=r"info\.json: the mapping takes hip_yaw from 'observation.state.hip_yaw'"
        ):
            read_all(directory, mapping=named)
        with pytest.raises(
            InvalidInputError, match=r"info\.json: none .* observation.state\[0\] \.\.\. .*mapping file"
        ):
            read_all(directory)
    else:
        ((_, by_name, _),) = read_all(directory, mapping=named)
        np.testing.assert_array_equal(by_name, by_number)


def test_metadata_tell_the_source_the_fills_and_the_notes(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting(LENGTHS), cameras=(HEAD, WRIST))
    out = tmp_path / "tokens"
    tokenize_recordings(directory, out, lambda: tokenizer, (0, 5), image_size=16, camera="wrist", episodes=(2, 0))
    data = Dataset(out)
    extra = data.metadata.extra
    assert extra["source"] == "LeRobot v3.0"
    assert extra["camera"] == WRIST
    assert extra["robot_type"] == "walker"
    assert extra["shard_sources"] == ["episode_000002", "episode_000000"] * 2
    assert extra["mapping"] == {
        "columns": {"hip_yaw": "observation.state[0]", "neck_pitch": "observation.state[1]"},
        "time": "timestamp",
        "hz": None,
        "fill": {},
    }
    filled = extra["filled_actions"]
    assert isinstance(filled, dict)
    assert len(filled) == 23
    assert [shard.num_frames for shard in data.shards] == [51, 40, 46, 35]


@VERSIONS
@pytest.mark.slow
def test_workers_and_interruptions_change_nothing(
    version: str, tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_lerobot(tmp_path / "data", version, counting(LENGTHS))
    tokenizer.save(tmp_path / "tokenizer")
    load = functools.partial(TinyTokenizer.load, tmp_path / "tokenizer")
    for workers in (1, 2):
        tokenize_recordings(directory, tmp_path / str(workers), load, (0, 4), image_size=16, workers=workers)
    make, left = recordings._make_shard, [2]

    def interrupted(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        make(*args)

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "_make_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tokenize_recordings(directory, tmp_path / "3", load, (0, 4), image_size=16)
    with pytest.raises(DatasetError, match="begun with other episodes, files"):
        tokenize_recordings(directory, tmp_path / "3", load, (0, 4), image_size=16, episodes=(0, 1))
    tokenize_recordings(directory, tmp_path / "3", load, (0, 4), image_size=16)
    contents = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "1", tmp_path / "2", tmp_path / "3")
    ]
    assert contents[0] == contents[1] == contents[2]


def edit_info(directory: Path, **fields: object) -> None:
    path = directory / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


BAD_INFO: dict[str, tuple[dict[str, object], str]] = {
    "version": ({"codebase_version": "v1.6"}, r"codebase_version must be one of v2\.0, v2\.1, v3\.0, got 'v1\.6'"),
    "no version": ({"codebase_version": None}, "codebase_version must be"),
    "fps": ({"fps": "fast"}, "fps must be a number"),
    "features": ({"features": []}, "features must be an object"),
    "feature": ({"features": {"action": 3}}, "feature 'action' must have a dtype and a shape"),
    "data_path": ({"data_path": "data/{chunk}.parquet"}, "data_path must be a pattern of"),
    "video_path": ({"video_path": None}, "video_path must be a pattern of"),
    "outside": ({"data_path": "../{episode_index}"}, "data_path must"),
    "no camera": ({"features": {"action": {"dtype": "float32", "shape": [3]}}}, "dtype 'video' or 'image', found none"),
}


@VERSIONS
@pytest.mark.parametrize("case", BAD_INFO)
def test_bad_metadata_are_refused_by_field(version: str, case: str, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", version, counting((20,)))
    fields, message = BAD_INFO[case]
    edit_info(directory, **fields)
    with pytest.raises(DatasetError, match=rf"info\.json: .*{message}"):
        read_all(directory)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


TABLE, VIDEO = "data/chunk-000/file-000.parquet", f"videos/{HEAD}/chunk-000/file-000.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing video": (lambda data: (data / VIDEO).unlink(), r"file-000\.mp4, found nothing; .*episode_000000"),
    "missing table": (lambda data: (data / TABLE).unlink(), r"file-000\.parquet, found nothing; .*episode_000000"),
    "damaged table": (lambda data: cut(data / TABLE), r"file-000\.parquet cannot be read"),
    "damaged video": (lambda data: cut(data / VIDEO), r"file-000\.mp4"),
    "damaged episodes": (lambda data: cut(data / EPISODES), r"file-000\.parquet cannot be read as a table of episodes"),
    "no episodes": (
        lambda data: (data / EPISODES).unlink(),
        "expected tables of episodes in .*meta.episodes, found none",
    ),
    "no info": (lambda data: (data / "meta/info.json").unlink(), r"info\.json, found nothing"),
    "table without episodes": (
        lambda data: write_table(data / TABLE, [{"timestamp": [0.0]}]),
        r"file-000\.parquet cannot be read .* column 'episode_index' of whole numbers",
    ),
    "rows of other episodes": (
        lambda data: write_table(data / TABLE, [{"episode_index": [7] * 40}]),
        r"file-000\.parquet: expected 40 rows whose 'episode_index' is 0, as the metadata say, found 0",
    ),
    "video that ends early": (
        lambda data: write_video(data / VIDEO, np.zeros(40, np.uint8), 30, (16, 24), "libx264"),
        r"file-000\.mp4: expected the pictures of episode_000001 from 1\.333 to 2\.467 s, found none",
    ),
    "mixed rates of pictures": (
        lambda data: write_video(data / VIDEO, np.zeros(37, np.uint8), 15, (16, 24), "libx264"),
        r"file-000\.mp4: expected 30 a second in episode_000000, .*pictures are 0\.06667 s apart \(15 Hz\)",
    ),
    "mixed rates": (lambda data: edit_info(data, fps=20), r"file-000\.mp4: expected 20 a second .*\(30 Hz\)"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_data_sets_are_refused_by_file(case: str, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting(LENGTHS))
    damage, message = DAMAGES[case]
    damage(directory)
    with pytest.raises(DatasetError, match=message):
        read_all(directory)


def test_rows_at_another_rate_than_the_pictures_are_refused(tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v2.1", counting((20,), 20), fps=20)
    write_video(
        directory / f"videos/chunk-000/{HEAD}/episode_000000.mp4", np.zeros(30, np.uint8), 30, (16, 24), "libx264"
    )
    edit_info(directory, fps=30)
    with pytest.raises(DatasetError, match=r"episode_000000\.parquet: expected 30 .* 'timestamp' are 0\.05 s apart"):
        read_all(directory)


def test_errors_in_rows_name_the_episode(tmp_path: Path) -> None:
    episodes = counting(LENGTHS)
    episodes[1].states[5, 0] = np.nan
    directory = write_lerobot(tmp_path / "data", "v3.0", episodes)
    with pytest.raises(
        DatasetError, match=r"\.parquet \(episode_index 1\): row 5, column 'observation.state\[0\]' is nan"
    ):
        read_all(directory)


def test_damaged_lists_of_episodes_are_refused_by_line(tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v2.1", counting((20,)))
    path = directory / "meta/episodes.jsonl"
    for content, message in (
        ("{", "not JSON in each line"),
        ("3\n", "line 0 is 3, expected an object"),
        ('{"episode_index": 0, "length": 0}', "length of episode 0 must be at least 1, got 0"),
        ('{"length": 3}', "episode_index must be a whole number"),
        ("", "list no episodes"),
        ('{"episode_index": 0, "length": 20}\n' * 2, "list episode 0 twice"),
    ):
        path.write_text(content)
        with pytest.raises(DatasetError, match=message):
            read_all(directory)


def test_wrong_choices_are_refused_with_the_right_ones(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting(LENGTHS), cameras=(HEAD, WRIST))

    def refused(message: str, **options: Any) -> None:
        with pytest.raises((InvalidInputError, DatasetError), match=message):
            tokenize_recordings(directory, tmp_path / "out", lambda: tokenizer, image_size=16, **options)
        assert not (tmp_path / "out").exists()

    refused(rf"info\.json: give a camera; its cameras are {HEAD}, {WRIST}")
    refused(r"info\.json: there is no camera 'left'; its cameras are", camera="left")
    refused(r"3 episodes of .* \(0 to 2\), got 1, 7", camera="head", episodes=(1, 7))
    refused("got none", camera="head", episodes=())
    unknown = StateMapping(columns={"hip_yaw": "observation.state.hip"})
    refused(
        r"'observation.state.hip', which is not there; .*observation.state.hip_yaw, ", camera="head", mapping=unknown
    )
    beyond = StateMapping(columns={"hip_yaw": "observation.state[3]"})
    refused(r"'observation.state\[3\]', which is not there", camera="head", mapping=beyond)
    (tmp_path / "videos").mkdir()
    with pytest.raises(InvalidInputError, match="is not a LeRobot data set; leave out camera and episodes"):
        tokenize_recordings(tmp_path / "videos", tmp_path / "out", lambda: tokenizer, camera="head")
