"""The learned world as an environment sees it: worlds that are batched on WorldSimulator, and the read-out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from pydantic import InstanceOf

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import InvalidInputError, ModelOutputError
from hwm_env.fields import checked, real_numbers, short
from hwm_env.reference.body import quantities
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.simulator_input import check_encoded, check_history_tokens
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, WorldReadout
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.torch_state import plain_torch
from hwm_env.trust import Trust
from hwm_env.types import Float32Array, Int32Array, UInt8Array


@dataclass(frozen=True)
class LearnedMoment:
    """A Moment of a learned world: one row of a batch that was computed at once."""

    states: WorldState
    """The batch."""
    clip: Clip
    """The newest clip of each world of the batch."""
    row: int
    readout: WorldReadout | None
    """What `readout_source` says."""
    readout_source: ReadoutSource | None
    """Where the readout comes from: `scene` is the carried pose and the robot's kinematics, `network` what a small
    network reads in the clip's tokens, `recording` what was recorded with a start; `None` without a readout."""
    path_entropy: float
    """Mean entropy of the tokens of all clips since the last recorded one, in nats; 0 for a recorded clip."""
    painted_offset: float
    """How far the clip seems to be painted from another pose than the carried one (m); 0 for a recorded clip, and where
    the checkpoint's calibration does not ask for it."""

    @property
    def state(self) -> WorldState:
        """This world alone, for WorldSimulator."""
        return self.states.select([self.row])

    @cached_property
    def frames(self) -> UInt8Array:
        """Decoded when first asked for, [17, S, S, 3]; not to be written to."""
        frames: UInt8Array = self.clip.tokenizer.decode(self._tokens)[0].cpu().numpy()
        frames.setflags(write=False)
        return frames

    @cached_property
    def last_frame(self) -> UInt8Array:
        """Decoded when first asked for, [S, S, 3]; not to be written to."""
        frame: UInt8Array = self.clip.tokenizer.decode_last(self._tokens)[0].cpu().numpy()
        frame.setflags(write=False)
        return frame

    @property
    def tokens(self) -> Int32Array:
        """int32 [3, h, w]."""
        return _copied(self._tokens[0])

    @property
    def latents(self) -> Float32Array:
        """float32 [3, h, w, digits], in [-1, 1]."""
        return latents_of(self._tokens[0], self.clip.tokenizer.fsq_levels)

    @property
    def measured(self) -> Float32Array:
        """The executed actions, [17, 25]: the learned world is kinematic in them."""
        return _copied(self.states.actions[self.row, -1])

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 for a recorded clip."""
        return float(self.clip.log_prob[self.row].mean())

    @property
    def entropy(self) -> float:
        """Mean entropy of what the clip's tokens were chosen from in nats a token; 0 for a recorded clip."""
        return float(self.clip.entropy[self.row].mean())

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of the carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        belief = self.states.belief
        if belief is None or not belief.known[self.row]:
            return None
        return _copied(belief.covariances[self.row].diagonal().clamp(min=0).sqrt())

    @property
    def predicted_steps(self) -> int:
        """Clips since the last recorded one."""
        return self.states.step_indices[self.row]

    @property
    def _tokens(self) -> torch.Tensor:
        return self.clip.tokens[self.row : self.row + 1]


