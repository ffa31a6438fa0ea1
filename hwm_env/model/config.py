"""The one configuration of MaskedHWM; every preset is a `replace()` of another."""

import math
from dataclasses import dataclass, replace

from hwm_env.errors import InvalidInputError
from hwm_env.types import HISTORY_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedHWMConfig:
    """Shape of a MaskedHWM.

    The design options that this model stands for: joint temporal attention at every grid position
    (`patch`), the `clip_causal` mask, rotary positions by clip time, the three latents of a position
    summed into one vector (`stacked`), action chunks embedded in order (`chunk`) and injected through
    attention and adaptive layer norm (`adaln`), FSQ code vectors as token embedding (`code`) and one
    softmax per FSQ digit (`factored`).
    """

    num_layers: int = 6
    """Transformer blocks."""
    num_heads: int = 5
    """Attention heads; their width must be divisible by 4, since 2D rotary positions turn pairs on two axes."""
    width: int = 160
    """Channels of every stream (D)."""
    mlp_width: int = 640
    """Hidden channels of the MLPs."""
    shared_layers_start: int = 0
    """Layers below this index have weights of their own for past and for future; later ones share them."""
    grid_size: tuple[int, int] = (8, 8)
    """Rows and columns of the token grid (H, W)."""
    fsq_levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)
    """Levels of each FSQ digit of a token; their product is the codebook size (V)."""
    num_past_clips: int = HISTORY_CLIPS
    """Most past clips that the model looks at (T_p)."""
    rope_base: float = 100.0
    """Base of the rotary angles, in space and in time."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError with the field's name where the numbers do not fit together."""
        for field in ("num_layers", "num_heads", "width", "mlp_width", "num_past_clips"):
            if getattr(self, field) < 1:
                raise InvalidInputError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.width % self.num_heads or self.head_width % 4:
            raise InvalidInputError(
                f"width / num_heads must be a multiple of 4 for 2D rotary positions, got "
                f"{self.width} / {self.num_heads}; choose width = num_heads * 4 * n"
            )
        if not 0 <= self.shared_layers_start <= self.num_layers:
            raise InvalidInputError(
                f"shared_layers_start must lie in 0..num_layers ({self.num_layers}), got {self.shared_layers_start}"
            )
        if len(self.grid_size) != 2 or min(self.grid_size) < 1:
            raise InvalidInputError(f"grid_size must be (rows, columns), both at least 1, got {self.grid_size}")
        if not self.fsq_levels or min(self.fsq_levels) < 2:
            raise InvalidInputError(f"fsq_levels must be integers of at least 2, got {self.fsq_levels}")

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads

    @property
    def num_positions(self) -> int:
        """Grid positions of a clip (S)."""
        return self.grid_size[0] * self.grid_size[1]

    @property
    def codebook_size(self) -> int:
        """Tokens of a latent (V)."""
        return math.prod(self.fsq_levels)

    @property
    def mask_token(self) -> int:
        """The index that stands for "not known yet" in `v_f`: one past the last token."""
        return self.codebook_size


EMBEDDED = MaskedHWMConfig()
"""The model that ships with the package: trains on two CPU cores."""

TINY = replace(
    EMBEDDED,
    num_layers=2,
    num_heads=2,
    width=16,
    mlp_width=32,
    shared_layers_start=1,
    grid_size=(2, 3),
    fsq_levels=(4, 3),
)
"""For tests: shows every mechanism of the model and runs in milliseconds."""
