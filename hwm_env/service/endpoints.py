"""The endpoints of a service: what each takes, does and answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import torch
from pydantic import BaseModel

from hwm_env.envs.learned import LearnedMoment
from hwm_env.errors import InvalidInputError, ModelOutputError
from hwm_env.remote import messages as m
from hwm_env.service.pictures import encoded_frames
from hwm_env.service.predictions import Predictions, check_tokens
from hwm_env.service.sessions import Sessions
from hwm_env.service.states import reseeded, save_state
from hwm_env.tasks.registry import TASKS
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, LATENTS_PER_CLIP, Float32Array

MOST_BYTES: Final = 2**24
"""Bytes of one request."""


class GoneError(Exception):
    """The client has disconnected."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked."""

    body: Any
    """The request message; `None` if the endpoint takes none."""
    name: str
    """The session or start that the path names; empty if none."""
    is_gone: Callable[[], Awaitable[bool]]
    """Whether the client has disconnected."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the service does for one method and path."""

    method: str
    path: str
    """May end in a name in braces."""
    summary: str
    request: type[BaseModel] | None
    answer: type[BaseModel]
    handle: Callable[[Call], Awaitable[BaseModel]]
    errors: tuple[int, ...] = ()
    """Statuses beside those that every endpoint may answer."""


