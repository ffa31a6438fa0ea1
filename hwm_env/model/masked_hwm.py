"""MaskedHWM: a masked video transformer that predicts a clip's tokens from past clips and actions.

Follows "Humanoid World Models" (arXiv 2506.01182), with the options of `MaskedHWMConfig`.
"""

from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hwm_env.model.attention import KeyValues, Places, Rotations
from hwm_env.model.block import Block
from hwm_env.model.checks import check_clips, check_encoding, check_scene_inputs
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.context import PassContext
from hwm_env.model.embedding import (
    EMBEDDING_STD,
    SceneEmbedding,
    TableEmbedding,
    action_embedding,
    num_slots,
    position_shape,
    token_embedding,
)
from hwm_env.model.heads import CodebookHead
from hwm_env.model.history import ClipEncodings, EncodedHistory, joined
from hwm_env.model.linear import initialise
from hwm_env.model.masking import history_visibility, visibility
from hwm_env.model.rope import rotation, spatial_angles, temporal_angles
from hwm_env.model.timeline import Timeline, timeline_of_clips, timeline_within_clip
from hwm_env.parallel import side_by_side
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP

VECTORS_AT_ONCE = 1024
"""Video vectors that are computed at once: enough to keep a processor busy, few enough for its caches."""


class MaskedHWM(nn.Module):
    """The Masked Humanoid World Model.

    All random initial weights come from `generator`. With a `scene_width`, each clip's scene inputs (see
    `Scene.inputs`) are given together with its actions.

    Attributes:
        config: shape and options of the model.
        checkpoint_activations: whether training keeps only the inputs of the blocks and runs each block again for its
            gradients: less memory, more time, equal results.
    """

    config: MaskedHWMConfig
    checkpoint_activations: bool = False

    rotation_cos: Tensor
    rotation_sin: Tensor

    def __init__(self, config: MaskedHWMConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokens = token_embedding(config)
        self.actions = action_embedding(config)
        self.scene = SceneEmbedding(config) if config.scene_width else None
        self.positions = nn.Parameter(torch.empty(*position_shape(config), config.width))
        if config.position_embedding == "window":
            self.action_positions = nn.Parameter(torch.empty(num_slots(config), config.width))
        if config.stream_type_embedding:
            self.streams = nn.Parameter(torch.empty(4, config.width))
        self.blocks = nn.ModuleList(
            Block(config, shared=layer >= config.shared_layers_start, last=layer == config.num_layers - 1)
            for layer in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = CodebookHead(config.head_levels, config.width, config.future_latents, config.grid_size[0])
        cos, sin = rotation(spatial_angles(*config.grid_size, config.head_width, config.rope_base))
        self.register_buffer("rotation_cos", cos, persistent=False)
        self.register_buffer("rotation_sin", sin, persistent=False)
        initialise(self, generator)
        for name, parameter in self.named_parameters(recurse=False):
            assert name in ("positions", "action_positions", "streams"), name
            nn.init.normal_(parameter, std=EMBEDDING_STD, generator=generator)
        if isinstance(self.tokens, TableEmbedding):
            self.tokens.initialise(generator)
        self.head.initialise(generator)

    def forward(
        self,
        v_p: Tensor,
        v_f: Tensor,
        a_p: Tensor,
        a_f: Tensor,
        *,
        scene_p: Tensor | None = None,
        scene_f: Tensor | None = None,
    ) -> Tensor:
        """Predicts logits of the future video's tokens, in one pass over all clips.

        With `past_latents` = n, past and future are parts of one clip. The shapes below then have T = 1; the past has
        n latents and their 1 or 9 frames of actions, the future has the rest.

        Args:
            v_p: past tokens, int [B, 3, T_p, H, W].
            v_f: future tokens, int [B, 3, T_f, H, W]; `config.mask_token` where unknown.
            a_p: past actions in physical units, float [B, 17 * T_p, 25].
            a_f: future actions in physical units, float [B, 17 * T_f, 25].
            scene_p: scene inputs of the past, float [B, T_p, S, C].
            scene_f: scene inputs of the future, float [B, T_f, S, C].

        Returns:
            float [3, B, T_f, H, W, V]; log-probabilities if `codebook_head` is "factored".

        Raises:
            InvalidInputError: a shape does not fit the others or the configuration.
        """
        check_clips(self.config, v_p, v_f, a_p, a_f)
        past, future = (rearrange(v, "b l t h w -> b t l h w") for v in (v_p, v_f))
        future_times = torch.arange(v_f.shape[2], device=v_f.device) + v_p.shape[2]
        digit_logits = self.predict(
            past, future, a_p, a_f, future_times, parallel_targets=False, scene_p=scene_p, scene_f=scene_f
        )
        return rearrange(self.head.joint(digit_logits), "b t l h w v -> l b t h w v")

    def predict(
        self,
        past_BTLHW: Tensor,
        future_BTLHW: Tensor,
        a_p: Tensor,
        a_f: Tensor,
        future_times: Tensor,
        *,
        parallel_targets: bool,
        scene_p: Tensor | None = None,
        scene_f: Tensor | None = None,
    ) -> Tensor:
        """Predicts digit logits of the future clips, in one pass over all clips.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W]; their clip times are 0..T_p-1.
            future_BTLHW: future tokens, int [B, T_f, 3, H, W].
            a_p: past actions, float [B, 17 * T_p, 25].
            a_f: future actions, float [B, 17 * T_f, 25].
            future_times: int [T_f], clip times of the future clips.
            parallel_targets: whether each future clip is a target of its own, see `clip_causal_visibility`.
            scene_p: scene inputs of the past, float [B, T_p, S, C].
            scene_f: scene inputs of the future, float [B, T_f, S, C].

        Returns:
            float [B, T_f, 3, H, W, n], n outputs per token (the sum of `config.head_levels`).

        Raises:
            InvalidInputError: parallel targets, but the configuration lets a target see the clips around it.
        """
        num_past = past_BTLHW.shape[1]
        context = self.prepare(
            num_past, a_p, a_f, future_times, parallel_targets=parallel_targets, scene_p=scene_p, scene_f=scene_f
        )
        digit_logits: Tensor = self.head(self.future_features(context, past_BTLHW, future_BTLHW))
        return digit_logits

    def prepare(
        self,
        num_past: int,
        a_p: Tensor,
        a_f: Tensor,
        future_times: Tensor,
        *,
        parallel_targets: bool,
        scene_p: Tensor | None = None,
        scene_f: Tensor | None = None,
    ) -> PassContext:
        """Prepares one pass over all clips: everything except their tokens. Arguments as for `predict`."""
        config = self.config
        if config.past_latents is None:
            timeline = timeline_of_clips(config, num_past, future_times)
        else:
            timeline = timeline_within_clip(config, future_times.device)
        scene_inputs = [part for part in (scene_p, scene_f) if part is not None]
        return self._context(
            torch.cat([a_p, a_f], dim=1),
            timeline,
            visibility(config, timeline, parallel_targets=parallel_targets),
            scene_BTSC=torch.cat(scene_inputs, dim=1) if scene_inputs else None,
        )

    def future_features(self, context: PassContext, past_BTLHW: Tensor, future_BTLHW: Tensor) -> Tensor:
        """Computes the features that the head predicts the future's tokens from.

        Args:
            context: from `prepare`.
            past_BTLHW: past tokens, int [B, T_p, 3, H, W].
            future_BTLHW: future tokens, int [B, T_f, 3, H, W].

        Returns:
            float [B, T_f, L, S, D]; L is 1 if a position's latents share one vector.
        """
        along = 1 if self.config.past_latents is None else 2
        features = self._run(context, torch.cat([past_BTLHW, future_BTLHW], dim=along))
        future = self.norm(features[:, context.places.num_past :])
        by_clip: Tensor = rearrange(future, "b (t l) s d -> b t l s d", t=future_BTLHW.shape[1])
        return by_clip

    def encode_history(
        self, past_BTLHW: Tensor, a_p: Tensor, *, scene_p: Tensor | None = None, num_newer: int = 0
    ) -> EncodedHistory:
        """Encodes the past once for many predictions; each clip sees itself and the given clips before it.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W]; T_p may be 0.
            a_p: past actions, float [B, 17 * T_p, 25].
            scene_p: scene inputs of the past, float [B, T_p, S, C].
            num_newer: number of known clips that follow, and are encoded by `next_features`.

        Raises:
            InvalidInputError: the past of this model depends on the future.
        """
        check_encoding(self.config)
        batch, num_past = past_BTLHW.shape[:2]
        steps = self.config.steps_per_clip
        next_time = torch.tensor([num_past + num_newer], device=past_BTLHW.device)
        timeline = timeline_of_clips(self.config, num_past + num_newer, next_time)
        history = EncodedHistory((), torch.full((batch,), num_past, device=past_BTLHW.device))
        at_once = max(1, VECTORS_AT_ONCE // (batch * self.config.num_positions))
        if past_BTLHW.device.type != "cpu":
            at_once = max(1, num_past)
        for start in range(0, num_past, at_once):
            stop = min(start + at_once, num_past)
            part = timeline.span(start * steps, stop * steps)
            context = self._context(
                a_p[:, start * FRAMES_PER_CLIP : stop * FRAMES_PER_CLIP],
                part,
                history_visibility(part.clips, timeline.clips[: stop * steps]),
                history,
                None if scene_p is None else scene_p[:, start:stop],
            )
            encodings = ClipEncodings(self.config, stop - start)
            # The past grows from slice to slice, and each length would be compiled again.
            self._run(context, past_BTLHW[:, start:stop], encodings, compiled=False)
            history = history._replace(clips=history.clips + encodings.clips)
        return history

    def prepare_next(
        self, history: EncodedHistory, chunks_BTFA: Tensor, *, scene_BTSC: Tensor | None = None
    ) -> PassContext:
        """Prepares a pass over the clips after the history, of which the last is predicted: all except their tokens.

        Args:
            history: encoded clips.
            chunks_BTFA: actions of the known clips that follow and of the predicted one, float [B, T, 17, 25].
            scene_BTSC: scene inputs of these clips, float [B, T, S, C].
        """
        num_encoded, num_clips = len(history.clips), chunks_BTFA.shape[1]
        steps, device = self.config.steps_per_clip, history.next_time.device
        num_past = num_encoded + num_clips - 1
        whole = timeline_of_clips(self.config, num_past, torch.tensor([num_past], device=device))
        timeline = whole.span(num_encoded * steps, (num_past + 1) * steps)
        # Rows may differ in age.
        elapsed = (history.next_time - num_encoded)[:, None] * steps
        timeline = timeline._replace(
            video_positions=timeline.video_positions + elapsed, action_positions=timeline.action_positions + elapsed
        )
        visible = history_visibility(timeline.clips, whole.clips) if num_clips > 1 else None
        return self._context(chunks_BTFA.flatten(1, 2), timeline, visible, history, scene_BTSC)

    def next_features(self, context: PassContext, clips_BTLHW: Tensor) -> tuple[Tensor, tuple[KeyValues, ...]]:
        """Computes the features that the head predicts the last clip's tokens from, and encodes the clips before it.

        Args:
            context: from `prepare_next`.
            clips_BTLHW: tokens of its clips, int [B, T, 3, H, W]; `config.mask_token` where unknown.

        Returns:
            Features of the last clip, float [B, L, S, D]; L is 1 if a position's latents share one vector. And the
            encodings of the T - 1 known clips.
        """
        batch, num_clips = clips_BTLHW.shape[:2]
        at_once = max(1, VECTORS_AT_ONCE // (num_clips * self.config.num_positions))
        if clips_BTLHW.device.type != "cpu":
            at_once = batch

        def of_rows(start: int) -> tuple[Tensor, tuple[KeyValues, ...]]:
            encodings = ClipEncodings(self.config, num_clips - 1)
            part = context if batch <= at_once else context.of_rows(start, start + at_once)
            features = self._run(part, clips_BTLHW[start : start + at_once], encodings)
            return self.norm(features[:, part.places.num_past :]), encodings.clips

        parts = side_by_side(of_rows, range(0, batch, at_once))
        if len(parts) == 1:
            return parts[0]
        features, encoded = zip(*parts, strict=True)
        return torch.cat(features), joined(encoded)

    def _context(
        self,
        actions: Tensor,
        timeline: Timeline,
        visible: Tensor | None,
        history: EncodedHistory | None = None,
        scene_BTSC: Tensor | None = None,
    ) -> PassContext:
        """Prepares a pass over the clips of a timeline from their actions, float [B, 17 * T, 25]."""
        config = self.config
        condition_BND = self.actions(actions)
        offset, actions_BND = self._position_vectors(timeline.slots), condition_BND
        if config.position_embedding == "window":
            actions_BND = actions_BND + self.action_positions[timeline.slots]
        added = torch.zeros_like(condition_BND[:1]) if config.action_injection == "attention" else condition_BND
        if config.stream_type_embedding:
            is_future = (torch.arange(len(timeline.clips), device=timeline.clips.device) >= timeline.num_past).long()
            added, actions_BND = added + self.streams[is_future], actions_BND + self.streams[2 + is_future]
        video_offset = offset + added.unsqueeze(2)
        check_scene_inputs(config, scene_BTSC, len(condition_BND), len(timeline.clips) // config.steps_per_clip)
        if self.scene is not None:
            video_offset = video_offset + self.scene(scene_BTSC)
        return PassContext(
            video_offset,
            actions_BND,
            self._places(timeline, visible, follows=history is not None and bool(history.clips)),
            tuple(block.scales_shifts(condition_BND) for block in cast(Iterable[Block], self.blocks)),
            tuple(() if history is None else history.of_layer(layer) for layer in range(config.num_layers)),
        )

    def _places(self, timeline: Timeline, visible: Tensor | None, *, follows: bool) -> Places:
        config = self.config
        video, actions = (
            rotation(temporal_angles(positions, config.head_width, config.rope_base).unsqueeze(-3))
            for positions in (timeline.video_positions, timeline.action_positions)
        )
        over_grid = (video[0].unsqueeze(-4), video[1].unsqueeze(-4))
        return Places(
            timeline.num_past,
            Rotations((self.rotation_cos, self.rotation_sin), over_grid, actions),
            visible,
            timeline.before(config.steps_per_clip, follows=follows),
        )

    def _run(
        self,
        context: PassContext,
        tokens_BTLHW: Tensor,
        encodings: ClipEncodings | None = None,
        *,
        compiled: bool = True,
    ) -> Tensor:
        """Runs all blocks.

        Args:
            context: of the pass.
            tokens_BTLHW: tokens of its clips, int [B, T, L, H, W].
            encodings: collects each layer's keys and values.
            compiled: whether to use the blocks' compiled code, if there is any.

        Returns:
            Video features [B, N, S, D].
        """
        video_BNSD: Tensor = self.tokens(tokens_BTLHW) + context.video_offset
        actions_BND = context.actions
        for layer, (block, scales_shifts, past) in enumerate(
            zip(self.blocks, context.scales_shifts, context.past, strict=True)
        ):
            run = partial(block if compiled else block.forward, scales_shifts=scales_shifts, past=past)
            inputs = video_BNSD, actions_BND, context.places
            if self.checkpoint_activations and torch.is_grad_enabled():
                outputs = checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                outputs = run(*inputs)
            video_BNSD, actions_BND, own = outputs
            if encodings is not None:
                encodings.keep(layer, own)
        return video_BNSD

    def _position_vectors(self, slots: Tensor) -> Tensor:
        """Returns the learned position vectors, [N, S, D] or [S, D]."""
        if self.config.position_embedding == "window":
            return self.positions[slots]
        return self.positions[slots % LATENTS_PER_CLIP] if self.positions.ndim == 3 else self.positions
