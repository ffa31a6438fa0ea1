"""A learned world without pictures: the carried pose and the robot's kinematics alone, many times as fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
import torch

from hwm_env.envs.kinematics import Kinematics, kinematics_of
from hwm_env.envs.world import CheckpointWorld, NothingPainted
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.fields import short
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, WorldReadout
from hwm_env.torch_state import plain_torch
from hwm_env.types import Float32Array, Int32Array, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class PoseMoment(NothingPainted):
    """The WorldMoment of a PoseWorld. It has no frames, tokens and latents, and nothing that is computed from them."""

    believed: Float32Array
    """The carried pose, x (m), y (m), yaw (rad), [3]; NaN if it is unknown."""
    covariance: Float32Array
    """Covariances of these numbers, [3, 3]."""
    measured: Float32Array
    """The executed actions, [17, 25]."""
    readout: WorldReadout | None
    """The read-out at the last frame; `None` if the pose is unknown."""
    readout_source: ReadoutSource | None
    """Its source: `recording`, the recorded pose of a start; `scene`; `None` without a read-out."""
    predicted_steps: int
    """Number of clips since the last recorded one."""

    @property
    def frames(self) -> UInt8Array:
        """Raises InvalidInputError."""
        self._refuse("frames")

    @property
    def last_frame(self) -> UInt8Array:
        """Raises InvalidInputError."""
        self._refuse("frames")

    @property
    def tokens(self) -> Int32Array:
        """Raises InvalidInputError."""
        self._refuse("tokens")

    @property
    def latents(self) -> Float32Array:
        """Raises InvalidInputError."""
        self._refuse("latents")

    @property
    def pose(self) -> Float32Array | None:
        """The carried pose, x (m), y (m), yaw (rad), [3]; `None` if it is unknown."""
        return None if self.readout is None else self.believed.copy()

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of these numbers, [3]; `None` if the pose is unknown."""
        if self.readout is None:
            return None
        # NumPy's square roots differ from PyTorch's in the last bit.
        std: Float32Array = torch.from_numpy(self.covariance).diagonal().clamp(min=0).sqrt().numpy()
        return std

    def _refuse(self, what: str) -> NoReturn:
        raise InvalidInputError(
            f"a world without pictures has no {what}; leave out pictures=False, or use a LearnedWorld"
        )


class PoseWorld(CheckpointWorld):
    """The World of a checkpoint's scene alone: it moves the pose by the odometry, and paints nothing.

    Its poses and read-outs are those of `LearnedWorld` on the same checkpoint, as long as the pose is known. So it
    serves tasks whose rewards come from read-outs, for planners that try many actions.

    Args:
        simulator: the checkpoint's model, which locates histories without a pose.
        kinematics: kinematics of the robot; `None`: those of the checkpoint's robot.

    Raises:
        CheckpointError: the checkpoint has no scene, or the robot's kinematics are not known.
    """

    trust: Final = None
    is_exact: Final = False
    has_pictures: Final = False
    has_readout: Final = True

    def __init__(self, simulator: WorldSimulator, kinematics: Kinematics | None = None) -> None:
        super().__init__(simulator.checkpoint)
        scene, known = simulator.checkpoint.scene, kinematics or kinematics_of(simulator.checkpoint.robot)
        if scene is None:
            raise CheckpointError("the checkpoint has no scene; add one with: hwm-env train-scene CHECKPOINT DATA")
        if known is None:
            raise CheckpointError(f"the kinematics of {simulator.checkpoint.robot.name} are not known; give them")
        self.identity = f"poses of learned world {simulator.identity}"
        self._simulator, self._scene, self._kinematics = simulator, scene, known

    @plain_torch()
    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[PoseMoment]:
        """Returns each row's moment at the end of its recorded history; see World. Seeds have no effect."""
        return [self._end_of(history) for history in histories]

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside; see World."""
        if not isinstance(moment, PoseMoment):
            raise InvalidInputError(f"the state's moment must be one of a PoseWorld, got {short(moment)}")

    def reseeded(self, moment: PoseMoment, seed: int) -> PoseMoment:
        """Returns the moment itself: there is no noise."""
        return moment

    @plain_torch()
    def step(self, moments: Sequence[PoseMoment], chunks: Float32Array) -> list[PoseMoment]:
        """Advances each row by one clip; see World."""
        device = next(self._scene.parameters()).device
        poses, covariances = zip(*((moment.believed, moment.covariance) for moment in moments), strict=True)
        before = PoseBelief(*(torch.from_numpy(np.stack(parts)).to(device) for parts in (poses, covariances)))
        path = self._scene.path(before, torch.tensor(chunks, device=device))
        steps = [moment.predicted_steps + 1 for moment in moments]
        return self._moments(self._scene.carried(before, path), chunks, "scene", steps)

    def close(self) -> None:
        """Does nothing: there is nothing to free."""

    def _end_of(self, history: RecordedHistory) -> PoseMoment:
        if history.pose is not None:
            given = torch.tensor(history.pose[None], device=self._simulator.device)
            (moment,) = self._moments(self._scene.belief_in(given), history.actions[-1:], "recording", [0])
            return moment
        tokens, actions = torch.tensor(history.tokens[None]), torch.tensor(history.actions[None])
        expected = None if history.expected_pose is None else torch.tensor(history.expected_pose[None])
        found = self._simulator.begin(tokens, actions, [0], expected_poses=expected).belief
        assert found is not None, "a checkpoint with a scene carries poses"
        (moment,) = self._moments(found, history.actions[-1:], "scene", [0])
        return moment

    def _moments(
        self, belief: PoseBelief, chunks: Float32Array, source: ReadoutSource, steps: Sequence[int]
    ) -> list[PoseMoment]:
        poses, covariances = (part.cpu().numpy() for part in belief)
        vectors = self._kinematics(poses, chunks[:, -1])
        readouts = [
            WorldReadout.from_vector(vector) if known else None
            for vector, known in zip(vectors, belief.known.tolist(), strict=True)
        ]
        return [
            PoseMoment(pose, covariance, chunk, readout, None if readout is None else source, step)
            for pose, covariance, chunk, readout, step in zip(
                poses, covariances, chunks.astype(np.float32), readouts, steps, strict=True
            )
        ]
