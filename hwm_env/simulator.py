"""WorldSimulator: the trained model as batched dynamics, `step(state, actions) -> state, clip`."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import InstanceOf
from torch import Tensor

from hwm_env.checkpoint import Checkpoint, load, push_to_hub
from hwm_env.decoding.cache import next_clip_predictor
from hwm_env.decoding.config import DecodingConfig, HistoryMode, Order
from hwm_env.decoding.maskgit import Decoded, decode_clip
from hwm_env.decoding.noise import world_uniforms
from hwm_env.errors import ModelOutputError
from hwm_env.fields import CountOrZero, NumWorlds, checked
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Precision, convert
from hwm_env.precision import resolve_precision
from hwm_env.scene.belief import PoseBelief
from hwm_env.scene.localiser import paths_ending_at
from hwm_env.scene.locate import locate
from hwm_env.simulator_input import (
    check_actions,
    check_encoded,
    check_history_tokens,
    check_numbers,
    check_seeds,
    for_each_world,
)
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.torch_state import plain_torch
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP, POSE_DIM


@dataclass(frozen=True, slots=True)
class WorldState:
    """All that a batch of worlds remembers. Never changed in place, so that keeping a reference saves a world."""

    tokens: Tensor
    """int32 [B, T_p, 3, H, W]: the history's clips."""
    actions: Tensor
    """float32 [B, T_p, 17, 25]: the history's action chunks, physical units."""
    seeds: tuple[int, ...]
    """A seed for each world: with `step_indices` all the randomness there is."""
    step_indices: tuple[int, ...]
    """Env steps taken since reset."""
    encoded: EncodedHistory | None = None
    """What the history was encoded to, where it is kept from step to step (`history="streaming"`)."""
    belief: PoseBelief | None = None
    """Where each world's base is in the room; `None` without a scene."""
    paths: Tensor | None = None
    """float32 [B, T_p, 17, 3]: where it was at the frames of the history, NaN where unknown; `None` if the model does
    not read what the scene tells of them."""

    def __len__(self) -> int:
        return len(self.seeds)

    @classmethod
    def join(cls, states: Sequence["WorldState"]) -> "WorldState":
        """One batch of several. All must have histories of equal length, and all of them encoded ones, or none."""
        kept = [state.encoded for state in states if state.encoded is not None]
        assert len(kept) in (0, len(states)), f"{len(kept)} of {len(states)} histories are encoded"
        beliefs = [state.belief for state in states if state.belief is not None]
        assert len(beliefs) in (0, len(states)), f"{len(beliefs)} of {len(states)} batches have a belief"
        paths = [state.paths for state in states if state.paths is not None]
        assert len(paths) in (0, len(states)), f"{len(paths)} of {len(states)} batches have paths"
        return cls(
            torch.cat([state.tokens for state in states]),
            torch.cat([state.actions for state in states]),
            tuple(seed for state in states for seed in state.seeds),
            tuple(index for state in states for index in state.step_indices),
            EncodedHistory.join(kept) if kept else None,
            PoseBelief.join(beliefs) if beliefs else None,
            torch.cat(paths) if paths else None,
        )

    def select(self, worlds: Sequence[int]) -> "WorldState":
        """A batch of these worlds of this one, in this order; repeats are worlds of the same past and future."""
        index = torch.as_tensor(worlds, device=self.tokens.device)
        return WorldState(
            self.tokens[index],
            self.actions[index],
            tuple(self.seeds[i] for i in worlds),
            tuple(self.step_indices[i] for i in worlds),
            None if self.encoded is None else self.encoded.select(index),
            None if self.belief is None else self.belief.select(index),
            None if self.paths is None else self.paths[index],
        )

    def check(self, config: MaskedHWMConfig, num_codes: int) -> None:
        """Checks that a model can go on from here.

        Args:
            config: of the model.
            num_codes: of the tokenizer's codebook.

        Raises:
            InvalidInputError: it was made by another model, or tampered with.
        """
        num_worlds, num_clips = check_history_tokens(self.tokens, config, num_codes).shape[:2]
        check_actions(self.actions, (num_worlds, num_clips, FRAMES_PER_CLIP, ACTION_DIM), "the state's actions")
        check_seeds(self.seeds, num_worlds)
        for_each_world("step index", self.step_indices, CountOrZero, num_worlds)
        if self.belief is not None:
            checked("the state's belief", self.belief, InstanceOf[PoseBelief])
            check_numbers("the state's poses", self.belief.poses, (num_worlds, POSE_DIM))
            check_numbers("the state's covariances", self.belief.covariances, (num_worlds, POSE_DIM, POSE_DIM))
        if self.paths is not None:
            check_numbers("the state's paths", self.paths, (num_worlds, num_clips, FRAMES_PER_CLIP, POSE_DIM))
        if self.encoded is not None:
            check_encoded(self.encoded, config, (num_worlds, num_clips))


