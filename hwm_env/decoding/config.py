"""Settings of decoding."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero, NotNegative
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.types import LATENTS_PER_CLIP

Order = Literal["confidence", "random", "halton"]
HistoryMode = Literal["window", "streaming"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig(CheckedFields):
    """Settings of MaskGIT decoding."""

    steps: CountOrZero = 4
    """Decoding steps per clip (K), each a forward pass that reveals a part of the tokens. With 0, the scene alone
    predicts the clip where the pose is known, and the history has no influence; elsewhere there is one step."""
    temperature: NotNegative = 0.5
    """Divides the logits before sampling; 0 takes the most probable token."""
    order: Order = "confidence"
    """Which tokens are revealed first: the most probable ones, random ones, or tokens spread evenly over the clip by a
    Halton sequence. The last two orders do not depend on probabilities, so the head runs only on revealed tokens."""
    top_k: Count | None = None
    """Sample among the k most probable outcomes of each softmax; `None`: all."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Sample among the most probable outcomes of each softmax with this total probability; 1: all."""
    history: HistoryMode = "window"
    """`window`: the whole history is encoded before each env step; each clip sees the clips of the window before it.
    `streaming`: each clip is encoded once, when it is the newest, and sees the clips that are in the history then; its
    encoding can keep traces of clips that have left the history since."""

    def noise_shape(self, model: MaskedHWMConfig) -> tuple[int, int, int] | None:
        """Returns the shape of the uniform numbers that a row needs for a clip; `None` if it needs none."""
        if self.temperature == 0 and self.order != "random":
            return None
        return max(1, self.steps), LATENTS_PER_CLIP * model.num_positions, len(model.head_levels) + 1

    def check_model(self, model: MaskedHWMConfig) -> None:
        """Checks that a model supports these settings.

        Raises:
            InvalidInputError: a field is not possible with the model's configuration.
        """
        if model.past_latents is not None:
            raise InvalidInputError(
                f"a model with past_latents {model.past_latents} completes one clip and cannot predict the next; "
                "simulate with a model with past_latents=None"
            )
        num_tokens = LATENTS_PER_CLIP * model.num_positions
        if self.steps > num_tokens:
            raise InvalidInputError(
                f"decoding steps {self.steps} are more than the {num_tokens} tokens of a clip with grid_size "
                f"{model.grid_size}; choose at most {num_tokens} steps"
            )
        if self.history == "streaming":
            for field, needed in (
                ("temporal_mask", "clip_causal"),
                ("temporal_positions", "time"),
                ("position_embedding", "grid"),
            ):
                if getattr(model, field) != needed:
                    raise InvalidInputError(
                        f"history 'streaming' keeps encoded clips, which {field} {getattr(model, field)!r} changes at "
                        f"every step; choose history='window', or a model with {field}={needed!r}"
                    )
