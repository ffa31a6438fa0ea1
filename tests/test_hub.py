"""Checkpoints on the Hub, with a stand-in client that copies folders and whose calls fit the real functions."""

import fnmatch
import inspect
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch

from hwm_env import WorldSimulator, checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.errors import CheckpointError, DatasetError
from hwm_env.tokenizing import TokenizationConfig, tokenize
from tests.conftest import make_tiny_checkpoint
from tests.data.lerobot_files import HEAD, WRIST, counting, write_lerobot

EXECUTABLE = "model.py"
REAL = {
    name: inspect.signature(getattr(huggingface_hub, name))
    for name in ("create_repo", "upload_folder", "snapshot_download")
}


class LocalHub:
    """Keeps repositories as folders and honours patterns like the real client."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = dict(REAL[name].bind(*args, **kwargs).arguments)
        self.calls.append((name, given))
        return given

    def create_repo(self, *args: Any, **kwargs: Any) -> None:
        given = self._note("create_repo", args, kwargs)
        (self.root / given["repo_id"]).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
        given = self._note("upload_folder", args, kwargs)
        self._copy(Path(given["folder_path"]), self.root / given["repo_id"], given["allow_patterns"])
        return SimpleNamespace(commit_url=f"https://hub/{given['repo_id']}/commit/1")

    def snapshot_download(self, *args: Any, **kwargs: Any) -> str:
        given = self._note("snapshot_download", args, kwargs)
        source = self.root / given.get("repo_type", "model").replace("model", "") / given["repo_id"]
        if not source.is_dir():
            raise FileNotFoundError(f"no repository {given['repo_id']}")
        cache = self.root / ".cache" / given["repo_id"] / str(given["revision"])
        self._copy(source, cache, given["allow_patterns"])
        return str(cache)

    @staticmethod
    def _copy(source: Path, target: Path, patterns: list[str]) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / name)


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    local = LocalHub(tmp_path / "hub")
    for name in REAL:
        monkeypatch.setattr(huggingface_hub, name, getattr(local, name))
    return local


def test_a_checkpoint_is_uploaded_and_downloaded_unchanged(local_hub: LocalHub, tiny_checkpoint: Path) -> None:
    world = WorldSimulator.from_pretrained(tiny_checkpoint)
    assert world.push_to_hub("someone/world", private=True) == "https://hub/someone/world/commit/1"
    (name, creation), (_, upload) = local_hub.calls
    assert (name, creation["private"], creation["exist_ok"]) == ("create_repo", True, True)
    assert upload["repo_id"] == "someone/world"
    assert {path.name for path in (local_hub.root / "someone/world").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "readout.safetensors",
        "starts.safetensors",
        "tokenizer.safetensors",
    }
    (local_hub.root / "someone/world" / EXECUTABLE).write_text("raise SystemExit")
    copy = WorldSimulator.from_pretrained("someone/world@v2")
    assert local_hub.calls[-1][1]["revision"] == "v2"
    assert not list(local_hub.root.glob(f".cache/**/{EXECUTABLE}"))
    assert copy.checkpoint.identity == world.checkpoint.identity
    actions = torch.zeros(1, 17, 25)
    clips = [sim.step(sim.reset([0], [5]), actions)[1].tokens for sim in (world, copy)]
    assert torch.equal(*clips)


def test_the_card_shows_how_to_load_the_checkpoint_and_how_it_was_made(local_hub: LocalHub) -> None:
    made = make_tiny_checkpoint()
    object.__setattr__(made, "provenance", {"validation": {"next_clip_loss": 1.25}})
    checkpoint.push_to_hub(made, "someone/world")
    card = (local_hub.root / "someone/world/README.md").read_text()
    assert card.startswith("---\nlibrary_name: hwm-env\n")
    assert 'gymnasium.make("HWM-v0", checkpoint="someone/world", task=None)' in card
    assert '"next_clip_loss": 1.25' in card
    assert made.tokenizer.identity in card


def test_the_weights_that_are_pushed_are_not_converted(local_hub: LocalHub, tiny_checkpoint: Path) -> None:
    WorldSimulator.from_pretrained(tiny_checkpoint, precision="bfloat16").push_to_hub("someone/world")
    assert checkpoint.load("someone/world").identity == checkpoint.load(tiny_checkpoint).identity


def test_a_directory_takes_precedence_over_the_hub(
    local_hub: LocalHub, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "someone/world")
    monkeypatch.chdir(tmp_path)
    checkpoint.load("someone/world")
    assert local_hub.calls == []


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/a/b", "some one/world", "./world", "../world"])
def test_other_names_are_not_looked_for_on_the_hub(local_hub: LocalHub, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"unknown checkpoint .* or a Hugging Face id owner/name"):
        checkpoint.load(name)
    assert local_hub.calls == []


def test_errors_of_the_hub_are_clear(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"unknown checkpoint 'someone/else'.* Hugging Face Hub returned none"):
        checkpoint.load("someone/else")
    (local_hub.root / "someone/empty").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        checkpoint.load("someone/empty")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError("403")

    monkeypatch.setattr(huggingface_hub, "upload_folder", refuse)
    with pytest.raises(CheckpointError, match=r"could not upload to 'someone/world'.* log in"):
        WorldSimulator.from_pretrained(tiny_checkpoint).push_to_hub("someone/world")


def test_only_the_chosen_camera_and_episodes_of_a_data_set_are_downloaded(
    local_hub: LocalHub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    pytest.importorskip("pyarrow")
    directory = local_hub.root / "dataset/someone/walks"
    write_lerobot(directory, "v3.0", counting((20, 20, 20)), cameras=(HEAD, WRIST), per_file=1)
    options = {"tokenizer": str(tiny_checkpoint), "image_size": 64, "camera": "head", "episodes": (2, 0)}
    tokenize(TokenizationConfig(source=Path("lerobot:someone/walks@v3.0"), out=tmp_path / "out", **options))
    assert [call[1]["revision"] for call in local_hub.calls] == ["v3.0", "v3.0"]
    cache = local_hub.root / ".cache/someone/walks/v3.0"
    assert sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*.*4")) == [
        f"videos/{HEAD}/chunk-000/file-{number:03d}.mp4" for number in (0, 2)
    ]
    assert len(list(cache.glob("data/*/*"))) == 2
    assert [shard.num_frames for shard in Dataset(tmp_path / "out").shards] == [20, 20]
    with pytest.raises(DatasetError, match=r"unknown data set 'someone/else'.* Hugging Face Hub returned none"):
        tokenize(TokenizationConfig(source=Path("lerobot:someone/else"), out=tmp_path / "new", **options))
    with pytest.raises(DatasetError, match=r"info\.json, found nothing; give the directory of a LeRobot data set"):
        tokenize(TokenizationConfig(source=Path(f"lerobot:{tmp_path}"), out=tmp_path / "new", **options))


def test_pictures_of_a_data_set_are_downloaded_in_its_tables(
    local_hub: LocalHub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    pytest.importorskip("pyarrow")
    directory = local_hub.root / "dataset/someone/walks"
    write_lerobot(directory, "v3.0", counting((20, 20)), pictures={WRIST: "PNG"}, per_file=1)
    options = {"tokenizer": str(tiny_checkpoint), "image_size": 64, "camera": "wrist", "episodes": (1,)}
    tokenize(TokenizationConfig(source=Path("lerobot:someone/walks"), out=tmp_path / "out", **options))
    cache = local_hub.root / ".cache/someone/walks/None"
    assert [path.relative_to(cache).as_posix() for path in cache.rglob("*.*") if "meta" not in path.parts] == [
        "data/chunk-000/file-001.parquet"
    ]
    assert [shard.num_frames for shard in Dataset(tmp_path / "out").shards] == [20]
