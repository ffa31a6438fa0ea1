"""`hwm-env collect`: recordings of the reference world, as data sets, videos beside tables, or for LeRobot."""

from dataclasses import dataclass

from hwm_env.arguments import OutArgument
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero
from hwm_env.reference.behaviour import Behaviour


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionConfig(CheckedFields):
    """What is recorded, and where it is written."""

    out: OutArgument
    """New directory for the recording: images, states and true poses in the 1X v2.0 layout."""
    episodes: Count = 100
    """Number of episodes; each is one segment."""
    seed: CountOrZero = 0
    """Seed of the behaviour; equal seeds give equal recordings whatever the number of workers."""
    split: str = "train"
    """Name of the split, kept in the metadata; different splits share no episode."""
    image_size: Count = 64
    """Height and width of the images in pixels."""
    clips_per_episode: Count = 24
    """Length of an episode in clips of 17 frames."""
    workers: Count = 2
    """Number of processes; one that hangs or dies is replaced."""
    behaviour: Behaviour = "teleoperator"
    """Who drives: a smooth teleoperator, a commander with sudden commands, or both in turn."""
    videos: bool = False
    """Write the same episodes as MP4 videos beside CSV tables of states instead, as recordings of another robot would
    come (needs the data extra)."""
    lerobot: bool = False
    """Write the same episodes as a LeRobot data set instead, v3.0 (needs the data extra)."""

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for values that are not allowed."""
        CheckedFields.__post_init__(self)
        if self.videos and self.lerobot:
            raise InvalidInputError("videos and lerobot are two formats; choose one of them")


def collect_recording(config: CollectionConfig) -> None:
    """Records episodes of the reference world (needs the reference extra).

    Worker processes are spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Raises:
        DatasetError: the directory holds a finished data set or something else.
        MissingExtraError: MuJoCo or, for videos and LeRobot, PyAV or pyarrow is not installed.
        SavingError: a file cannot be written.
        RenderingUnavailableError: there is no OpenGL on this machine.
        HWMError: the workers failed whatever was tried.
    """
    # These need MuJoCo, and the config does not.
    if config.videos:
        from hwm_env.reference.video_episodes import collect_videos as collect
    elif config.lerobot:
        from hwm_env.reference.lerobot_episodes import collect_lerobot as collect
    else:
        from hwm_env.reference.collect import collect

    collect(
        config.out,
        num_episodes=config.episodes,
        seed=config.seed,
        split=config.split,
        clips_per_episode=config.clips_per_episode,
        image_size=config.image_size,
        workers=config.workers,
        behaviour=config.behaviour,
    )
