"""WorldSimulator: a checkpoint as batched dynamics, `step(state, chunk) -> state, clip`."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from hwm_env.checkpoint import Checkpoint, load, push_to_hub
from hwm_env.decoding.config import DecodingConfig, HistoryMode, Order
from hwm_env.engine.base import Backend, Engine
from hwm_env.engine.compiled import CompiledEngine
from hwm_env.engine.eager import EagerEngine
from hwm_env.engine.scene_alone import SceneEngine
from hwm_env.engine.tokenizer import CompiledTokenizer
from hwm_env.errors import ModelOutputError
from hwm_env.fields import NumWorlds, checked
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Precision, convert
from hwm_env.precision import resolve_precision
from hwm_env.scene.locate import locate
from hwm_env.scene.paths import paths_ending_at
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator_input import check_actions, check_history_tokens, check_numbers, check_seeds, for_each_row
from hwm_env.torch_state import plain_torch
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, POSE_DIM
from hwm_env.world_state import Clip, WorldState

__all__ = ["SLICE", "Clip", "WorldSimulator", "WorldState"]

SLICE: Final = 8
"""Number of rows that a strict simulator computes at once."""


class WorldSimulator:
    """A learned simulator of a humanoid robot, batched and functional.

    A row's random numbers do not depend on the other rows of its batch. But matrix products may round differently with
    the size of the batch, and a token that is nearly a tie may then differ. A strict simulator rules this out: it
    computes every batch in slices of equal size, and pads the last one.

    Args:
        checkpoint: checkpoint to simulate.
        decoding: settings of decoding; `None`: the checkpoint's.
        precision: number type of the model's matrix products (see model/precision.py); the checkpoint is not changed.
        strict: whether a row of a batch equals the same row alone to the bit, on one machine. A single row then takes
            the time of a slice.
        backend: "torch", or "openvino" (needs the engine extra), which is faster on CPUs and computes each row alone,
            as if strict; see docs/performance.md. Where a history is still short, and tokens without decoding steps,
            PyTorch computes.
    """

    @plain_torch()
    def __init__(
        self,
        checkpoint: Checkpoint,
        decoding: DecodingConfig | None = None,
        *,
        precision: Precision = "float32",
        strict: bool = False,
        backend: Backend = "torch",
    ) -> None:
        checked("checkpoint", checkpoint, Checkpoint)
        checked("decoding", decoding, DecodingConfig | None)
        checked("precision", precision, Precision)
        checked("strict", strict, bool)
        self.backend: Backend = checked("backend", backend, Backend)
        self.checkpoint = checkpoint
        self._identity = checkpoint.identity
        self._precision = resolve_precision(precision, next(checkpoint.model.parameters()).device)
        self.strict = strict
        # An engine has a precision of its own.
        self.model = _in_precision(checkpoint.model, self._precision if backend == "torch" else "float32")
        """The checkpoint's own model if it has this precision, else a converted copy."""
        self.scene = checkpoint.scene
        self.tokenizer = checkpoint.tokenizer
        self.decoding = decoding or checkpoint.decoding
        if backend == "openvino":
            self.tokenizer = CompiledTokenizer(checkpoint, self._precision)

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
        backend: Backend = "torch",
    ) -> "WorldSimulator":
        """Loads a simulator. Decoding settings that are `None` are the checkpoint's.

        Args:
            name_or_directory: "room-64", which comes with the package; a checkpoint directory; or a Hugging Face id.
            device: device of the weights and states.
            tokenizer: path of the tokenizer, for a checkpoint that does not contain one (Cosmos); `None`: the
                environment variable HWM_TOKENIZER.
            decoding_steps: decoding steps per clip (K); 0: the scene alone predicts clips, see `DecodingConfig`.
            temperature: sampling temperature; 0 takes the most probable tokens.
            order: order in which tokens are revealed: "confidence", "random" or "halton".
            history: "window" encodes the whole history before each step, "streaming" each clip once; see
                `DecodingConfig`.
            precision: "auto", "float32", "bfloat16" or "int8", see model/precision.py.
            compiled: whether to compile the model's blocks with torch.compile when they first run (needs a C++
                compiler).
            strict: whether rows do not depend on the batch to the bit, see the class.
            backend: "torch" or "openvino", see the class.

        Raises:
            CheckpointError: the checkpoint is unknown or damaged.
            InvalidInputError: a decoding setting is out of range, or not supported by the model.
        """
        checked("compiled", compiled, bool)
        checkpoint = load(name_or_directory, device=device, tokenizer=tokenizer)
        settings = {"steps": decoding_steps, "temperature": temperature, "order": order, "history": history}
        changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        decoding = replace(checkpoint.decoding, **changes)
        simulator = cls(checkpoint, decoding, precision=precision, strict=strict, backend=backend)
        if compiled:
            for block in simulator.model.blocks:
                block.compile()
        return simulator

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Uploads the checkpoint to the Hugging Face Hub, see `hwm_env.checkpoint.push_to_hub`.

        The simulator's precision does not change the uploaded weights.
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
        """Settings of decoding. Setting it raises InvalidInputError if the checkpoint does not support them."""
        return self._decoding

    @decoding.setter
    def decoding(self, decoding: DecodingConfig) -> None:
        decoding.check_model(self.model.config)
        self._engine = self._engine_for(decoding)
        self._decoding = decoding

    def _engine_for(self, decoding: DecodingConfig) -> Engine:
        if decoding.steps == 0:
            elsewhere = replace(decoding, steps=1, history="window")
            return SceneEngine(self.scene, EagerEngine(self.checkpoint, self.model, elsewhere))
        eager = EagerEngine(self.checkpoint, self.model, decoding)
        return eager if self.backend == "torch" else CompiledEngine(eager)

    @property
    def device(self) -> torch.device:
        """Device of the weights and states."""
        return next(self.model.parameters()).device

    @plain_torch()
    def reset(self, starts: Sequence[int], seeds: Sequence[int]) -> WorldState:
        """Begins from starts of the checkpoint.

        Args:
            starts: index of a start for each row.
            seeds: a seed for each row, 0..2^63-1.

        Raises:
            InvalidInputError: a start is unknown, or there is not one seed for each start.
        """
        recorded = self.checkpoint.starts
        index = torch.tensor(for_each_row("start", starts, Annotated[int, Ge(0), Lt(len(recorded))])).long()
        poses = None if recorded.poses is None else recorded.poses[index]
        return self.begin(recorded.tokens[index], recorded.actions[index], seeds, poses=poses)

    @plain_torch()
    def begin(
        self,
        tokens: Tensor,
        actions: Tensor,
        seeds: Sequence[int],
        *,
        poses: Tensor | None = None,
        expected_poses: Tensor | None = None,
    ) -> WorldState:
        """Begins from given histories.

        With a scene and without `poses`, the pose at the end of each history is estimated from its clips: about half a
        second of one core per row, or ten if the whole room has to be searched; less near an expected pose.

        Args:
            tokens: int [B, T_p, 3, H, W], 1 to `num_past_clips` clips.
            actions: action chunks in physical units, float [B, T_p, 17, 25].
            seeds: a seed for each row, 0..2^63-1.
            poses: base poses at the last frame (x and y in m, yaw in rad), float [B, 3], if known. A row of NaN, or
                outside the map, begins at an unknown pose. Ignored without a scene.
            expected_poses: about where the base is at the last frame, float [B, 3], NaN if unknown: the search begins
                there. Ignored with `poses`.

        Raises:
            InvalidInputError: tokens, actions, seeds, poses or expected poses do not fit.
        """
        check_history_tokens(tokens, self.model.config, self.tokenizer.codebook_size)
        checked_seeds = check_seeds(seeds, len(tokens))
        expected = (len(tokens), tokens.shape[1], FRAMES_PER_CLIP, ACTION_DIM)
        # Copies, so that the caller may change its tensors later.
        checked_actions = check_actions(actions, expected).to(self.device, copy=True)
        if poses is not None:
            poses = check_numbers("poses", poses, (len(tokens), POSE_DIM))
        if expected_poses is not None:
            expected_poses = check_numbers("expected poses", expected_poses, (len(tokens), POSE_DIM)).to(self.device)
        tokens = tokens.to(self.device, torch.int32, copy=True)
        belief, paths = self._located(tokens, checked_actions, poses, expected_poses)
        state = WorldState(tokens, checked_actions, checked_seeds, (0,) * len(tokens), belief=belief, paths=paths)
        # A strict simulator encodes when it steps, in its slices.
        return state if self.strict else replace(state, encoded=self._engine.encoded(state))

    def fork(self, state: WorldState, n: int, seeds: Sequence[int] | None = None) -> WorldState:
        """Copies each row, to try several futures from one moment.

        The copies of a single row share its memory.

        Args:
            state: state of B rows.
            n: copies of each row, at least 1.
            seeds: B * n seeds of the future noise; `None`: copies keep their row's seed, so that equal actions lead to
                equal futures.

        Returns:
            B * n rows, the copies of a row next to each other.

        Raises:
            InvalidInputError: `n` is below 1, or there is not one seed for each copy.
        """
        n = checked("n", n, NumWorlds)
        self._check_state(state)
        if len(state) == 1:
            forks = state.expand(n)
        else:
            forks = state.select([row for row in range(len(state)) for _ in range(n)])
        return forks if seeds is None else replace(forks, seeds=check_seeds(seeds, len(forks)))

    @plain_torch()
    def step(self, state: WorldState, chunk: Tensor) -> tuple[WorldState, Clip]:
        """Advances every row by one clip (17 frames, 0.567 s).

        Args:
            state: the current state; it stays valid.
            chunk: the next 17 actions of each row in physical units, float [B, 17, 25].

        Returns:
            The state after the clip, and the clip.

        Raises:
            InvalidInputError: the chunk has a wrong shape or is not finite (names the first such row), or the state
                belongs to another model.
            ModelOutputError: the model's output is not finite; names the rows.
        """
        self._check_state(state)
        chunk = check_actions(chunk, (len(state), FRAMES_PER_CLIP, ACTION_DIM), "chunk").to(self.device)
        if not self.strict or self._engine.rows_alone(state):
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

    def _checked_step(self, state: WorldState, chunk: Tensor, rows: Sequence[int]) -> tuple[WorldState, Clip]:
        """Advances a state whose rows are `rows` of the caller's batch."""
        decoded, encoded, belief, path = self._engine.predicted(state, chunk)
        broken = (~decoded.log_prob.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
        if broken:
            raise ModelOutputError(sorted({rows[index] for index in broken}))
        after = WorldState(
            self._shifted(state.tokens, decoded.tokens),
            self._shifted(state.actions, chunk),
            state.seeds,
            tuple(index + 1 for index in state.step_indices),
            encoded,
            belief,
            None if state.paths is None or path is None else self._shifted(state.paths, path),
        )
        return after, Clip(*decoded, self.tokenizer, path, self.strict)

    def painted_offset(self, state: WorldState, clip: Clip) -> Tensor:
        """Estimates the distance between the painted and the carried pose of each row's newest clip.

        Args:
            state: the state after the clip.
            clip: the clip that `step` returned with the state.

        Returns:
            float32 [B], in m, see `hwm_env.scene.scene.Scene.painted_offset`; 0 without a scene.
        """
        if self.scene is None or clip.path is None:
            return torch.zeros(len(state), device=clip.tokens.device)
        # A strict simulator computes row by row, so that no number depends on the batch.
        at_once = 1 if self.strict else len(state)
        parts = zip(*(part.split(at_once) for part in (clip.path, state.actions[:, -1], clip.tokens)), strict=True)
        return torch.cat([self.scene.painted_offset(*part) for part in parts])

    def _shifted(self, history: Tensor, newest: Tensor) -> Tensor:
        """Appends a clip [B, ...] to a history [B, T, ...], and drops the oldest clip if the history was full."""
        kept = self.model.config.num_past_clips - 1
        return torch.cat([history[:, -kept:] if kept else history[:, :0], newest[:, None]], dim=1)

    def _located(
        self, tokens: Tensor, actions: Tensor, poses: Tensor | None, expected: Tensor | None
    ) -> tuple[PoseBelief | None, Tensor | None]:
        """Returns the poses where histories end, given or estimated, and the paths if the model reads scene inputs."""
        if self.scene is None:
            return None, None
        reads_scene = self.model.config.scene_width > 0
        if poses is not None:
            belief = self.scene.belief_in(poses.to(self.device))
            if not reads_scene:
                return belief, None
            # Row by row, so that rows do not depend on each other.
            rows = zip(belief.poses.split(1), actions.split(1), strict=True)
            return belief, torch.cat([paths_ending_at(end, self.scene.odometry, chunks) for end, chunks in rows])
        readout = self.checkpoint.readout
        clip_poses = None
        if readout is not None:
            # Row by row, so that rows do not depend on each other.
            clip_poses = torch.stack([readout.read(clips)[:, :POSE_DIM] for clips in tokens])
        found = locate(self.scene, tokens, actions, clip_poses, expected)
        return PoseBelief(found.poses, found.covariances), found.paths if reads_scene else None


def _in_precision(model: MaskedHWM, precision: Precision) -> MaskedHWM:
    """Returns the model if its weights have this precision, else a converted copy."""
    if precision == "float32" and all(parameter.dtype == torch.float32 for parameter in model.parameters()):
        return model
    return convert(copy.deepcopy(model), precision)
