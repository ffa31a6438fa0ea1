"""Replay files: record everything that an episode of a learned world depends on, and repeat it bit for bit."""

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt
import torch

from hwm_env.arguments import ReplayArgument
from hwm_env.checkpoint import load
from hwm_env.data.files import parse_json, read_bytes, write_bytes
from hwm_env.data.videos import write_video
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import InvalidInputError, described
from hwm_env.fields import CheckedFields, from_json
from hwm_env.model.attention import KeyValues
from hwm_env.model.history import EncodedHistory
from hwm_env.reporting import PYTHON, Caller, publish
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP, POSE_DIM, Float32Array, Int32Array

FORMAT_VERSION: Final = 1
MAX_BYTES: Final = 2**29
"""Largest total size of a file's arrays: a week of env steps."""
_POSE_FIELDS: Final = ("pose", "pose_covariance")
_ARRAYS: Final = {
    "history_tokens": ("i", 4),
    "history_actions": ("f", 3),
    "actions": ("f", 3),
    "digests": ("u", 1),
    "pose": ("f", 1),
    "pose_covariance": ("f", 2),
    "paths": ("f", 3),
}
"""NumPy kind and number of axes of each array."""
_OPTIONAL_FIELDS: Final = (*_POSE_FIELDS, "paths")
_ENCODED, _TIME, _SCENE = "encoded_", "next_time", "following_scene"
"""Prefix of the arrays of an encoded history, and names of those that are not of its clips."""
_DAMAGES: Final = (
    OSError,
    MemoryError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    BadZipFile,
    TokenError,
    zlib.error,
)
"""Exceptions that reading a damaged or foreign file can raise."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replay:
    """An episode of N env steps of a learned world, saved as `.npz`."""

    checkpoint: str
    """Identity of the checkpoint."""
    tokenizer: str
    """Identity of the tokenizer, which decodes the frames."""
    decoding: str
    """Settings of decoding: `DecodingConfig`, `precision` and `strict`, as JSON."""
    start: int
    """Index of the start; -1 if the episode began elsewhere."""
    seed: int
    """Seed of the noise."""
    step_index: int
    """Env steps since the recorded history at which the episode began."""
    history_tokens: Int32Array
    """int32 [T, 3, H, W]: the history before the episode."""
    history_actions: Float32Array
    """float32 [T, 17, 25], physical units."""
    actions: Float32Array
    """float32 [N, 17, 25]: the executed action chunks, physical units."""
    digests: npt.NDArray[np.uint64]
    """uint64 [N]: a hash of each clip's tokens, to check a replay."""
    pose: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 [3]: the carried pose when the episode began, NaN if unknown; [0] without a scene."""
    pose_covariance: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """float32 [3, 3]: covariance of the carried pose; [0, 0] without a scene."""
    paths: Float32Array = field(default_factory=lambda: np.zeros((0, FRAMES_PER_CLIP, POSE_DIM), np.float32))
    """float32 [T, 17, 3]: base poses in the history; [0, 17, 3] if the model does not read scene inputs."""
    encoded: EncodedHistory | None = None
    """The encoded history in float32 on the CPU, if the episode began with one that may keep traces of clips before
    `history_tokens` (`history="streaming"`, not at a reset)."""

    @classmethod
    def begin(cls, simulator: WorldSimulator, state: WorldState, start: int) -> "Replay":
        """Returns an episode without steps that begins at a state of one row."""
        return cls(
            checkpoint=simulator.identity,
            tokenizer=simulator.tokenizer.identity,
            decoding=json.dumps(
                asdict(simulator.decoding) | {"precision": simulator.precision, "strict": simulator.strict}
            ),
            start=start,
            seed=state.seeds[0],
            step_index=state.step_indices[0],
            history_tokens=state.tokens[0].cpu().numpy(),
            history_actions=state.actions[0].cpu().numpy(),
            actions=np.zeros((0, *state.actions.shape[2:]), np.float32),
            digests=np.zeros(0, np.uint64),
            **_of_belief(state.belief),
            **({} if state.paths is None else {"paths": state.paths[0].cpu().numpy()}),
            encoded=_with_traces(state),
        )

    def save(self, path: Path) -> None:
        """Writes the file atomically and creates its directory if needed.

        Raises:
            SavingError: the file could not be written.
        """
        write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Returns the content of the file."""
        file = io.BytesIO()
        content = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "encoded"}
        content |= _arrays_of(self.encoded)
        np.savez_compressed(file, format=FORMAT_VERSION, **content)
        return file.getvalue()

    @classmethod
    def load(cls, path: Path) -> "Replay":
        """Reads a file.

        Raises:
            InvalidInputError: the file is missing or damaged, or not a replay.
        """
        # The file is read as a whole, because NumPy leaves a damaged file open.
        whole = read_bytes(path, InvalidInputError, "give a file that RecordReplay wrote")
        try:
            packed = io.BytesIO(whole)
            if sum(entry.file_size for entry in ZipFile(packed).infolist()) > MAX_BYTES:
                raise InvalidInputError(f"{path}: expected arrays of at most {MAX_BYTES} bytes, got more")
            with np.load(packed, allow_pickle=False) as content:
                if int(content["format"]) != FORMAT_VERSION:
                    raise InvalidInputError(f"{path}: expected format {FORMAT_VERSION}, got {content['format']}")
                # Files from before carried poses existed lack these fields.
                names = {each.name for each in fields(cls)} - {"encoded"}
                names -= {name for name in _OPTIONAL_FIELDS if name not in content}
                values: dict[str, Any] = {name: content[name] for name in names} | {"encoded": _encoded_in(content)}
            for name in ("checkpoint", "tokenizer", "decoding"):
                values[name] = str(values[name])
            for name in ("start", "seed", "step_index"):
                values[name] = int(values[name])
            for name, (kind, axes) in _ARRAYS.items():
                if name in values and (values[name].dtype.kind != kind or values[name].ndim != axes):
                    raise InvalidInputError(
                        f"{path}: expected {name} of {axes} axes, got {values[name].dtype} {list(values[name].shape)}"
                    )
            replay = cls(**values)
            replay._settings()
        except _DAMAGES as error:
            raise InvalidInputError(f"{path} is not a replay file of hwm_env: {described(error)}") from error
        num_steps, num_clips = len(replay.digests), len(replay.history_tokens)
        for array, shape in (
            (replay.history_tokens, (num_clips, LATENTS_PER_CLIP, *replay.history_tokens.shape[2:4])),
            (replay.history_actions, (num_clips, FRAMES_PER_CLIP, ACTION_DIM)),
            (replay.actions, (num_steps, FRAMES_PER_CLIP, ACTION_DIM)),
            (replay.pose, (POSE_DIM,) if replay.pose.size else (0,)),
            (replay.pose_covariance, (POSE_DIM, POSE_DIM) if replay.pose.size else (0, 0)),
            (replay.paths, (num_clips if len(replay.paths) else 0, FRAMES_PER_CLIP, POSE_DIM)),
        ):
            if array.shape != shape:
                raise InvalidInputError(f"{path} is not a replay file of hwm_env: expected {shape}, got {array.shape}")
        return replay

    def make_simulator(
        self, checkpoint: str | Path, *, device: str = "cpu", tokenizer: str | Path | None = None
    ) -> WorldSimulator:
        """Builds the simulator of the episode.

        Args:
            checkpoint: name, directory or Hugging Face id of the episode's checkpoint.
            device: device of the simulator.
            tokenizer: path of the tokenizer, for a checkpoint that does not contain one.

        Raises:
            InvalidInputError: the checkpoint or its tokenizer is not the episode's.
            CheckpointError: the checkpoint is unknown or damaged.
        """
        decoding, options = self._settings()
        simulator = WorldSimulator(load(checkpoint, device=device, tokenizer=tokenizer), decoding, **options)
        found = {"checkpoint": simulator.identity, "tokenizer": simulator.tokenizer.identity}
        for name, identity in found.items():
            if identity != getattr(self, name):
                raise InvalidInputError(
                    f"the episode was recorded with the {name} {getattr(self, name)[:80]}, but {checkpoint} has "
                    f"{identity}; give the checkpoint that it was recorded with"
                )
        return simulator

    def run(self, simulator: WorldSimulator) -> Iterator[tuple[Clip, bool]]:
        """Repeats the episode.

        Yields:
            Each step's clip, and whether its tokens equal the recorded ones.
        """
        belief = None
        if self.pose.size:
            poses, covariances = torch.from_numpy(self.pose)[None], torch.from_numpy(self.pose_covariance)[None]
            belief = PoseBelief(poses.to(simulator.device), covariances.to(simulator.device))
        state = simulator.begin(
            torch.from_numpy(self.history_tokens)[None],
            torch.from_numpy(self.history_actions)[None],
            [self.seed],
            poses=None if belief is None else belief.poses,
        )
        state = replace(state, step_indices=(self.step_index,), belief=belief)
        if len(self.paths):
            state = replace(state, paths=torch.from_numpy(self.paths)[None].to(simulator.device), encoded=None)
        if self.encoded is not None:
            weight = next(simulator.model.parameters())
            state = replace(state, encoded=self.encoded.to(weight.device, weight.dtype))
        for chunk, expected in zip(self.actions, self.digests, strict=True):
            state, clip = simulator.step(state, torch.from_numpy(chunk)[None])
            yield clip, digest(clip.tokens[0].cpu().numpy()) == expected

    def _settings(self) -> tuple[DecodingConfig, dict[str, Any]]:
        """Returns the settings of decoding, and the simulator's other options."""
        settings = parse_json(self.decoding)
        options = {name: settings.pop(name) for name in ("precision", "strict")}
        return from_json(DecodingConfig, settings), options


