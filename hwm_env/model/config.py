"""The configuration of `MaskedHWM`; presets.py lists the sizes in use."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Depth, FSQLevels, Side, Width
from hwm_env.types import HISTORY_CLIPS, LATENTS_PER_CLIP

MAX_FUTURE_CLIPS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedHWMConfig(CheckedFields):
    """Shape and design options of a `MaskedHWM`.

    Defaults never change: they apply to every field that a checkpoint's config.json leaves out.
    """

    num_layers: Annotated[Depth, Ge(1)] = 6
    """Transformer blocks."""
    num_heads: Width = 5
    """Attention heads; their width must be divisible by 4, since 2D rotary positions rotate pairs on two axes."""
    width: Width = 160
    """Channels of every stream (D)."""
    mlp_width: Width = 640
    """Hidden channels of the MLPs."""
    grid_size: tuple[Side, Side] = (8, 8)
    """Rows and columns of the token grid (H, W)."""
    fsq_levels: FSQLevels = (8, 8, 8, 5, 5, 5)
    """Levels of each FSQ digit of a token; their product is the codebook size (V). Tables and joint heads use only the
    token's index: for them, one digit of V levels is enough."""
    num_past_clips: Annotated[int, Ge(1), Le(HISTORY_CLIPS)] = HISTORY_CLIPS
    """Most past clips that the model sees (T_p), 1..9."""
    num_future_clips: Annotated[int, Ge(1), Le(MAX_FUTURE_CLIPS)] = MAX_FUTURE_CLIPS
    """Most future clips that it predicts in one pass (T_f), 1..8."""
    past_latents: Literal[1, 2] | None = None
    """`None`: past and future are whole clips. 1 or 2: both lie in one clip, whose first latents are the past and whose
    other latents are the future (2 in arXiv 2506.01182)."""
    shared_layers_start: Depth = 0
    """Layers below this index have separate weights for past and future; later layers share them."""
    share_mlps: bool = True
    """Whether layers that share weights also share the MLPs of the four streams, or only spatial attention and its
    MLP."""
    rope_base: Annotated[float, Gt(1)] | None = 100.0
    """Base of the rotary angles, in space and in time; `None`: no rotary positions."""
    qkv_bias: bool = False
    """Whether the queries, keys and values of attention have biases."""
    temporal_scope: Literal["patch", "pooled"] = "patch"
    """`patch`: joint temporal attention at every grid position, with the actions' updates averaged over positions.
    `pooled`: joint temporal attention once, on video averaged over the grid; every position gets the same update."""
    temporal_mask: Literal["clip_causal", "bidirectional"] = "clip_causal"
    """`clip_causal`: a clip's video and actions see all streams of earlier clips and of their own clip.
    `bidirectional`: everything sees everything."""
    temporal_positions: Literal["time", "concat"] = "time"
    """`time`: rotary positions by time, which video and actions of the same moment share. `concat`: by index in the
    concatenation [v_p, v_f, a_p, a_f]."""
    position_embedding: Literal["grid", "window"] = "grid"
    """`grid`: a learned vector per grid position. `window`: one per grid position and place in the window of past and
    future clips, and one for the actions of each place."""
    stream_type_embedding: bool = True
    """Whether each stream adds a learned vector, so that streams at the same time differ."""
    temporal_stream_embedding: bool = False
    """Whether each stream and layer adds a learned vector, initially zero, to the input of temporal attention."""
    latent_layout: Literal["stacked", "sequential"] = "stacked"
    """`stacked`: a position's 3 latents are summed into one vector, with an output head each. `sequential`: they are 3
    places in time."""
    action_pooling: Literal["mean", "chunk"] = "chunk"
    """`mean`: the actions of a place are embedded frame by frame and averaged. `chunk`: they are embedded in order, as
    one vector. A place's actions are those of a clip (stacked), or of a latent's 1, 8 or 8 frames (sequential)."""
    action_injection: Literal["attention", "adaln"] = "adaln"
    """`attention`: actions act only through joint temporal attention. `adaln`: they are also added to the video of the
    same moment and scale and shift every norm on its way (adaptive layer norm), initially with no effect."""
    token_embedding: Literal["table", "code"] = "code"
    """`table`: one table per latent. `code`: a projection of the FSQ digits' values and a flag for "masked"."""
    codebook_head: Literal["joint", "factored"] = "factored"
    """`joint`: one softmax over the codebook. `factored`: one per digit, independent given the network's features."""
    spatial_mlp: bool = False
    """Whether video passes an MLP after spatial attention."""
    spatial_lookback: bool = False
    """Whether spatial attention also sees the grid of the previous place in time, and so finds what a turn of the
    camera moved across the picture."""
    scene_width: Annotated[int, Ge(0), Le(2**16)] = 0
    """Scene inputs per grid position of a clip, see `Scene.inputs`; 0: the model reads none."""

    def check_together(self) -> None:
        """Raises InvalidInputError if fields do not fit together, with their names and a remedy."""
        if self.width % self.num_heads or self.head_width % 4:
            raise InvalidInputError(
                f"width / num_heads must be a multiple of 4 for 2D rotary positions, got width {self.width} and "
                f"num_heads {self.num_heads}; choose width = num_heads * 4 * n"
            )
        if self.shared_layers_start > self.num_layers:
            raise InvalidInputError(
                f"shared_layers_start must lie in 0..num_layers ({self.num_layers}), got {self.shared_layers_start}"
            )
        if self.past_latents is not None:
            self._check_past_latents(self.past_latents)

    def _check_past_latents(self, past_latents: int) -> None:
        if self.latent_layout != "sequential":
            raise InvalidInputError(
                f"past_latents {past_latents} splits a clip in time, but latent_layout {self.latent_layout!r} has no "
                "time within a clip; choose latent_layout='sequential' or past_latents=None"
            )
        if self.num_past_clips != 1 or self.num_future_clips != 1:
            raise InvalidInputError(
                f"past_latents {past_latents} puts past and future into one clip, got num_past_clips "
                f"{self.num_past_clips} and num_future_clips {self.num_future_clips}; set both to 1"
            )
        if self.scene_width:
            raise InvalidInputError(
                f"past_latents {past_latents} splits a clip, but scene inputs describe whole clips, got scene_width "
                f"{self.scene_width}; set one of the two to its default"
            )

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
        """The index that stands for "unknown" in `v_f`: one past the last token."""
        return self.codebook_size

    @property
    def head_levels(self) -> tuple[int, ...]:
        """Number of outcomes of each softmax that predicts a token."""
        return self.fsq_levels if self.codebook_head == "factored" else (self.codebook_size,)

    @property
    def steps_per_clip(self) -> int:
        """Number of places in time per clip in temporal attention."""
        return LATENTS_PER_CLIP if self.latent_layout == "sequential" else 1

    @property
    def future_latents(self) -> int:
        """Latents of a predicted clip (L)."""
        return LATENTS_PER_CLIP - (self.past_latents or 0)
