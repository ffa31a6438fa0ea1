"""Requests and answers of a world-model service. Its OpenAPI document is made from these models."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwm_env.fields import WorldSeed
from hwm_env.remote.arrays import Numbers, Packed
from hwm_env.tasks.base import ReadoutSource

MOST_ROWS = 64
"""Rows of one request."""
MOST_CLIPS = 256
"""Clips of one request, of all rows together."""

ShownFrames = Literal["none", "last", "all"]
"""Which of a clip's 17 frames an answer holds."""
Encoding = Literal["png", "jpeg", "raw"]
"""How it holds them: PNG and raw bytes are exact."""
OutOfRange = Literal["clip", "refuse"]


class Message(BaseModel):
    """Base of all messages: unknown fields and values of another type are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )


class History(Message):
    """Recorded clips after which a row begins."""

    tokens: Numbers
    """Whole numbers [T, 3, h, w], 1 to 9 clips."""
    actions: Numbers
    """Their actions in physical units, [T, 17, 25]."""
    pose: Numbers | None = None
    """Base x (m), y (m) and yaw (rad) at the last frame, [3], if known."""


class Origin(Message):
    """Where a row begins: exactly one of `start`, `history` and `state`."""

    start: Annotated[int, Ge(0)] | None = None
    """Index of a recorded start of the checkpoint."""
    history: History | None = None
    """A history of your own."""
    state: str | None = None
    """A saved state, as an answer held it."""
    seed: WorldSeed | None = None
    """Seed of the row's noise; by default 0, or that of the saved state."""

    @model_validator(mode="after")
    def check_origin(self) -> Self:
        """Raises ValueError unless exactly one origin is given."""
        given = [name for name in ("start", "history", "state") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of start, history and state, got {given or 'none'}")
        return self


class Wanted(Message):
    """What an answer holds of each clip beside its numbers."""

    frames: ShownFrames = "none"
    """Which frames."""
    encoding: Encoding = "png"
    """How they are encoded."""
    states: bool = False
    """Whether saved states, from which later requests can continue."""


class Row(Origin):
    """One row of a prediction."""

    actions: Numbers
    """Action chunks in physical units, [17, 25] or [T, 17, 25]; T may be 0."""


class PredictRequest(Wanted):
    """A batch of rows to predict; nothing is kept."""

    rows: Annotated[list[Row], Len(1, MOST_ROWS)]
    """The rows."""
    out_of_range: OutOfRange = "clip"
    """Treatment of actions beyond those of the training data."""


class OpenRequest(Wanted, Origin):
    """Opens a session, which keeps one row between requests."""


class StepRequest(Wanted):
    """Advances a session."""

    actions: Numbers
    """Action chunks in physical units, [17, 25] or [T, 17, 25], T at least 1."""
    out_of_range: OutOfRange = "clip"
    """Treatment of actions beyond those of the training data."""
    after: Annotated[int, Ge(0)] | None = None
    """Clips that the session must have predicted so far; otherwise the answer is 409 and nothing has changed."""


class ForkRequest(Message):
    """Copies a session."""

    seeds: Annotated[list[WorldSeed | None], Len(1, MOST_ROWS)]
    """Seed of each copy's future noise; null keeps the session's."""


class DecodeRequest(Message):
    """Decodes clips of tokens to frames."""

    tokens: Numbers
    """Whole numbers [B, 3, h, w]."""
    frames: Literal["last", "all"] = "all"
    """Which frames."""
    encoding: Encoding = "png"
    """How they are encoded."""


class EncodeRequest(Message):
    """Encodes clips of frames to tokens."""

    clips: Numbers
    """uint8 [B, 17, S, S, 3]."""


class Frames(Message):
    """Frames of a clip."""

    encoding: Encoding
    """How each is encoded."""
    shape: list[int]
    """[N, S, S, 3]."""
    data: list[str]
    """In base64: a picture for each frame; of `raw`, all bytes in one text."""


class Readout(Message):
    """Where the robot and its parts are, in metres in the frame of the room."""

    base_pose: Numbers
    """x (m), y (m) and yaw (rad), [3]."""
    head_m: Numbers
    """Head camera, [3]."""
    gaze: Numbers
    """Viewing direction, a unit vector, [3]."""
    left_hand_m: Numbers
    """Left hand, [3]."""
    right_hand_m: Numbers
    """Right hand, [3]."""


class MomentMessage(Message):
    """What is known of a row after a clip."""

    step: int
    """Clips predicted since the recorded history."""
    tokens: Numbers
    """The clip's tokens, [3, h, w]."""
    confidence: float
    """Mean log-probability of the tokens, nats a token; 0 for a recorded clip."""
    entropy: float
    """Mean entropy of their distributions, nats a token."""
    path_entropy: float
    """Mean entropy of all clips since the recorded history."""
    painted_offset: float
    """Distance of the painted pose from the carried one (m); 0 if the calibration does not need it."""
    readout: Readout | None
    """The read-out; null if unknown."""
    readout_source: ReadoutSource | None
    """Its source."""
    pose: Numbers | None
    """The carried pose, [3]; null without a scene or with an unknown pose."""
    pose_std: Numbers | None
    """Standard deviations of its three numbers."""
    frames: Frames | None
    """Frames, if they were wanted."""
    state: str | None
    """The saved state, if it was wanted."""


class ClipMessage(MomentMessage):
    """A predicted clip."""

    action_clipped: bool
    """Whether the chunk was beyond the bounds."""
    action_ood: float
    """Share (0 to 1) of its numbers that were."""
    drift: float | None
    """Deviation of the tokens from the data's statistics; null without calibration."""
    error_probability: float | None
    """Probability that the clip's error is above the calibration's bound; null without calibration."""


class PredictedRow(Message):
    """The prediction of one row."""

    begin: MomentMessage
    """The moment at the end of the history."""
    clips: list[ClipMessage]
    """A clip for each chunk."""


class PredictAnswer(Message):
    """The prediction of a batch."""

    rows: list[PredictedRow]
    """In the order of the request."""


class OpenAnswer(Message):
    """A new session."""

    id: str
    """Its name in later requests."""
    expires_s: float
    """Seconds without a request after which it is closed."""
    begin: MomentMessage
    """The moment at which it begins."""


class StepAnswer(Message):
    """The clips of a step."""

    clips: list[ClipMessage]
    """A clip for each chunk."""


class ForkAnswer(Message):
    """Copies of a session."""

    ids: list[str]
    """A session for each seed."""


class StateAnswer(Message):
    """The saved state of a session."""

    state: str
    """From which later requests can continue."""


class ClosedAnswer(Message):
    """A session was closed."""

    closed: str
    """Its name."""


class DecodeAnswer(Message):
    """Decoded frames."""

    clips: list[Frames]
    """Of each clip."""


class EncodeAnswer(Message):
    """Encoded clips."""

    tokens: Numbers
    """Whole numbers [B, 3, h, w]."""


class StartAnswer(Message):
    """A recorded start of the checkpoint."""

    history: History
    """The history at whose end rows begin."""


class Health(Message):
    """The service answers."""

    status: Literal["ok"]
    """Always."""
    model: str
    """Identity of the checkpoint's weights."""
    version: str
    """Version of hwm_env."""


class Task(Message):
    """A task that environments of this service can have."""

    name: str
    """Its name."""
    needs_readout: bool
    """Whether it uses the read-out."""


class Capabilities(Message):
    """What the service predicts, and its limits."""

    model: str
    """Identity of the checkpoint's weights."""
    tokenizer: str
    """What its tokens mean: equal for services whose tokens can be exchanged."""
    action_names: list[str]
    """Names of the J numbers of an action, the robot's joints (of EVE: 25)."""
    action_low: Numbers
    """Lowest value of each number, physical units, [J]; lower ones are clipped or refused."""
    action_high: Numbers
    """Highest value."""
    robot: dict[str, object]
    """The robot, see `hwm_env.robot.Robot.read`."""
    action_statistics: dict[str, list[float]]
    """All statistics of the training data's actions."""
    frames_per_clip: int
    """Frames, and actions, of a clip."""
    frame_rate_hz: float
    """Frames a second."""
    image_size: int
    """Height and width of a frame in pixels."""
    token_shape: list[int]
    """Shape of a clip's tokens, [3, h, w]."""
    fsq_levels: list[int]
    """Levels of each digit of a token."""
    spatial_compression: int
    """Pixels for each token in both directions."""
    history_clips: int
    """Most clips of a history."""
    num_starts: int
    """Number of recorded starts."""
    has_readout: bool
    """Whether moments have a read-out."""
    is_calibrated: bool
    """Whether clips have an error probability."""
    decoding: dict[str, int | float | str | None]
    """Settings of decoding."""
    precision: str
    """Number type of the matrix products."""
    strict: bool
    """Whether a row equals the same row alone to the bit, whatever else is computed at the time."""
    tasks: list[Task]
    """Tasks by name."""
    most_rows: int
    """Rows of one request."""
    most_clips: int
    """Clips of one request."""
    most_bytes: int
    """Bytes of one request."""
    most_sessions: int
    """Open sessions."""
    session_expires_s: float
    """Seconds without a request after which a session is closed."""


class TrustAnswer(Message):
    """What estimates how far to believe a clip."""

    config: dict[str, object]
    """Calibration; see `hwm_env.trust.Trust.to_config`."""
    tensors: dict[str, Packed]
    """Token statistics."""


class ErrorAnswer(Message):
    """Why a request was refused or failed."""

    error: str
    """The reason, with the remedy."""
    rows: Annotated[list[int], Field(default_factory=list)]
    """Rows whose prediction is not finite."""


Port = Annotated[int, Ge(0), Le(65_535)]
"""A port to listen at; 0 takes a free one."""
