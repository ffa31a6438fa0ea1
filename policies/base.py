"""What a policy is."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Policy(Protocol):
    """Turns observations into actions; the same object drives the learned and the reference world."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def reset(self, seed: int) -> None:
        """Begins an episode."""
        ...

    def act(self, observation: Any) -> npt.NDArray[np.float32]:
        """The action for the env's next step, of its action space."""
        ...
