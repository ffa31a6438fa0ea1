"""The interface of engines: what computes a simulator's env step."""

from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from hwm_env.decoding.maskgit import Decoded
from hwm_env.model.history import EncodedHistory
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.world_state import WorldState

Backend = Literal["torch", "openvino"]
"""What computes an env step."""


class Prediction(NamedTuple):
    """What an engine predicts for a batch."""

    decoded: Decoded
    encoded: EncodedHistory | None
    """The encoded history after the clip, without the clip itself; `None` if none is kept."""
    belief: PoseBelief | None
    """Carried poses after the clip."""
    path: Tensor | None
    """Carried poses at the clip's frames, see `Clip`."""


class Engine(Protocol):
    """Predicts next clips with one checkpoint and one setting of decoding."""

    def rows_alone(self, state: WorldState) -> bool:
        """Returns whether each row of a state is computed alone, so that a batch gives the same results to the bit."""
        ...

    def encoded(self, state: WorldState) -> EncodedHistory | None:
        """Returns the encoded history that is kept for a state, also for another simulator's; `None` if none is."""
        ...

    def predicted(self, state: WorldState, chunk_BFA: Tensor) -> Prediction:
        """Predicts the next clip of each row from its next actions, float [B, 17, 25]."""
        ...