def _of_belief(belief: PoseBelief | None) -> dict[str, Float32Array]:
    """Returns the fields for a single row's belief; none without a belief."""
    if belief is None:
        return {}
    values = (belief.poses[0].cpu().numpy(), belief.covariances[0].cpu().numpy())
    return dict(zip(_POSE_FIELDS, values, strict=True))


def _with_traces(state: WorldState) -> EncodedHistory | None:
    """Returns the encoded history of a state, unless its clips determine it."""
    if state.encoded is None or state.step_indices[0] == 0:
        return None
    return state.encoded.to("cpu", torch.float32)


def _arrays_of(encoded: EncodedHistory | None) -> dict[str, npt.NDArray[Any]]:
    """Returns the arrays of an encoded history, for a file: those of its N clips as [N, ...]; none without one."""
    if encoded is None:
        return {}
    of_clips = zip(*encoded.clips, strict=True)
    # Without a clip, there are no fields.
    arrays = {name: torch.stack(parts).numpy() for name, parts in zip(KeyValues._fields, of_clips, strict=False)}
    arrays[_TIME] = encoded.next_time.numpy()
    if encoded.following_scene is not None:
        arrays[_SCENE] = encoded.following_scene.numpy()
    return {_ENCODED + name: array for name, array in arrays.items()}