class LearnedWorld:
    """A World that a trained model dreams."""

    def __init__(self, simulator: WorldSimulator) -> None:
        self.simulator = simulator
        self._checkpoint = simulator.checkpoint
        self._identity = f"learned world {simulator.identity}"

    @property
    def identity(self) -> str:
        """Names the model's weights."""
        return self._identity

    @property
    def statistics(self) -> ActionStatistics:
        """Of the training data's actions."""
        return self._checkpoint.statistics

    @property
    def trust(self) -> Trust | None:
        """What the checkpoint's calibration says."""
        return self._checkpoint.trust

    @property
    def is_exact(self) -> bool:
        """A dream is not the truth."""
        return False

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame in pixels."""
        return self._checkpoint.image_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the token grid."""
        return self._checkpoint.model.config.grid_size

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The checkpoint's."""
        return self._checkpoint.tokenizer

    @property
    def num_starts(self) -> int:
        """Starts of the checkpoint."""
        return len(self._checkpoint.starts)

    @property
    def has_readout(self) -> bool:
        """Whether the checkpoint has a scene or a read-out."""
        return self._checkpoint.scene is not None or self._checkpoint.readout is not None

    def start(self, index: int) -> RecordedHistory:
        """A start of the checkpoint."""
        return recorded_start(self._checkpoint, index)

    @plain_torch()
    def begin(self, history: RecordedHistory, seed: int) -> LearnedMoment:
        """Begins at the end of a recorded history; see World."""
        state = self.simulator.begin(
            torch.from_numpy(history.tokens)[None],
            torch.from_numpy(history.actions)[None],
            [seed],
            poses=None if history.pose is None else torch.from_numpy(history.pose)[None],
        )
        tokens = state.tokens[:, -1].clone()
        log_prob, entropy = (torch.zeros(tokens.shape, device=tokens.device) for _ in range(2))
        clip = Clip(tokens, log_prob, entropy, self.simulator.tokenizer)
        if history.pose is not None and self.has_readout:
            recorded = WorldReadout.from_vector(quantities(history.pose[None], history.actions[-1, -1:])[0])
            return LearnedMoment(state, clip, 0, recorded, "recording", 0.0, 0.0)
        return LearnedMoment(state, clip, 0, *self._read_out(state, clip)[0], 0.0, 0.0)

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside; see World."""
        if not isinstance(moment, LearnedMoment) or not isinstance(moment.states, WorldState):
            raise InvalidInputError(f"the state's moment must be one of a learned world, got {short(moment)}")
        checked("the state's readout", moment.readout, InstanceOf[WorldReadout] | None)
        checked("the state's path_entropy", moment.path_entropy, float)
        config, num_codes = self._checkpoint.model.config, self.tokenizer.codebook_size
        try:
            world = replace(moment.states, encoded=None).select([moment.row])
            clip = moment.clip.select([moment.row])
            read = {} if moment.readout is None else moment.readout.to_dict()
        except (TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise InvalidInputError(f"the state's moment is not whole: {error}") from error
        world.check(config, num_codes)
        for name, place in read.items():
            numbers = real_numbers(f"the state's {name}", place, "3 finite numbers")
            if numbers.shape != (3,) or not np.isfinite(numbers).all():
                raise InvalidInputError(f"the state's {name} must be 3 finite numbers, got {short(numbers)}")
        check_history_tokens(clip.tokens[:, None], config, num_codes)
        if moment.states.encoded is not None:
            check_encoded(moment.states.encoded, config, (len(moment.states), world.tokens.shape[1]))

    def reseeded(self, moment: LearnedMoment, seed: int) -> LearnedMoment:
        """The same moment with another future noise."""
        # Encoded anew, so that nothing but tokens and actions of the window decides about the future.
        state = replace(moment.state, seeds=(seed,), encoded=None)
        return replace(moment, states=state, clip=moment.clip.select([moment.row]), row=0)

    @plain_torch()
    def step(self, moments: Sequence[LearnedMoment], chunks: Float32Array) -> list[LearnedMoment]:
        """Dreams one clip in each world; see World."""
        after: dict[int, LearnedMoment] = {}
        # Worlds whose histories are of different lengths, or not encoded yet, are batched apart.
        kinds = [(moment.states.tokens.shape[1], moment.states.encoded is None) for moment in moments]
        for kind in sorted(set(kinds)):
            worlds = [world for world, its_kind in enumerate(kinds) if its_kind == kind]
            try:
                states, clip = self.simulator.step(
                    self._joined([moments[world] for world in worlds]), torch.from_numpy(chunks[worlds])
                )
            except ModelOutputError as error:
                raise error.among(worlds) from error
            entropies, offsets = clip.mean_entropy.tolist(), [0.0] * len(worlds)
            if self.trust is not None and self.trust.calibration.needs_painted_offset:
                offsets = self.simulator.painted_offset(states, clip).tolist()
            for row, (world, read) in enumerate(zip(worlds, self._read_out(states, clip), strict=True)):
                steps = states.step_indices[row]
                path_entropy = (moments[world].path_entropy * (steps - 1) + entropies[row]) / steps
                after[world] = LearnedMoment(states, clip, row, *read, path_entropy, offsets[row])
        return [after[world] for world in range(len(moments))]

    def close(self) -> None:
        """Nothing to free."""

    def _joined(self, moments: Sequence[LearnedMoment]) -> WorldState:
        """The worlds of these moments as one batch; what was computed together and is still together is not copied, and
        neither is one moment that many worlds go on from."""
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

    def _read_out(self, states: WorldState, clip: Clip) -> list[tuple[WorldReadout | None, ReadoutSource | None]]:
        """Where each world's robot is, and who says so: the scene, for worlds that know their place, or the network."""
        read: list[tuple[WorldReadout | None, ReadoutSource | None]] = [(None, None)] * len(states)
        belief, readout = states.belief, self._checkpoint.readout
        known = [False] * len(states) if belief is None else belief.known.tolist()
        if belief is not None:
            vectors = quantities(belief.poses.cpu().numpy(), states.actions[:, -1, -1].cpu().numpy())
            read = [(WorldReadout.from_vector(vector), "scene") for vector in vectors]
        for row in (row for row in range(len(states)) if not known[row]):
            # One by one, a world's numbers cannot depend on the others.
            read[row] = (None, None)
            if readout is not None:
                vector = readout.read(clip.tokens[row : row + 1])[0].cpu().numpy()
                if not np.isfinite(vector).all():
                    raise ModelOutputError([row])
                read[row] = (WorldReadout.from_vector(vector), "network")
        return read


def recorded_start(checkpoint: Checkpoint, index: int) -> RecordedHistory:
    """A start of a checkpoint."""
    starts = checkpoint.starts
    pose = None if starts.poses is None else _copied(starts.poses[index])
    return RecordedHistory(_copied(starts.tokens[index]), _copied(starts.actions[index]), pose)


def _copied(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """An array that its user may change without changing the world."""
    return tensor.cpu().numpy().copy()
