"""From requests to moments of the learned world, and from moments to answers."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hwm_env.envs.actions import ActionAdapter, AdaptedAction
from hwm_env.envs.learned import LearnedMoment, LearnedWorld
from hwm_env.errors import InvalidInputError
from hwm_env.remote.messages import (
    MOST_CLIPS,
    ClipMessage,
    Frames,
    History,
    MomentMessage,
    Origin,
    OutOfRange,
    Readout,
    Wanted,
)
from hwm_env.service.batching import Batcher
from hwm_env.service.pictures import encoded_frames
from hwm_env.service.states import load_state, save_state
from hwm_env.tasks.base import RecordedHistory
from hwm_env.types import FRAMES_PER_CLIP, POSE_DIM, Float32Array

MOST_FRAME_BYTES: Final = 2**26
"""Bytes of decoded frames in one answer."""


class Predictions:
    """Predicts for requests; all computation is the batcher's.

    Args:
        world: the learned world.
        batcher: computes its steps.
    """

    def __init__(self, world: LearnedWorld, batcher: Batcher[LearnedMoment]) -> None:
        self.world = world
        self.batcher = batcher
        statistics, robot = world.checkpoint.statistics, world.checkpoint.robot
        self._adapters = {
            name: ActionAdapter(statistics, "chunk", normalized=False, out_of_range=name, robot=robot)
            for name in ("clip", "refuse")
        }
        self.action_space = self._adapters["clip"].space
        """The chunks of requests: a Box, [17, J] for J joints."""

    async def begin(self, origin: Origin) -> LearnedMoment:
        """Returns the moment at which a row begins.

        Raises:
            InvalidInputError: the start is unknown, or the history or state does not fit.
        """
        return await self.batcher.compute(lambda: self._begin(origin))

    async def advance(
        self, moment: LearnedMoment, chunk: Float32Array, wanted: Wanted, out_of_range: OutOfRange
    ) -> tuple[LearnedMoment, ClipMessage]:
        """Advances a row by one clip.

        Args:
            moment: the present moment.
            chunk: its actions, [17, J] for J joints.
            wanted: what the answer holds.
            out_of_range: treatment of actions beyond the bounds.

        Raises:
            InvalidInputError: the chunk is not finite, or beyond the bounds and refused.
            ModelOutputError: the model's output is not finite.
        """
        action = self._adapters[out_of_range].adapt(chunk, moment.measured[-1])
        after = await self.batcher.step(moment, action.chunk)
        return await self.batcher.compute(lambda: self._answer(after, action, wanted))

    async def show(self, moment: LearnedMoment, wanted: Wanted) -> MomentMessage:
        """Returns a moment as a message."""
        return await self.batcher.compute(lambda: MomentMessage(**self._shown(moment, wanted)))

    def check_amount(self, clips: int, wanted: Wanted) -> None:
        """Checks how much a request asks for.

        Raises:
            InvalidInputError: it is too much.
        """
        if clips > MOST_CLIPS:
            raise InvalidInputError(f"expected at most {MOST_CLIPS} clips a request, got {clips}")
        frames = {"none": 0, "last": 1, "all": FRAMES_PER_CLIP}[wanted.frames]
        size = clips * frames * 3 * self.world.checkpoint.image_size**2
        if size > MOST_FRAME_BYTES:
            raise InvalidInputError(
                f"expected at most {MOST_FRAME_BYTES} bytes of frames a request, got {size}; ask for fewer"
            )

    def chunks_of(self, actions: Any, fewest: int) -> Float32Array:
        """Returns the action chunks of a request, float32 [T, 17, J].

        Args:
            actions: numbers [17, J] or [T, 17, J].
            fewest: smallest T.

        Raises:
            InvalidInputError: they have another shape, or are not finite.
        """
        numbers, expected = np.asarray(actions), self.action_space.shape
        if numbers.size == 0 and fewest == 0:
            return np.zeros((0, *expected), np.float32)
        chunks = numbers[None] if numbers.ndim == 2 else numbers
        if chunks.shape[1:] != expected or chunks.ndim != 3 or len(chunks) < fewest:
            shape = ", ".join(map(str, expected))
            raise InvalidInputError(
                f"actions must be finite numbers [{shape}] or [T, {shape}], got shape {list(numbers.shape)}"
            )
        return _real("actions", chunks)

    def _begin(self, origin: Origin) -> LearnedMoment:
        if origin.state is not None:
            return load_state(self.world, origin.state, origin.seed)
        history = self.start(origin.start or 0) if origin.history is None else recorded(origin.history)
        (moment,) = self.world.begin([history], [origin.seed or 0])
        return moment

    def start(self, index: int) -> RecordedHistory:
        """Returns a recorded start.

        Raises:
            InvalidInputError: there is none of this index.
        """
        count = len(self.world.checkpoint.starts)
        if not 0 <= index < count:
            raise InvalidInputError(f"start must be in 0..{count - 1}, got {index}")
        return self.world.start(index)

    def _answer(
        self, moment: LearnedMoment, action: AdaptedAction, wanted: Wanted
    ) -> tuple[LearnedMoment, ClipMessage]:
        drift, error_probability = None, None
        if self.world.trust is not None:
            assessment = self.world.trust.assess(
                tokens=moment.tokens[None],
                confidence=np.array([moment.confidence]),
                path_entropy=np.array([moment.path_entropy]),
                action_ood=np.array([action.ood]),
                painted_offset=np.array([moment.painted_offset]),
                steps=np.array([moment.predicted_steps]),
            )
            drift, error_probability = float(assessment.drift[0]), float(assessment.error_probability[0])
        message = ClipMessage(
            **self._shown(moment, wanted),
            action_clipped=action.clipped,
            action_ood=action.ood,
            drift=drift,
            error_probability=error_probability,
        )
        return moment, message

    def _shown(self, moment: LearnedMoment, wanted: Wanted) -> dict[str, Any]:
        readout = moment.readout
        return {
            "step": moment.predicted_steps,
            "tokens": moment.tokens,
            "confidence": moment.confidence,
            "entropy": moment.entropy,
            "path_entropy": moment.path_entropy,
            "painted_offset": moment.painted_offset,
            "readout": None if readout is None else Readout(**readout.to_dict()),
            "readout_source": moment.readout_source,
            "pose": moment.pose,
            "pose_std": moment.pose_std,
            "frames": _frames(moment, wanted),
            "state": save_state(self.world, moment) if wanted.states else None,
        }


def recorded(history: History) -> RecordedHistory:
    """Returns the history of a request.

    Raises:
        InvalidInputError: a part has the wrong kind of numbers; `World.begin` checks the shapes.
    """
    tokens = np.asarray(history.tokens)
    if tokens.dtype.kind not in "iu" or np.abs(tokens.astype(np.int64)).max(initial=0) >= 2**31:
        raise InvalidInputError(f"history tokens must be whole numbers in the codebook, got {tokens.dtype}")
    pose = None if history.pose is None else _real("pose", np.asarray(history.pose))
    if pose is not None and pose.shape != (POSE_DIM,):
        raise InvalidInputError(f"pose must be x (m), y (m) and yaw (rad), [3], got shape {list(pose.shape)}")
    return RecordedHistory(tokens.astype(np.int32), _real("actions", np.asarray(history.actions)), pose)


def _real(name: str, numbers: np.ndarray[Any, Any]) -> Float32Array:
    """Returns numbers as float32; raises InvalidInputError if some are not finite as such."""
    with np.errstate(over="ignore"):
        real = numbers.astype(np.float32)
    if not np.isfinite(real).all():
        where = np.argwhere(~np.isfinite(real))[0].tolist()
        raise InvalidInputError(f"{name} must be finite numbers, got {numbers[tuple(where)]} at index {where}")
    return real


def _frames(moment: LearnedMoment, wanted: Wanted) -> Frames | None:
    if wanted.frames == "none":
        return None
    return encoded_frames(moment.frames if wanted.frames == "all" else moment.last_frame[None], wanted.encoding)


def check_tokens(tokens: Any, world: LearnedWorld) -> np.ndarray[Any, Any]:
    """Returns the tokens of clips to decode, int32 [B, 3, h, w].

    Raises:
        InvalidInputError: they have another shape, or lie outside the codebook.
    """
    rows: Sequence[int] = world.checkpoint.model.config.grid_size
    codes, expected = np.asarray(tokens), (3, *rows)
    num_codes = world.checkpoint.tokenizer.codebook_size
    is_shape = codes.ndim == 4 and codes.shape[1:] == expected and 1 <= len(codes) <= MOST_CLIPS
    if not is_shape or codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= num_codes:
        raise InvalidInputError(
            f"tokens must be whole numbers in 0..{num_codes - 1} of shape [B, {', '.join(map(str, expected))}], B in "
            f"1..{MOST_CLIPS}, got {codes.dtype} {list(codes.shape)}"
        )
    return codes.astype(np.int32)
