"""The learned world judged by its pictures: read-outs come from predicted clips instead of the carried pose."""

from typing import Literal

import torch

from hwm_env.envs.learned import LearnedWorld, ReadOut
from hwm_env.errors import CheckpointError
from hwm_env.scene.localiser import localise
from hwm_env.scene.locate import NEARBY
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.tasks.base import WorldReadout


class PaintedWorld(LearnedWorld):
    """The learned world with read-outs of what its predicted clips show.

    The state at a start is recorded, as in the learned world; predicted clips are read from the first step on.

    Args:
        simulator: the model.
        source: "localiser" finds the pose at which the scene would paint the clip, near the carried pose; "network" is
            the checkpoint's read-out network.

    Raises:
        CheckpointError: the checkpoint has no scene, or no read-out network.
    """

    def __init__(self, simulator: WorldSimulator, source: Literal["localiser", "network"]) -> None:
        super().__init__(simulator)
        self._is_localised = source == "localiser"
        if self._is_localised and self.checkpoint.scene is None:
            raise CheckpointError("the checkpoint has no scene; add one with: hwm-env train-scene CHECKPOINT DATA")
        if not self._is_localised and self.checkpoint.readout is None:
            raise CheckpointError("the checkpoint has no read-out; add one with: hwm-env train-readout CHECKPOINT DATA")
        self.identity = f"{self.identity}, read by its {source}"

    def _read_out(self, states: WorldState, clip: Clip) -> list[ReadOut]:
        if self._is_localised:
            return self._localised(states, clip)
        return [(read, "network") for read in self._by_network(clip, range(len(states))).values()]

    def _localised(self, states: WorldState, clip: Clip) -> list[ReadOut]:
        """Returns read-outs at the poses that the clips show; where none is carried, those of the learned world."""
        read = super()._read_out(states, clip)
        scene, kinematics = self.checkpoint.scene, self._kinematics
        assert scene is not None, "checked in the beginning"
        if clip.path is None or kinematics is None:
            return read
        for row, (_, source) in enumerate(read):
            if source != "scene":
                continue
            one = slice(row, row + 1)
            chunk, end = states.actions[one, -1:], clip.path[one, -1:]
            found = localise(scene.model, scene.odometry, clip.tokens[one, None], chunk, end, NEARBY).poses
            (vector,) = kinematics(found.cpu().numpy(), chunk[:, 0, -1].cpu().numpy())
            if torch.isfinite(found).all():
                read[row] = WorldReadout.from_vector(vector), "localiser"
        return read