class Service:
    """The operations of a service.

    Args:
        predictions: predicts.
        sessions: the open sessions.
    """

    def __init__(self, predictions: Predictions, sessions: Sessions) -> None:
        self.predictions = predictions
        self.sessions = sessions
        self.world = predictions.world
        self.batcher = predictions.batcher
        self.endpoints: tuple[Endpoint, ...] = (
            Endpoint("GET", "/v1/health", "Answers; needs no token.", None, m.Health, self.health),
            Endpoint(
                "GET", "/v1/capabilities", "Describes actions, frames and limits.", None, m.Capabilities, self.describe
            ),
            Endpoint("GET", "/v1/trust", "Returns the calibration.", None, m.TrustAnswer, self.trust, (404,)),
            Endpoint("GET", "/v1/starts/{name}", "Returns a recorded start.", None, m.StartAnswer, self.start),
            Endpoint(
                "POST", "/v1/predict", "Predicts a batch and keeps nothing.", m.PredictRequest, m.PredictAnswer,
                self.predict,
            ),
            Endpoint("POST", "/v1/decode", "Decodes tokens to frames.", m.DecodeRequest, m.DecodeAnswer, self.decode),
            Endpoint("POST", "/v1/encode", "Encodes frames to tokens.", m.EncodeRequest, m.EncodeAnswer, self.encode),
            Endpoint("POST", "/v1/sessions", "Opens a session.", m.OpenRequest, m.OpenAnswer, self.open, (429,)),
            Endpoint(
                "POST", "/v1/sessions/{name}/step", "Advances a session.", m.StepRequest, m.StepAnswer, self.step,
                (404, 409),
            ),
            Endpoint(
                "POST", "/v1/sessions/{name}/fork", "Copies a session, to try several futures.", m.ForkRequest,
                m.ForkAnswer, self.fork, (404, 429),
            ),
            Endpoint(
                "GET", "/v1/sessions/{name}/state", "Returns a session's saved state.", None, m.StateAnswer,
                self.state, (404,),
            ),
            Endpoint(
                "DELETE", "/v1/sessions/{name}", "Closes a session.", None, m.ClosedAnswer, self.close, (404,)
            ),
        )  # fmt: skip

    async def health(self, call: Call) -> m.Health:
        """See the endpoint."""
        return m.Health(status="ok", model=self.world.simulator.identity, version=version("hwm-env"))

    async def describe(self, call: Call) -> m.Capabilities:
        """See the endpoint."""
        checkpoint, simulator = self.world.checkpoint, self.world.simulator
        tasks = [m.Task(name=name, needs_readout=make().needs_readout) for name, make in sorted(TASKS.items())]
        return m.Capabilities(
            model=simulator.identity,
            tokenizer=checkpoint.tokenizer.token_identity,
            action_names=list(checkpoint.robot.names),
            action_low=self.predictions.action_space.low[0],
            action_high=self.predictions.action_space.high[0],
            robot=checkpoint.robot.to_json(),
            action_statistics=checkpoint.statistics.to_dict(),
            frames_per_clip=FRAMES_PER_CLIP,
            frame_rate_hz=FRAME_RATE_HZ,
            image_size=checkpoint.image_size,
            token_shape=[LATENTS_PER_CLIP, *checkpoint.grid_size],
            fsq_levels=list(checkpoint.tokenizer.fsq_levels),
            spatial_compression=checkpoint.tokenizer.spatial_compression,
            history_clips=checkpoint.model.config.num_past_clips,
            num_starts=len(checkpoint.starts),
            has_readout=self.world.has_readout,
            is_calibrated=self.world.trust is not None,
            decoding=asdict(simulator.decoding),
            precision=simulator.precision,
            strict=simulator.strict or simulator.backend == "openvino",
            tasks=[task for task in tasks if self.world.has_readout or not task.needs_readout],
            most_rows=m.MOST_ROWS,
            most_clips=m.MOST_CLIPS,
            most_bytes=MOST_BYTES,
            most_sessions=self.sessions.most,
            session_expires_s=self.sessions.expires_s,
        )

    async def trust(self, call: Call) -> m.TrustAnswer:
        """See the endpoint."""
        if self.world.trust is None:
            raise InvalidInputError("the checkpoint is not calibrated; run `hwm-env calibrate` before it is served")
        tensors = {name: tensor.cpu().numpy() for name, tensor in self.world.trust.tensors().items()}
        return m.TrustAnswer(config=self.world.trust.to_config(), tensors=tensors)

    async def start(self, call: Call) -> m.StartAnswer:
        """See the endpoint."""
        if not call.name.isascii() or not call.name.isdigit() or len(call.name) > 9:
            raise InvalidInputError(f"a start is a whole number, got {call.name[:40]!r}")
        history = self.predictions.start(int(call.name))
        return m.StartAnswer(history=m.History(tokens=history.tokens, actions=history.actions, pose=history.pose))

    async def predict(self, call: Call) -> m.PredictAnswer:
        """See the endpoint."""
        request: m.PredictRequest = call.body
        chunks = [self.predictions.chunks_of(row.actions, fewest=0) for row in request.rows]
        self.predictions.check_amount(sum(map(len, chunks)) + len(chunks), request)
        rows = zip(request.rows, chunks, strict=True)
        predicted = await asyncio.gather(
            *(self._predict_row(row, part, request, call) for row, part in rows), return_exceptions=True
        )
        failed = {index: row for index, row in enumerate(predicted) if isinstance(row, BaseException)}
        broken = [index for index, error in failed.items() if isinstance(error, ModelOutputError)]
        for index, error in failed.items():
            if isinstance(error, InvalidInputError):
                raise InvalidInputError(f"row {index}: {error}") from error
            if index not in broken:
                raise error
        if broken:
            raise ModelOutputError(broken)
        return m.PredictAnswer(rows=[row for row in predicted if isinstance(row, m.PredictedRow)])

    async def decode(self, call: Call) -> m.DecodeAnswer:
        """See the endpoint."""
        request: m.DecodeRequest = call.body
        tokens = torch.from_numpy(check_tokens(request.tokens, self.world))
        self.predictions.check_amount(len(tokens), m.Wanted(frames=request.frames))
        tokenizer = self.world.simulator.tokenizer

        def frames_of(clip: torch.Tensor) -> m.Frames:
            # One by one, so that no frame depends on the others.
            on_device = clip[None].to(self.world.simulator.device)
            if request.frames == "all":
                return encoded_frames(tokenizer.decode(on_device)[0].cpu().numpy(), request.encoding)
            return encoded_frames(tokenizer.decode_last(on_device).cpu().numpy(), request.encoding)

        return m.DecodeAnswer(clips=[await self.batcher.compute(partial(frames_of, clip)) for clip in tokens])

    async def encode(self, call: Call) -> m.EncodeAnswer:
        """See the endpoint."""
        request: m.EncodeRequest = call.body
        size = self.world.checkpoint.image_size
        expected = (FRAMES_PER_CLIP, size, size, 3)
        clips = request.clips
        if clips.ndim != 5 or clips.shape[1:] != expected or not 1 <= len(clips) <= m.MOST_ROWS:
            raise InvalidInputError(f"clips must have shape [B, {', '.join(map(str, expected))}], got {clips.shape}")
        if clips.dtype.kind not in "iu" or clips.min() < 0 or clips.max() > 255:
            raise InvalidInputError(f"clips must be whole numbers in 0..255, got {clips.dtype}")
        frames = torch.from_numpy(clips.astype("uint8")).to(self.world.simulator.device)
        tokens = await self.batcher.compute(lambda: self.world.checkpoint.tokenizer.encode(frames).cpu().numpy())
        return m.EncodeAnswer(tokens=tokens)

    async def open(self, call: Call) -> m.OpenAnswer:
        """See the endpoint."""
        request: m.OpenRequest = call.body
        self.sessions.check_space()
        moment = await self.predictions.begin(request)
        shown = await self.predictions.show(moment, request)
        session = self.sessions.open(moment)
        return m.OpenAnswer(id=session.id, expires_s=self.sessions.expires_s, begin=shown)

    async def step(self, call: Call) -> m.StepAnswer:
        """See the endpoint."""
        request: m.StepRequest = call.body
        chunks = self.predictions.chunks_of(request.actions, fewest=1)
        self.predictions.check_amount(len(chunks), request)
        with self.sessions.advancing(call.name, request.after) as session:
            moment, clips = await self._advance(session.moment, chunks, request, request.out_of_range, call)
            session.moment = moment.alone()
            session.steps += len(clips)
        return m.StepAnswer(clips=clips)

    async def fork(self, call: Call) -> m.ForkAnswer:
        """See the endpoint."""
        request: m.ForkRequest = call.body
        with self.sessions.advancing(call.name, None) as session:
            self.sessions.check_space(len(request.seeds))
            copies = await self.batcher.compute(lambda: [reseeded(session.moment, seed) for seed in request.seeds])
            self.sessions.check_space(len(copies))
            return m.ForkAnswer(ids=[self.sessions.open(copy, session.steps).id for copy in copies])

    async def state(self, call: Call) -> m.StateAnswer:
        """See the endpoint."""
        moment = self.sessions.get(call.name).moment
        return m.StateAnswer(state=await self.batcher.compute(lambda: save_state(self.world, moment)))

    async def close(self, call: Call) -> m.ClosedAnswer:
        """See the endpoint."""
        self.sessions.close(call.name)
        return m.ClosedAnswer(closed=call.name)

    async def _predict_row(
        self, row: m.Row, chunks: Float32Array, request: m.PredictRequest, call: Call
    ) -> m.PredictedRow:
        moment = await self.predictions.begin(row)
        begin = await self.predictions.show(moment, request)
        _, clips = await self._advance(moment, chunks, request, request.out_of_range, call)
        return m.PredictedRow(begin=begin, clips=clips)

    async def _advance(
        self, moment: LearnedMoment, chunks: Float32Array, wanted: m.Wanted, out_of_range: m.OutOfRange, call: Call
    ) -> tuple[LearnedMoment, list[m.ClipMessage]]:
        clips = []
        for index, chunk in enumerate(chunks):
            if index and await call.is_gone():
                raise GoneError
            moment, clip = await self.predictions.advance(moment, chunk, wanted, out_of_range)
            clips.append(clip)
        return moment, clips