def _encoded_in(content: Mapping[str, npt.NDArray[Any]]) -> EncodedHistory | None:
    """Returns the encoded history in a file; whether it fits the model, the first env step checks."""
    if not any(name.startswith(_ENCODED) for name in content):
        return None
    of_clips = [torch.from_numpy(content[_ENCODED + name]) for name in KeyValues._fields if _ENCODED + name in content]
    clips = tuple(KeyValues(*clip) for clip in zip(*of_clips, strict=True))
    scene = torch.from_numpy(content[_ENCODED + _SCENE]) if _ENCODED + _SCENE in content else None
    return EncodedHistory(clips, torch.from_numpy(content[_ENCODED + _TIME]), scene)


def digest(tokens: Int32Array) -> np.uint64:
    """Returns a hash of a clip's tokens."""
    return np.uint64(int.from_bytes(sha256(np.ascontiguousarray(tokens, "<i4").tobytes()).digest()[:8], "little"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayConfig(CheckedFields):
    """Which episode is replayed, in which checkpoint, and which files are written."""

    file: ReplayArgument
    """File that the wrapper RecordReplay wrote."""
    checkpoint: str = "room-64"
    """Name or directory of the checkpoint in which the episode was recorded."""
    tokenizer: str | None = None
    """Directory of its tokenizer, for a checkpoint that does not hold its own."""
    video: Path | None = None
    """MP4 file for the episode (needs the data extra)."""
    json: Path | None = None
    """JSON file for the result."""
    device: str = "cpu"
    """Device that predicts; another kind of device rounds differently."""


def replay(config: ReplayConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Replays a recorded episode and checks that each clip is the same to the bit.

    Returns:
        `steps`, their number; `equal`, whether all clips are the same; `first_differing_step`, empty if they are.

    Raises:
        InvalidInputError: the file is damaged, belongs to another checkpoint, or a clip differs.
        CheckpointError: there is no such checkpoint.
        SavingError: a file cannot be written.
    """
    recorded = Replay.load(config.file)
    simulator = recorded.make_simulator(config.checkpoint, device=config.device, tokenizer=config.tokenizer)
    steps = list(recorded.run(simulator))
    if config.video is not None and steps:
        write_video(config.video, np.concatenate([clip.frames[0].cpu().numpy() for clip, _ in steps]))
    differing = [index for index, (_, is_equal) in enumerate(steps) if not is_equal]
    result = {"steps": len(steps), "equal": not differing, "first_differing_step": differing[:1]}
    publish(result, config.json, caller)
    if differing:
        raise InvalidInputError(
            f"{config.file}: step {differing[0]} has other tokens than recorded; replay it with the version of PyTorch "
            "and on the kind of machine that recorded it (batches that were not strict cannot be replayed)"
        )
    return result
