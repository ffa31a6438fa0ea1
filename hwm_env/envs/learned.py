"""The learned world: rows that are batched on WorldSimulator, and their read-outs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Final

import numpy as np
import torch
from pydantic import InstanceOf

from hwm_env.envs.kinematics import Kinematics, kinematics_of
from hwm_env.envs.world import CheckpointWorld, to_array
from hwm_env.errors import InvalidInputError, ModelOutputError
from hwm_env.fields import NotNegative, checked, real_numbers, short
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.simulator_input import check_encoded, check_history_tokens
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, WorldReadout
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.torch_state import plain_torch
from hwm_env.types import Float32Array, Int32Array, UInt8Array

ReadOut = tuple[WorldReadout | None, ReadoutSource | None]
"""A read-out and its source, if it is known."""


@dataclass(frozen=True)
class LearnedMoment:
    """The WorldMoment of a learned world: one row of a batch that was computed together."""

    states: WorldState
    """State of the batch."""
    clip: Clip
    """The newest clip of each row of the batch."""
    row: int
    """Index of the row in the batch."""
    readout: WorldReadout | None
    """The read-out at the last frame; `None` if unknown."""
    readout_source: ReadoutSource | None
    """Source of the read-out: `scene`, the carried pose and the robot's kinematics; `network`, a small network on the
    clip's tokens; `recording`, the recorded pose of a start; `None` without a read-out."""
    path_entropy: float
    """Mean entropy of the tokens of all clips since the last recorded one, in nats; 0 for a recorded clip."""
    painted_offset: float
    """Distance of the painted pose from the carried one (m); 0 for a recorded clip, and if the checkpoint's calibration
    does not need it."""

    @property
    def state(self) -> WorldState:
        """State of this row alone, for WorldSimulator."""
        return self.states.select([self.row])

    def alone(self) -> "LearnedMoment":
        """Returns the same moment without the memory of the other rows of its batch."""
        if len(self.states) == 1:
            return self
        return replace(self, states=self.state, clip=self.clip.select([self.row]), row=0)

    @cached_property
    def frames(self) -> UInt8Array:
        """All frames, uint8 [17, S, S, 3], read-only; decoded on first access."""
        frames: UInt8Array = self.clip.frames_of(self.row).numpy()
        frames.setflags(write=False)
        return frames

    @cached_property
    def last_frame(self) -> UInt8Array:
        """The last frame, uint8 [S, S, 3], read-only; decoded on first access."""
        frame: UInt8Array = self.clip.last_frame_of(self.row).numpy()
        frame.setflags(write=False)
        return frame

    @property
    def tokens(self) -> Int32Array:
        """The clip's tokens, int32 [3, h, w]."""
        return to_array(self._tokens)

    @property
    def latents(self) -> Float32Array:
        """Values of the tokens' digits in [-1, 1], float32 [3, h, w, digits]."""
        return latents_of(self._tokens, self.clip.tokenizer.fsq_levels)

    @property
    def measured(self) -> Float32Array:
        """The executed actions, [17, 25]: the learned world is kinematic in them."""
        return to_array(self.states.newest_actions[self.row])

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 for a recorded clip."""
        return float(self.clip.on_cpu.log_prob[self.row].mean())

    @property
    def entropy(self) -> float:
        """Mean entropy of the distributions of the clip's tokens in nats a token; 0 for a recorded clip."""
        return float(self.clip.on_cpu.entropy[self.row].mean())

    @property
    def pose(self) -> Float32Array | None:
        """The carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        belief = self._belief
        return None if belief is None else to_array(belief.poses[self.row])

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of the carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        belief = self._belief
        return None if belief is None else to_array(belief.covariances[self.row].diagonal().clamp(min=0).sqrt())

    @property
    def predicted_steps(self) -> int:
        """Number of clips since the last recorded one."""
        return self.states.step_indices[self.row]

    @property
    def _belief(self) -> PoseBelief | None:
        """The beliefs of the batch; `None` if this row's pose is not known."""
        belief = self.states.belief_on_cpu
        return belief if belief is not None and belief.known[self.row] else None

    @property
    def _tokens(self) -> torch.Tensor:
        return self.clip.on_cpu.tokens[self.row]


