"""How a clip is decoded."""

from dataclasses import dataclass
from typing import Literal

from hwm_env.errors import InvalidInputError

Order = Literal["confidence", "random"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """Settings of MaskGIT decoding."""

    steps: int = 4
    """Forward passes a clip (K); each reveals a part of the tokens."""
    temperature: float = 0.5
    """Divides the logits before sampling; 0 takes the most probable token."""
    order: Order = "confidence"
    """Which tokens are revealed first: the most probable ones, or random ones."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError with the field's name."""
        if self.steps < 1:
            raise InvalidInputError(f"decoding steps must be at least 1, got {self.steps}")
        if not 0 <= self.temperature < float("inf"):
            raise InvalidInputError(f"temperature must be a finite number of at least 0, got {self.temperature}")
        if self.order not in ("confidence", "random"):
            raise InvalidInputError(f"order must be 'confidence' or 'random', got {self.order!r}")
