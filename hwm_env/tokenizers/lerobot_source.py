"""The episodes of a LeRobot data set as a source for the tokenizer."""

from collections.abc import Sequence
from pathlib import Path

from hwm_env.data.files import check_file
from hwm_env.data.lerobot import INFO_FILE, LeRobotLayout
from hwm_env.data.lerobot_pictures import TablePictures
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import DatasetError
from hwm_env.tokenizers.lerobot_takes import REMEDY, FilmedEpisode, PicturedEpisode
from hwm_env.tokenizers.sources import Source
from hwm_env.tokenizers.takes import source_of_takes


def is_lerobot(directory: Path) -> bool:
    """Returns whether a directory holds a LeRobot data set."""
    return (directory / INFO_FILE).exists()


def lerobot_source(
    directory: Path,
    offsets: Sequence[int],
    mapping: StateMapping,
    image_size: int | None,
    camera: str | None = None,
    episodes: Sequence[int] | None = None,
) -> Source:
    """Returns the episodes of a LeRobot data set, one shard for each episode and offset; an episode is one segment.

    Args:
        directory: the data set, v2.0, v2.1 or v3.0.
        offsets: frames to leave out at the beginning.
        mapping: meaning of the columns; see `Features.resolve`.
        image_size: height and width to which pictures are cropped and resized; `None` leaves them unchanged.
        camera: name of the camera, with or without "observation.images."; `None` means the only one.
        episodes: indices of the episodes; `None` means all.

    Raises:
        DatasetError: files are missing, damaged or do not fit each other, or all episodes are too short.
        InvalidInputError: `offsets`, `camera` or `episodes` is invalid, or no column is one of the 25 numbers.
        MissingExtraError: PyAV or pyarrow is not installed.
    """
    layout = LeRobotLayout.read(directory)
    name, resolved = layout.camera(camera), layout.features.resolve(mapping)
    takes: dict[int, FilmedEpisode | PicturedEpisode] = {}
    for episode in layout.chosen(episodes):
        common = (episode, layout.fps, directory / INFO_FILE, resolved)
        if name in episode.videos:
            takes[episode.index] = FilmedEpisode(*common, episode.videos[name])
        else:
            size = layout.features.picture_size(name)
            takes[episode.index] = PicturedEpisode(
                *common, TablePictures(directory, episode.table, episode.index, name, size)
            )
    for take in takes.values():
        check_file(take.table, DatasetError, f"it has the rows of {take.name}: {REMEDY}")
        check_file(take.video, DatasetError, f"it has the pictures of {take.name}: {REMEDY}")
    about: dict[str, object] = {"mapping": resolved.to_json(), "camera": name, "robot_type": layout.robot_type}
    fingerprint = {"mapping": resolved.to_json(), "camera": name, "episodes": list(takes)}
    extra = {"source": f"LeRobot {layout.version}", **about}
    return source_of_takes(directory, takes, offsets, image_size, mapping.joints, extra, fingerprint)