@dataclass(frozen=True)
class Clip:
    """The newest clip of each world."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    log_prob: Tensor
    """float32 [B, 3, H, W]: log-probability of each token, in nats, when it was chosen."""
    entropy: Tensor
    """float32 [B, 3, H, W]: entropy, in nats, of what each token was chosen from."""
    tokenizer: VideoTokenizer
    path: Tensor | None = None
    """float32 [B, 17, 3]: where each world carried its base at the clip's frames, x and y (m) and yaw (rad), NaN where
    unknown; `None` without a scene, or for a recorded clip."""

    def select(self, worlds: Sequence[int]) -> "Clip":
        """The clips of these worlds, in this order."""
        index = torch.as_tensor(worlds, device=self.tokens.device)
        path = None if self.path is None else self.path[index]
        return Clip(self.tokens[index], self.log_prob[index], self.entropy[index], self.tokenizer, path)

    @classmethod
    def join(cls, clips: Sequence["Clip"]) -> "Clip":
        """The clips of several batches, in this order."""
        paths = [clip.path for clip in clips if clip.path is not None]
        assert len(paths) in (0, len(clips)), f"{len(paths)} of {len(clips)} clips have a path"
        return cls(
            torch.cat([clip.tokens for clip in clips]),
            torch.cat([clip.log_prob for clip in clips]),
            torch.cat([clip.entropy for clip in clips]),
            clips[0].tokenizer,
            torch.cat(paths) if paths else None,
        )

    @cached_property
    def frames(self) -> Tensor:
        """uint8 [B, 17, height, width, 3]; decoded when first asked for."""
        return self.tokenizer.decode(self.tokens)

    @property
    def confidence(self) -> Tensor:
        """Mean log-probability of the clip's tokens, float32 [B], in nats a token."""
        return self.log_prob.mean(dim=(1, 2, 3))

    @property
    def mean_entropy(self) -> Tensor:
        """Mean entropy of what the clip's tokens were chosen from, float32 [B], in nats a token."""
        return self.entropy.mean(dim=(1, 2, 3))


SLICE: Final = 8
"""Worlds that a strict simulator computes at once."""