class LearnedWorld(CheckpointWorld):
    """The World of a trained model.

    Args:
        simulator: the model as batched dynamics.
        kinematics: kinematics of the robot, for read-outs where the pose is known; `None`: those of the checkpoint's
            robot. Where these are not known either, there are no read-outs.
        frames_together: decode the frames of all rows when those of one are asked for: faster for whoever looks at all.
    """

    is_exact: Final = False
    has_pictures: Final = True

    def __init__(
        self, simulator: WorldSimulator, kinematics: Kinematics | None = None, *, frames_together: bool = False
    ) -> None:
        super().__init__(simulator.checkpoint)
        self._frames_together = frames_together
        self.simulator = simulator
        self.identity = f"learned world {simulator.identity}"
        self.trust = self.checkpoint.trust
        self._kinematics = kinematics or kinematics_of(self.checkpoint.robot)
        has_source = self.checkpoint.scene is not None or self.checkpoint.readout is not None
        self.has_readout = self._kinematics is not None and has_source

    @plain_torch()
    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[LearnedMoment]:
        """Returns each row's moment at the end of its recorded history; see World."""
        begun: dict[int, LearnedMoment] = {}
        # Rows whose histories have different lengths, or lack poses, are batched separately.
        kinds = [
            (history.tokens.shape, history.actions.shape, history.pose is None, history.expected_pose is None)
            for history in histories
        ]
        for kind in sorted(set(kinds)):
            rows = [row for row, kind_of_row in enumerate(kinds) if kind_of_row == kind]
            begun |= zip(rows, self._begun([histories[row] for row in rows], [seeds[row] for row in rows]), strict=True)
        return [begun[row] for row in range(len(histories))]

    @plain_torch()
    def resumed(self, state: WorldState, path_entropy: float) -> LearnedMoment:
        """Returns the moment of a state that was saved apart from its clip, as if its newest clip were recorded.

        Args:
            state: state of one row.
            path_entropy: mean entropy of the tokens of all clips since the last recorded one, nats.

        Raises:
            InvalidInputError: the state belongs to another model, or was tampered with.
        """
        checked("the state's path_entropy", path_entropy, NotNegative)
        state.check(self.checkpoint.model.config, self.checkpoint.tokenizer.codebook_size)
        clip = self._recorded_clip(state)
        return LearnedMoment(state, clip, 0, *self._read_out(state, clip)[0], path_entropy, 0.0)

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside; see World."""
        if not isinstance(moment, LearnedMoment) or not isinstance(moment.states, WorldState):
            raise InvalidInputError(f"the state's moment must be one of a learned world, got {short(moment)}")
        checked("the state's readout", moment.readout, InstanceOf[WorldReadout] | None)
        checked("the state's path_entropy", moment.path_entropy, float)
        config, num_codes = self.checkpoint.model.config, self.checkpoint.tokenizer.codebook_size
        try:
            state = replace(moment.states, encoded=None).select([moment.row])
            clip = moment.clip.select([moment.row])
            read = {} if moment.readout is None else moment.readout.to_dict()
        except (TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise InvalidInputError(f"the state's moment is damaged: {error}") from error
        state.check(config, num_codes)
        for name, place in read.items():
            numbers = real_numbers(f"the state's {name}", place, "3 finite numbers")
            if numbers.shape != (3,) or not np.isfinite(numbers).all():
                raise InvalidInputError(f"the state's {name} must be 3 finite numbers, got {short(numbers)}")
        check_history_tokens(clip.tokens[:, None], config, num_codes)
        if moment.states.encoded is not None:
            check_encoded(moment.states.encoded, config, (len(moment.states), state.tokens.shape[1]))

    def reseeded(self, moment: LearnedMoment, seed: int) -> LearnedMoment:
        """Returns the same moment with other future noise."""
        # Without its encoded history, so that only tokens and actions of the window determine the future.
        alone = moment.alone()
        return replace(alone, states=replace(alone.states, seeds=(seed,), encoded=None))

    @plain_torch()
    def step(self, moments: Sequence[LearnedMoment], chunks: Float32Array) -> list[LearnedMoment]:
        """Predicts one clip in each row; see World."""
        after: dict[int, LearnedMoment] = {}
        # Rows whose histories have different lengths, or are not encoded yet, are batched separately.
        kinds = [(moment.states.tokens.shape[1], moment.states.encoded is None) for moment in moments]
        for kind in sorted(set(kinds)):
            rows = [row for row, kind_of_row in enumerate(kinds) if kind_of_row == kind]
            try:
                states, clip = self.simulator.step(
                    self._joined([moments[row] for row in rows]), torch.from_numpy(chunks[rows])
                )
                clip = replace(clip, together=self._frames_together)
                readouts = self._read_out(states, clip)
            except ModelOutputError as error:
                raise error.among(rows) from error
            entropies, offsets = clip.on_cpu.mean_entropy.tolist(), [0.0] * len(rows)
            if self.trust is not None and self.trust.calibration.needs_painted_offset:
                offsets = self.simulator.painted_offset(states, clip).tolist()
            for place, (row, read) in enumerate(zip(rows, readouts, strict=True)):
                steps = states.step_indices[place]
                path_entropy = (moments[row].path_entropy * (steps - 1) + entropies[place]) / steps
                after[row] = LearnedMoment(states, clip, place, *read, path_entropy, offsets[place])
        return [after[row] for row in range(len(moments))]

    def close(self) -> None:
        """Does nothing: there is nothing to free."""

    def _begun(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[LearnedMoment]:
        """Returns moments at the ends of histories of equal lengths; all or none have a pose, or an expected one."""
        poses = [history.pose for history in histories if history.pose is not None]
        expected = [history.expected_pose for history in histories if history.expected_pose is not None]
        actions = np.stack([history.actions for history in histories])
        state = self.simulator.begin(
            torch.from_numpy(np.stack([history.tokens for history in histories])),
            torch.from_numpy(actions),
            seeds,
            poses=torch.from_numpy(np.stack(poses)) if poses else None,
            expected_poses=torch.from_numpy(np.stack(expected)) if expected else None,
        )
        clip = self._recorded_clip(state)
        read: list[ReadOut]
        if poses and self.has_readout and self._kinematics is not None:
            vectors = self._kinematics(np.stack(poses), actions[:, -1, -1])
            read = [(WorldReadout.from_vector(vector), "recording") for vector in vectors]
        else:
            read = self._read_out(state, clip)
        return [LearnedMoment(state, clip, row, *of_row, 0.0, 0.0) for row, of_row in enumerate(read)]

    def _recorded_clip(self, state: WorldState) -> Clip:
        """Returns the newest clip of a state, with full confidence."""
        tokens = state.tokens[:, -1].clone()
        log_prob, entropy = (torch.zeros(tokens.shape, device=tokens.device) for _ in range(2))
        return Clip(
            tokens,
            log_prob,
            entropy,
            self.simulator.tokenizer,
            alone=self.simulator.strict,
            together=self._frames_together,
        )

    def _joined(self, moments: Sequence[LearnedMoment]) -> WorldState:
        """Joins the rows of moments to one batch.

        Rows that are still together in the batch in which they were computed are not copied, and neither is a single
        moment from which many rows continue.
        """
        parts = []
        for _, run in groupby(moments, key=lambda moment: id(moment.states)):
            together = list(run)
            states, rows = together[0].states, [moment.row for moment in together]
            if rows == list(range(len(states))):
                parts.append(states)
            elif rows == rows[:1] * len(rows):
                parts.append(self.simulator.fork(states.select(rows[:1]), len(rows)))
            else:
                parts.append(states.select(rows))
        return parts[0] if len(parts) == 1 else WorldState.join(parts)

    def _read_out(self, states: WorldState, clip: Clip) -> list[ReadOut]:
        """Returns each row's read-out and its source: the scene for rows with a known pose, else the network."""
        read = self._by_pose(states)
        unknown = [row for row, (known, _) in enumerate(read) if known is None]
        if self.has_readout and self.checkpoint.readout is not None:
            for row, vector in self._by_network(clip, unknown).items():
                read[row] = vector, "network"
        return read

    def _by_pose(self, states: WorldState) -> list[ReadOut]:
        """Returns the read-outs of rows whose pose is known."""
        belief = states.belief_on_cpu
        if self._kinematics is None or belief is None:
            return [(None, None)] * len(states)
        vectors = self._kinematics(belief.poses.numpy(), states.newest_actions[:, -1].numpy())
        return [
            (WorldReadout.from_vector(vector), "scene") if known else (None, None)
            for vector, known in zip(vectors, belief.known.tolist(), strict=True)
        ]

    def _by_network(self, clip: Clip, rows: Sequence[int]) -> dict[int, WorldReadout]:
        """Returns the read-outs of some rows by the network on their tokens.

        Raises:
            ModelOutputError: an output is not finite; names the row.
        """
        readout = self.checkpoint.readout
        assert readout is not None, "there is a network"
        read = {}
        # One by one on the CPU and if strict, so that a row's numbers cannot depend on the others.
        at_once = 1 if self.simulator.strict or clip.tokens.device.type == "cpu" else max(len(rows), 1)
        for first in range(0, len(rows), at_once):
            part = list(rows[first : first + at_once])
            for row, vector in zip(part, readout.read(clip.tokens[part]).cpu().numpy(), strict=True):
                if not np.isfinite(vector).all():
                    raise ModelOutputError([row])
                read[row] = WorldReadout.from_vector(vector)
        return read
