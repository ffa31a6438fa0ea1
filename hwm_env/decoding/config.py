"""How a clip is decoded."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, NotNegative
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import LATENTS_PER_CLIP

Order = Literal["confidence", "random", "halton"]
HistoryMode = Literal["window", "streaming"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig(CheckedFields):
    """Settings of MaskGIT decoding."""

    steps: Count = 4
    """Forward passes a clip (K); each reveals a part of the tokens."""
    temperature: NotNegative = 0.5
    """Divides the logits before sampling; 0 takes the most probable token."""
    order: Order = "confidence"
    """Which tokens are revealed first: the most probable ones; random ones; or ones spread evenly over the clip by a
    Halton sequence. The last two are known beforehand, so the head is evaluated only where it reveals."""
    top_k: Count | None = None
    """Sample among the k most probable outcomes of each softmax; None: all."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Sample among the most probable outcomes of each softmax that together have this probability; 1: all."""
    history: HistoryMode = "window"
    """`window`: before each env step the past is encoded anew, each clip seeing those of the window before it.
    `streaming`: a clip is encoded once, when it is the newest, seeing the clips before it that were in the history
    then; so what it was encoded to can hold traces of clips that have left the history since."""

    def check_model(self, model: MaskedHWMConfig) -> None:
        """Checks that a model can be decoded so.

        Raises:
            InvalidInputError: naming the fields that exclude each other, and what to do.
        """
        if model.past_latents is not None:
            raise InvalidInputError(
                f"a model with past_latents {model.past_latents} completes one clip and cannot go on to the next; "
                "simulate with a model with past_latents=None"
            )
        num_tokens = LATENTS_PER_CLIP * model.num_positions
        if self.steps > num_tokens:
            raise InvalidInputError(
                f"decoding steps {self.steps} are more than the {num_tokens} tokens of a clip with grid_size "
                f"{model.grid_size}; choose steps of at most {num_tokens}"
            )
        if self.history == "streaming":
            for field, needed in (
                ("temporal_mask", "clip_causal"),
                ("temporal_positions", "time"),
                ("position_embedding", "grid"),
            ):
                if getattr(model, field) != needed:
                    raise InvalidInputError(
                        f"history 'streaming' keeps what a clip was encoded to, which {field} "
                        f"{getattr(model, field)!r} changes at every step; choose history='window', or a model with "
                        f"{field}={needed!r}"
                    )