class WorldSimulator:
    """A learned simulator of a humanoid robot, batched and functional.

    A world's random numbers do not depend on the other worlds of its batch, but matrix products may round differently
    with the size of the batch, and a token that is a near tie may then differ. A strict simulator rules that out: it
    computes all batches in slices of the same size, and fills the last one up.

    Args:
        checkpoint: what to simulate.
        decoding: how clips are decoded; None: as the checkpoint says.
        precision: number type of the model's matrix products (see model/precision.py); the checkpoint keeps its own.
        strict: whether a row of a batch equals the same world alone to the bit, on one machine. Costs a single world
            the time of a slice.
    """

    @plain_torch()
    def __init__(
        self,
        checkpoint: Checkpoint,
        decoding: DecodingConfig | None = None,
        *,
        precision: Precision = "float32",
        strict: bool = False,
    ) -> None:
        checked("checkpoint", checkpoint, Checkpoint)
        checked("decoding", decoding, DecodingConfig | None)
        checked("precision", precision, Precision)
        checked("strict", strict, bool)
        self.checkpoint = checkpoint
        self._identity = checkpoint.identity
        self._precision = resolve_precision(precision, next(checkpoint.model.parameters()).device)
        self.strict = strict
        self.model = _in_precision(checkpoint.model, self._precision)
        """The checkpoint's own model where that has this precision, else a converted copy."""
        self.scene = checkpoint.scene
        self.tokenizer = checkpoint.tokenizer
        self.decoding = decoding or checkpoint.decoding

    @classmethod
    def from_pretrained(
        cls,
        name_or_directory: str | Path = "room-64",
        *,
        device: str | torch.device = "cpu",
        tokenizer: str | Path | None = None,
        decoding_steps: int | None = None,
        temperature: float | None = None,
        order: Order | None = None,
        history: HistoryMode | None = None,
        precision: Precision = "float32",
        compiled: bool = False,
        strict: bool = False,
    ) -> "WorldSimulator":
        """Loads a simulator; what is None is as in the checkpoint.

        Args:
            name_or_directory: "room-64" ships with the package; a checkpoint directory; or a Hugging Face id.
            device: where the worlds live.
            tokenizer: where the tokenizer is, for a checkpoint that does not hold its own (Cosmos); by default where
                the environment variable HWM_TOKENIZER says.
            decoding_steps: passes a clip (K).
            temperature: of the sampling; 0 takes the most probable tokens.
            order: in which tokens are revealed: "confidence", "random" or "halton".
            history: "window" encodes the past anew for each step, "streaming" each clip once (see DecodingConfig).
            precision: "auto", "float32", "bfloat16" or "int8" (see model/precision.py).
            compiled: compile the model's blocks with torch.compile when they first run (needs a C++ compiler).
            strict: whether rows do not depend on the batch at all, see the class.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
            InvalidInputError: decoding settings out of range, or not possible with this model.
        """
        checked("compiled", compiled, bool)
        checkpoint = load(name_or_directory, device=device, tokenizer=tokenizer)
        wanted = {"steps": decoding_steps, "temperature": temperature, "order": order, "history": history}
        changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        simulator = cls(checkpoint, replace(checkpoint.decoding, **changes), precision=precision, strict=strict)
        if compiled:
            for block in simulator.model.blocks:
                block.compile()
        return simulator

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Writes the checkpoint to the Hugging Face Hub, see `hwm_env.checkpoint.push_to_hub`.

        The weights are the checkpoint's, whatever precision they are simulated in.
        """
        return push_to_hub(self.checkpoint, repo_id, private=private)

    @property
    def identity(self) -> str:
        """Hash of the checkpoint's weights, 16 hexadecimal digits."""
        return self._identity

    @property
    def precision(self) -> Literal["float32", "bfloat16", "int8"]:
        """Number type of the model's matrix products."""
        return self._precision

    @property
    def decoding(self) -> DecodingConfig:
        """How clips are decoded. Setting it raises InvalidInputError where the model cannot be decoded so."""
        return self._decoding

    @decoding.setter
    def decoding(self, decoding: DecodingConfig) -> None:
        decoding.check_model(self.model.config)
        self._decoding = decoding

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so the worlds."""
        return next(self.model.parameters()).device

    @plain_torch()
    def reset(self, starts: Sequence[int], seeds: Sequence[int]) -> WorldState:
        """Begins worlds from recorded histories.

        Args:
            starts: indices of the checkpoint's starts, one for each world.
            seeds: a seed for each world, 0..2^63-1.

        Raises:
            InvalidInputError: an unknown start, or not one seed for each start.
        """
        recorded = self.checkpoint.starts
        index = torch.tensor(for_each_world("start", starts, Annotated[int, Ge(0), Lt(len(recorded))])).long()
        poses = None if recorded.poses is None else recorded.poses[index]
        return self.begin(recorded.tokens[index], recorded.actions[index], seeds, poses=poses)

    @plain_torch()
    def begin(
        self, tokens: Tensor, actions: Tensor, seeds: Sequence[int], *, poses: Tensor | None = None
    ) -> WorldState:
        """Begins worlds from histories of one's own.

        With a scene, each world finds out where its history ends from what it shows (half a second of one core or so;
        ten, if the whole room has to be searched), unless `poses` says.

        Args:
            tokens: int [B, T_p, 3, H, W], 1 to `num_past_clips` clips.
            actions: float [B, T_p, 17, 25], physical units.
            seeds: a seed for each world, 0..2^63-1.
            poses: of the base at the last frame (x and y in m, yaw in rad), float [B, 3], if they are known; a row of
                NaN, or outside the map, begins without knowing its place. Ignored without a scene.

        Raises:
            InvalidInputError: shapes, tokens, seeds or poses that do not fit.
        """
        check_history_tokens(tokens, self.model.config, self.tokenizer.codebook_size)
        checked_seeds = check_seeds(seeds, len(tokens))
        expected = (len(tokens), tokens.shape[1], FRAMES_PER_CLIP, ACTION_DIM)
        # Copies, so that the caller may go on writing to what it gave.
        checked_actions = check_actions(actions, expected).to(self.device, copy=True)
        if poses is not None:
            poses = check_numbers("poses", poses, (len(tokens), POSE_DIM))
        tokens = tokens.to(self.device, torch.int32, copy=True)
        belief, paths = self._located(tokens, checked_actions, poses)
        state = WorldState(tokens, checked_actions, checked_seeds, (0,) * len(tokens), belief=belief, paths=paths)
        # A strict simulator encodes when it steps, in its slices.
        return state if self.strict else replace(state, encoded=self._encoded(state))

    def fork(self, state: WorldState, n: int, seeds: Sequence[int] | None = None) -> WorldState:
        """Copies of worlds, to try several futures from one moment.

        The copies share the memory of a single world, whatever the length of its history.

        Args:
            state: B worlds.
            n: copies of each, at least 1.
            seeds: B * n seeds of their future noise; by default copies keep their world's seed, so that equal actions
                lead to equal futures.

        Returns:
            B * n worlds, the copies of a world next to each other.

        Raises:
            InvalidInputError: no copy is asked for, or there is not one seed for each.
        """
        n = checked("n", n, NumWorlds)
        self._check_state(state)
        if len(state) == 1:
            forks = WorldState(
                state.tokens.expand(n, -1, -1, -1, -1),
                state.actions.expand(n, -1, -1, -1),
                state.seeds * n,
                state.step_indices * n,
                None if state.encoded is None else state.encoded.expand(n),
                None if state.belief is None else state.belief.expand(n),
                None if state.paths is None else state.paths.expand(n, -1, -1, -1),
            )
        else:
            forks = state.select([world for world in range(len(state)) for _ in range(n)])
        return forks if seeds is None else replace(forks, seeds=check_seeds(seeds, len(forks)))

    @plain_torch()
    def step(self, state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
        """Takes one env step (17 frames, 0.567 s of robot time) in every world.

        Args:
            state: where the worlds are; stays valid.
            actions: float [B, 17, 25], physical units.

        Returns:
            The state after the clip, and the clip.

        Raises:
            InvalidInputError: actions of a wrong shape, or not finite (names the first world concerned); or a state of
                another model.
            ModelOutputError: the model's output is not finite; names the worlds concerned.
        """
        self._check_state(state)
        chunk = check_actions(actions, (len(state), FRAMES_PER_CLIP, ACTION_DIM)).to(self.device)
        if not self.strict:
            return self._checked_step(state, chunk, range(len(state)))
        states, clips = [], []
        for first in range(0, len(state), SLICE):
            rows = list(range(first, min(first + SLICE, len(state))))
            filled = rows + rows[-1:] * (SLICE - len(rows))
            after, clip = self._checked_step(state.select(filled), chunk[filled], filled)
            states.append(after.select(range(len(rows))))
            clips.append(clip.select(range(len(rows))))
        return WorldState.join(states), Clip.join(clips)

    def _check_state(self, state: WorldState) -> None:
        checked("state", state, WorldState)
        state.check(self.model.config, self.tokenizer.codebook_size)

    def _checked_step(self, state: WorldState, chunk: Tensor, worlds: Sequence[int]) -> tuple[WorldState, Clip]:
        state = replace(state, encoded=self._encoded(state))
        # A state from a simulator with a scene, played on without one, does not know its place any more.
        belief, path, told = None if self.scene is None else state.belief, None, None
        if self.scene is not None and belief is not None:
            path = self.scene.path(belief, chunk)
            belief = self.scene.carried(belief, path)
            told = self.scene.inputs(path, chunk) if self.model.config.scene_width else None
        decoded = self._decode(state, chunk, path, told)
        broken = (~decoded.log_prob.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
        if broken:
            raise ModelOutputError(sorted({worlds[row] for row in broken}))
        after = WorldState(
            self._shifted(state.tokens, decoded.tokens),
            self._shifted(state.actions, chunk),
            state.seeds,
            tuple(index + 1 for index in state.step_indices),
            state.encoded and self.model.append_clip(state.encoded, decoded.tokens, chunk, scene_BSC=told),
            belief,
            None if state.paths is None or path is None else self._shifted(state.paths, path),
        )
        return after, Clip(*decoded, self.tokenizer, path)

    def painted_offset(self, state: WorldState, clip: Clip) -> Tensor:
        """Returns how far the newest clip of each world seems to be painted from another pose than the carried one.

        Args:
            state: after the clip.
            clip: as `step` returned it with the state.

        Returns:
            float32 [B], in m, see `hwm_env.scene.scene.Scene.painted_offset`; 0 without a scene.
        """
        if self.scene is None or clip.path is None:
            return torch.zeros(len(state), device=clip.tokens.device)
        # A strict simulator asks one by one, so that no number depends on the batch.
        rows = 1 if self.strict else len(state)
        parts = zip(*(part.split(rows) for part in (clip.path, state.actions[:, -1], clip.tokens)), strict=True)
        return torch.cat([self.scene.painted_offset(*part) for part in parts])

    def _shifted(self, history: Tensor, newest: Tensor) -> Tensor:
        """A history [B, T, ...] after one more clip [B, ...], without the oldest one if it was full."""
        room = self.model.config.num_past_clips - 1
        return torch.cat([history[:, -room:] if room else history[:, :0], newest[:, None]], dim=1)

    def _located(
        self, tokens: Tensor, actions: Tensor, poses: Tensor | None
    ) -> tuple[PoseBelief | None, Tensor | None]:
        """Where histories end, as told or from what they show, and their paths if the model is told about them."""
        if self.scene is None:
            return None, None
        reads = self.model.config.scene_width > 0
        if poses is not None:
            belief = PoseBelief.certain(poses.to(self.device))
            inside = self.scene.model.map.contains(belief.poses)
            belief = belief._replace(poses=belief.poses.masked_fill(~inside[:, None], torch.nan))
            if not reads:
                return belief, None
            # One by one, so that none depends on others.
            worlds = zip(belief.poses.split(1), actions.split(1), strict=True)
            return belief, torch.cat([paths_ending_at(end, self.scene.odometry, chunks) for end, chunks in worlds])
        readout = self.checkpoint.readout
        seen = None
        if readout is not None:
            # World by world, so that where one is does not depend on the others.
            seen = torch.stack([readout.read(clips)[:, :POSE_DIM] for clips in tokens])
        found = locate(self.scene, tokens, actions, seen)
        return PoseBelief(found.poses, found.covariances), found.paths if reads else None

    def _encoded(self, state: WorldState) -> EncodedHistory | None:
        """What this simulator keeps of a state's history, wherever the state comes from."""
        if self.decoding.history == "window":
            return None
        if state.encoded is not None:
            return state.encoded
        told = self._told_of_history(state)
        return self.model.encode_history(state.tokens, state.actions.flatten(1, 2), scene_p=told)

    def _told_of_history(self, state: WorldState) -> Tensor | None:
        """What the scene tells of the clips of histories, [B, T_p, S, C]."""
        if self.scene is None or state.paths is None:
            return None
        told = self.scene.inputs(state.paths.flatten(0, 1), state.actions.flatten(0, 1))
        by_world: Tensor = told.unflatten(0, state.paths.shape[:2])
        return by_world

    def _decode(self, state: WorldState, chunk: Tensor, path: Tensor | None, told: Tensor | None) -> Decoded:
        model, config = self.model, self.decoding
        uniforms = None
        if config.temperature > 0 or config.order == "random":
            num_tokens = LATENTS_PER_CLIP * model.config.num_positions
            numbers = (config.steps, num_tokens, len(model.config.head_levels) + 1)
            uniforms = world_uniforms(state.seeds, state.step_indices, numbers).to(self.device)
        prior = None
        if self.scene is not None and path is not None and self.scene.mixes(state.step_indices):
            prior = self.scene.prior(path, chunk, state.step_indices)
        return decode_clip(
            next_clip_predictor(
                model,
                state.tokens,
                state.actions,
                chunk,
                state.encoded,
                scene_p=None if state.encoded else self._told_of_history(state),
                scene_BSC=told,
            ),
            model.head,
            (len(state), LATENTS_PER_CLIP, *model.config.grid_size),
            config,
            uniforms,
            self.device,
            num_codes=self.tokenizer.codebook_size,
            prior=prior,
        )


def _in_precision(model: MaskedHWM, precision: Precision) -> MaskedHWM:
    """A model whose weights have a precision: this one if they do, else a copy."""
    if precision == "float32" and all(parameter.dtype == torch.float32 for parameter in model.parameters()):
        return model
    return convert(copy.deepcopy(model), precision)
