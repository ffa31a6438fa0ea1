"""Any kind of file at a given path results in an `HWMError` of one line, immediately, and nothing is replaced."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwm_env.checkpoint import load, load_tokenizer
from hwm_env.data.files import read_json
from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import HWMError
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.policies.sb3_policy import SB3Policy
from hwm_env.importing import ImportConfig, import_checkpoint
from hwm_env.model.convert import load_foreign_checkpoint
from hwm_env.reference.collect import collect
from hwm_env.reference.video_episodes import collect_videos
from hwm_env.replay import Replay
from hwm_env.scene.robot_description import read_camera
from hwm_env.tokenizers.cosmos import CosmosTokenizer
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.training.runs.run import Run
from tests.disks import content_of
from tests.training.worlds import TOKENIZER

LONGEST_S = 10


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Interrupts a test that waits, such as for the other end of a pipe."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fill(directory: Path) -> None:
    """Creates files, directories and pipes that may be in the way."""
    (directory / "text").write_text("not what you want\n")
    (directory / "directory").mkdir()
    (directory / "directory/thesis.txt").write_text("theirs\n")
    (directory / "trap").mkdir()
    names = ["config.json", "metadata.json", "model.safetensors", "pytorch_model.bin", "encoder.jit", "trials.jsonl"]
    for name in (*names, "walk.mp4", "log.jsonl", "tokenizer.safetensors"):
        os.mkfifo(directory / "trap" / name)
    os.mkfifo(directory / "pipe")


PLACES: dict[str, Callable[[Path], Path]] = {
    "a long name": lambda at: at / ("x" * 5000),
    "below a long name": lambda at: at / ("x" * 5000) / "y",
    "a NUL byte": lambda at: at / "a\0b",
    "a pipe": lambda at: at / "pipe",
    "pipes in a directory": lambda at: at / "trap",
    "a text": lambda at: at / "text",
    "below a text": lambda at: at / "text/y",
    "a directory of something else": lambda at: at / "directory",
    "/dev/zero": lambda at: Path("/dev/zero"),
    "/dev/null": lambda at: Path("/dev/null"),
    "/proc/self/mem": lambda at: Path("/proc/self/mem"),
    "/proc/self/pagemap": lambda at: Path("/proc/self/pagemap"),
    "/proc/self": lambda at: Path("/proc/self"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": load,
    "tokenizer": load_tokenizer,
    "tiny tokenizer": TinyTokenizer.load,
    "Cosmos tokenizer": CosmosTokenizer.load,
    "foreign checkpoint": load_foreign_checkpoint,
    "data set": Dataset,
    "recordings": lambda path: tokenize_recordings(path, Path("nowhere"), lambda: TOKENIZER),
    "mapping": StateMapping.read,
    "JSON": read_json,
    "replay": Replay.load,
    "policy": SB3Policy,
    "LPIPS": LPIPS.load,
    "robot": lambda path: read_camera(path, "camera", "base"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reader", READERS)
def test_reading(tmp_path: Path, reader: str, place: str) -> None:
    fill(tmp_path)
    with pytest.raises(HWMError) as caught:
        READERS[reader](PLACES[place](tmp_path))
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)


def small_collection(out: Path, collecting: Callable[..., None]) -> None:
    collecting(out, num_episodes=1, seed=0, split="train", clips_per_episode=1, workers=1)


WRITERS: dict[str, Callable[[Path], object]] = {
    "collect": lambda out: small_collection(out, collect),
    "collect --videos": lambda out: small_collection(out, collect_videos),
    "tokenize": lambda out: tokenize_recordings(Path("nowhere"), out, lambda: TOKENIZER),
    "run": lambda out: Run(out, resume=False, results=("tokenizer.safetensors", "thesis.txt")),
    "resumed run": lambda out: Run(out, resume=True, results=("tokenizer.safetensors", "thesis.txt")),
    "import": lambda out: import_checkpoint(ImportConfig(directory=Path("nowhere"), out=out)),
}


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("/dev/null", "/dev/zero")])
@pytest.mark.parametrize("writer", WRITERS)
def test_writing(tmp_path: Path, writer: str, place: str) -> None:
    fill(tmp_path)
    before = {path: path.stat().st_mode for path in tmp_path.rglob("*")}
    content = content_of(tmp_path)
    with pytest.raises(HWMError) as caught:
        WRITERS[writer](PLACES[place](tmp_path))
    assert len(str(caught.value)) < 1200
    assert content_of(tmp_path) == content
    assert {path: path.stat().st_mode for path in tmp_path.rglob("*")} == before
