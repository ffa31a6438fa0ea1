"""The learned world of a service, as a world of this machine."""

import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import torch

from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import DatasetError, HWMError, InvalidInputError, ModelOutputError, ServiceError
from hwm_env.fields import short
from hwm_env.remote import messages as m
from hwm_env.remote.arrays import packed
from hwm_env.remote.client import ServiceClient, StaleSessionError
from hwm_env.remote.pictures import raw_frames
from hwm_env.remote.tokenizer import RemoteTokenizer
from hwm_env.robot import Robot
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, WorldReadout
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.trust import Trust
from hwm_env.types import Float32Array, Int32Array, UInt8Array, frozen

_MOST_CHUNKS: Final = 32
"""Chunks of one request when a session is repeated."""


@dataclass(frozen=True, eq=False)
class Path:
    """How a moment came about, from which a service can repeat it to the bit."""

    before: "Path | None"
    """The path to the moment before; `None` at an origin."""
    chunk: Float32Array | None
    """The chunk after that moment, [17, 25]."""
    origin: Mapping[str, Any]
    """The request that opens a session at the beginning."""
    length: int
    """Number of chunks."""

    def chunks(self) -> list[Float32Array]:
        """Returns all chunks, in order."""
        return [path.chunk for path in reversed(list(self._backwards())) if path.chunk is not None]

    def _backwards(self) -> "Iterator[Path]":
        path: Path | None = self
        while path is not None:
            yield path
            path = path.before

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles long paths without deep recursion."""
        return _path_of, (self.origin, self.chunks())


def _path_of(origin: Mapping[str, Any], chunks: Sequence[Float32Array]) -> Path:
    path = Path(None, None, origin, 0)
    for chunk in chunks:
        path = Path(path, chunk, origin, path.length + 1)
    return path


class Session:
    """A session of a service, and the path of the moment at which it is. Copies have none."""

    def __init__(self, session_id: str, at: Path, closing: deque[str]) -> None:
        self.id: str | None = session_id
        self.at: Path | None = at
        weakref.finalize(self, closing.append, session_id)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_session, ()


def _no_session() -> None:
    return None


@dataclass(frozen=True)
class RemoteMoment:
    """The WorldMoment of a service's world. Frames that its answer lacks are decoded there on first access."""

    message: m.MomentMessage
    measured: Float32Array
    """The executed actions, [17, 25], read-only."""
    path: Path
    session: Session | None = field(compare=False)
    """A session that may be at this moment."""
    tokenizer: RemoteTokenizer

    @cached_property
    def frames(self) -> UInt8Array:
        """All frames, uint8 [17, S, S, 3], read-only."""
        shown = self.message.frames
        if shown is not None and shown.shape[0] > 1:
            return raw_frames(shown)
        return frozen(self.tokenizer.decode(torch.from_numpy(self.tokens)[None])[0].numpy())

    @cached_property
    def last_frame(self) -> UInt8Array:
        """The last frame, uint8 [S, S, 3], read-only."""
        if self.message.frames is not None:
            (*_, last) = raw_frames(self.message.frames)
            return frozen(last)
        return frozen(self.tokenizer.decode_last(torch.from_numpy(self.tokens)[None])[0].numpy())

    @property
    def tokens(self) -> Int32Array:
        """The clip's tokens, int32 [3, h, w]."""
        return self.message.tokens.astype(np.int32)

    @property
    def latents(self) -> Float32Array:
        """Values of the tokens' digits in [-1, 1], float32 [3, h, w, digits]."""
        return latents_of(torch.from_numpy(self.tokens), self.tokenizer.fsq_levels)

    @cached_property
    def readout(self) -> WorldReadout | None:
        """The read-out at the last frame; `None` if unknown."""
        read = self.message.readout
        if read is None:
            return None
        return WorldReadout.from_vector(
            np.concatenate([read.base_pose, read.head_m, read.gaze, read.left_hand_m, read.right_hand_m])
        )

    @property
    def readout_source(self) -> ReadoutSource | None:
        """Source of the read-out."""
        return self.message.readout_source

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 for a recorded clip."""
        return self.message.confidence

    @property
    def entropy(self) -> float:
        """Mean entropy of the distributions of the clip's tokens in nats a token; 0 for a recorded clip."""
        return self.message.entropy

    @property
    def path_entropy(self) -> float:
        """Mean entropy of all clips since the last recorded one, in nats a token."""
        return self.message.path_entropy

    @property
    def painted_offset(self) -> float:
        """Distance of the painted pose from the carried one (m)."""
        return self.message.painted_offset

    @property
    def pose(self) -> Float32Array | None:
        """The carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        return None if self.message.pose is None else self.message.pose.astype(np.float32)

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of the carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        return None if self.message.pose_std is None else self.message.pose_std.astype(np.float32)

    @property
    def predicted_steps(self) -> int:
        """Number of clips since the last recorded one."""
        return self.message.step


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """The WorldSource that a service describes."""

    starts: range
    statistics: ActionStatistics
    robot: Robot
    tokenizer: RemoteTokenizer
    image_size: int
    grid_size: tuple[int, int]


class RemoteWorld:
    """The World of a service.

    A moment is known by its path: its origin and the chunks since then. A session at the service saves repeating it:
    where the session is closed, or has gone on from there, another one is opened and brought to the moment.

    Args:
        client: the service.
        frames: frames that each answer holds.

    Raises:
        ServiceError: the service cannot be reached, or does not answer as one.
    """

    is_exact: Final = False
    has_pictures: Final = True

    def __init__(self, client: ServiceClient, frames: m.ShownFrames = "none") -> None:
        self._client = client
        self._wanted = {"frames": frames, "encoding": "raw"}
        self._closing: deque[str] = deque()
        capabilities = client.get("/v1/capabilities", m.Capabilities)
        self.capabilities = capabilities
        """What the service predicts, and its limits."""
        try:
            statistics = ActionStatistics.from_dict(capabilities.action_statistics)
            robot = Robot.read(capabilities.robot)
            _, rows, columns = capabilities.token_shape
        except (DatasetError, InvalidInputError, ValueError) as error:
            raise ServiceError(f"{client.url} does not describe a world ({error})") from error
        tokenizer = RemoteTokenizer(client, capabilities)
        starts = range(capabilities.num_starts)
        self.checkpoint = RemoteSource(starts, statistics, robot, tokenizer, capabilities.image_size, (rows, columns))
        self.identity = f"learned world {capabilities.model}, at a service"
        self.has_readout = capabilities.has_readout
        self.trust = self._trust() if capabilities.is_calibrated else None
        self._recorded = lru_cache(64)(self._fetch_start)

    def __getstate__(self) -> dict[str, Any]:
        """Returns everything but open sessions and cached starts."""
        return {**self.__dict__, "_closing": deque(), "_recorded": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores what `__getstate__` returned."""
        self.__dict__.update(state, _recorded=lru_cache(64)(self._fetch_start))

    def start(self, index: int) -> RecordedHistory:
        """Returns a start of the checkpoint; see World."""
        recorded = self._recorded(index)
        pose = None if recorded.pose is None else recorded.pose.copy()
        return RecordedHistory(recorded.tokens.copy(), recorded.actions.copy(), pose)

    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[RemoteMoment]:
        """Returns each row's moment at the end of its recorded history; see World."""
        return [self._begun(history, seed) for history, seed in zip(histories, seeds, strict=True)]

    def _begun(self, history: RecordedHistory, seed: int) -> RemoteMoment:
        content = {"tokens": packed(history.tokens), "actions": packed(history.actions)}
        if history.pose is not None:
            content["pose"] = packed(history.pose)
        path = Path(None, None, {"history": content, "seed": seed}, 0)
        answer = self._opened(path)
        session = Session(answer.id, path, self._closing)
        return RemoteMoment(answer.begin, frozen(history.actions[-1]), path, session, self.checkpoint.tokenizer)

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside; see World."""
        if not isinstance(moment, RemoteMoment) or not isinstance(moment.path, Path):
            raise InvalidInputError(f"the state's moment must be one of a service's world, got {short(moment)}")

    def reseeded(self, moment: RemoteMoment, seed: int) -> RemoteMoment:
        """Returns the same moment with other future noise."""
        session = self._session_at(moment)
        answer = self._client.get(f"/v1/sessions/{session.id}/state", m.StateAnswer)
        return replace(moment, path=Path(None, None, {"state": answer.state, "seed": seed}, 0), session=None)

    def step(self, moments: Sequence[RemoteMoment], chunks: Float32Array) -> list[RemoteMoment]:
        """Predicts one clip in each row; see World. Rows are sent at once, so that the service computes them together.

        Raises:
            ModelOutputError: the model's output is not finite; names the rows.
            ServiceError: the service cannot be reached, or does not answer as one.
        """
        if len(moments) == 1:
            return [self._step(moments[0], chunks[0])]
        with ThreadPoolExecutor(min(len(moments), m.MOST_ROWS)) as threads:
            futures = [threads.submit(self._step, *row) for row in zip(moments, chunks, strict=True)]
        errors = {row: future.exception() for row, future in enumerate(futures)}
        broken = [row for row, error in errors.items() if isinstance(error, ModelOutputError)]
        for row, error in errors.items():
            if error is not None and row not in broken:
                raise error
        if broken:
            raise ModelOutputError(broken)
        return [future.result() for future in futures]

    def close(self) -> None:
        """Closes the sessions of moments that are gone; the others expire."""
        self._close_sessions()
        self._client.close()

    def _step(self, moment: RemoteMoment, chunk: Float32Array) -> RemoteMoment:
        session = moment.session
        body = {**self._wanted, "actions": self._packed(chunk)}
        answer = None
        if session is not None and session.at is moment.path:
            try:
                answer = self._stepped(session, moment.path, body)
            except StaleSessionError:
                session.at = None
        if answer is None:
            session = self._session_at(moment)
            answer = self._stepped(session, moment.path, body)
        assert session is not None
        path = Path(moment.path, frozen(chunk), moment.path.origin, moment.path.length + 1)
        session.at = path
        self._close_sessions()
        return RemoteMoment(answer.clips[-1], frozen(chunk), path, session, moment.tokenizer)

    def _session_at(self, moment: RemoteMoment) -> Session:
        """Returns a session that is at a moment."""
        if moment.session is not None and moment.session.at is moment.path:
            return moment.session
        session = Session(self._opened(moment.path).id, moment.path, self._closing)
        chunks = moment.path.chunks()
        for first in range(0, len(chunks), _MOST_CHUNKS):
            body = {"actions": self._packed(np.stack(chunks[first : first + _MOST_CHUNKS]))}
            self._client.post(f"/v1/sessions/{session.id}/step", body, m.StepAnswer, again=False)
        return session

    def _opened(self, path: Path) -> m.OpenAnswer:
        self._close_sessions()
        return self._client.post("/v1/sessions", {**path.origin, **self._wanted}, m.OpenAnswer)

    def _stepped(self, session: Session, path: Path, body: Mapping[str, Any]) -> m.StepAnswer:
        # `after` counts from the session's own beginning. With it, a request cannot advance a session twice.
        body = {**body, "after": path.length}
        answer = self._client.post(f"/v1/sessions/{session.id}/step", body, m.StepAnswer)
        if len(answer.clips) != 1:
            raise ServiceError(f"{self._client.url} answered one chunk with {len(answer.clips)} clips")
        return answer

    def _packed(self, chunks: Float32Array) -> Any:
        """Returns chunks [..., 25] as a service expects them: with the robot's joints alone."""
        return packed(np.ascontiguousarray(chunks[..., self.checkpoint.robot.indices]))

    def _close_sessions(self) -> None:
        while self._closing:
            try:
                self._client.delete(f"/v1/sessions/{self._closing.popleft()}")
            except (HWMError, IndexError):
                # It has expired, or will.
                continue

    def _fetch_start(self, index: int) -> RecordedHistory:
        history = self._client.get(f"/v1/starts/{index}", m.StartAnswer).history
        pose = None if history.pose is None else history.pose.astype(np.float32)
        return RecordedHistory(history.tokens.astype(np.int32), history.actions.astype(np.float32), pose)

    def _trust(self) -> Trust:
        answer = self._client.get("/v1/trust", m.TrustAnswer)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in answer.tensors.items()}
        return Trust.from_parts(answer.config, tensors)
