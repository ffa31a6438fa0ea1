"""MaskedHWM: a masked video transformer that predicts a clip's tokens from past clips and from actions.

After "Humanoid World Models" (arXiv 2506.01182), with the options that MaskedHWMConfig names.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hwm_env.errors import InvalidInputError
from hwm_env.model.attention import KeyValues, Rotations
from hwm_env.model.block import Block
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.embedding import EMBEDDING_STD, SceneEmbedding, TableEmbedding, action_embedding, token_embedding
from hwm_env.model.heads import CodebookHead
from hwm_env.model.history import EncodedHistory, Setting
from hwm_env.model.linear import initialise
from hwm_env.model.masking import clip_causal_visibility, history_visibility
from hwm_env.model.rope import rotation, spatial_angles, temporal_angles
from hwm_env.model.timeline import Timeline, timeline_of_clips, timeline_within_clip
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, FRAMES_PER_LATENT, LATENTS_PER_CLIP

ROWS_AT_ONCE = 1024
"""Vectors of past video that are encoded at once: enough to keep a processor busy, few enough for its caches."""


class MaskedHWM(nn.Module):
    """Masked Humanoid World Model.

    Runs wherever its inputs are; all randomness of initialisation comes from `generator`.

    With a `scene_width`, it is given what a scene tells of each clip, past and future, wherever it is given the clip's
    actions; see `Scene.inputs`.

    Attributes:
        config: what it was built with.
        checkpoint_activations: in training, keep the inputs of the blocks only and run each block again for its
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
        self.positions = nn.Parameter(torch.empty(*_position_shape(config), config.width))
        if config.position_embedding == "window":
            self.action_positions = nn.Parameter(torch.empty(_num_slots(config), config.width))
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
        """Logits of the future video's tokens, in one pass over all clips.

        With `past_latents` = n, past and future are parts of one clip: the shapes below with T = 1, the past with n
        latents and their 1 or 9 frames of actions, the future with the rest.

        Args:
            v_p: past tokens, int [B, 3, T_p, H, W].
            v_f: future tokens, int [B, 3, T_f, H, W]; `config.mask_token` where unknown.
            a_p: past actions, float [B, 17 * T_p, 25], physical units.
            a_f: future actions, float [B, 17 * T_f, 25].
            scene_p: what a scene tells of the past, float [B, T_p, S, C].
            scene_f: what it tells of the future, float [B, T_f, S, C].

        Returns:
            float [3, B, T_f, H, W, V]; log-probabilities where `codebook_head` is "factored".

        Raises:
            InvalidInputError: a shape does not fit the others or the configuration.
        """
        self._check(v_p, v_f, a_p, a_f)
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
        """Digit logits of the future clips, in one pass over all clips.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W]; their clip times are 0..T_p-1.
            future_BTLHW: future tokens, int [B, T_f, 3, H, W].
            a_p: past actions, float [B, 17 * T_p, 25].
            a_f: future actions, float [B, 17 * T_f, 25].
            future_times: int [T_f], clip times of the future clips.
            parallel_targets: each future clip is a target of its own (see `clip_causal_visibility`).
            scene_p: what a scene tells of the past, float [B, T_p, S, C].
            scene_f: what it tells of the future, float [B, T_f, S, C].

        Returns:
            float [B, T_f, 3, H, W, n], n outputs a token (the sum of `config.head_levels`).

        Raises:
            InvalidInputError: parallel targets, and the configuration lets the past see the future.
        """
        num_past = past_BTLHW.shape[1]
        setting = self.prepare(
            num_past, a_p, a_f, future_times, parallel_targets=parallel_targets, scene_p=scene_p, scene_f=scene_f
        )
        digit_logits: Tensor = self.head(self.future_features(setting, past_BTLHW, future_BTLHW))
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
    ) -> Setting:
        """All that predicting future clips in one pass over all clips needs but tokens; see `predict`."""
        config = self.config
        if config.past_latents is None:
            line = timeline_of_clips(config, num_past, future_times)
        else:
            line = timeline_within_clip(config, future_times.device)
        told = [part for part in (scene_p, scene_f) if part is not None]
        return self._setting(
            self.actions(torch.cat([a_p, a_f], dim=1)),
            line,
            self._visible(line, parallel_targets),
            scene_BTSC=torch.cat(told, dim=1) if told else None,
        )

    def future_features(self, setting: Setting, past_BTLHW: Tensor, future_BTLHW: Tensor) -> Tensor:
        """What the head reads the future's tokens from.

        Args:
            setting: from `prepare`.
            past_BTLHW: past tokens, int [B, T_p, 3, H, W].
            future_BTLHW: future tokens, int [B, T_f, 3, H, W].

        Returns:
            float [B, T_f, L, S, D], L being 1 if a position's latents share it.
        """
        along = 1 if self.config.past_latents is None else 2
        features = self._run(setting, torch.cat([past_BTLHW, future_BTLHW], dim=along))
        future = self.norm(features[:, setting.num_past :])
        by_clip: Tensor = rearrange(future, "b (t l) s d -> b t l s d", t=future_BTLHW.shape[1])
        return by_clip

    def encode_history(self, past_BTLHW: Tensor, a_p: Tensor, *, scene_p: Tensor | None = None) -> EncodedHistory:
        """Encodes the past once for many predictions: each clip sees all of the given clips up to itself.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W].
            a_p: past actions, float [B, 17 * T_p, 25].
            scene_p: what a scene tells of the past, float [B, T_p, S, C].

        Raises:
            InvalidInputError: the past of this model depends on the future.
        """
        self._check_history()
        batch, num_past = past_BTLHW.shape[:2]
        steps = self.config.steps_per_clip
        line = timeline_of_clips(self.config, num_past, torch.tensor([num_past], device=past_BTLHW.device))
        history = EncodedHistory((), torch.full((batch,), num_past, device=past_BTLHW.device))
        at_once = max(1, ROWS_AT_ONCE // (batch * self.config.num_positions))
        chunks = rearrange(a_p, "b (t f) a -> b t f a", f=FRAMES_PER_CLIP)
        for start in range(0, num_past, at_once):
            stop = min(start + at_once, num_past)
            places = line.span(start * steps, stop * steps)
            visible = history_visibility(places.clips, line.clips[: stop * steps])
            told = None if scene_p is None else scene_p[:, start:stop]
            clips = self._encode(past_BTLHW[:, start:stop], chunks[:, start:stop], places, visible, history, told)
            history = history._replace(clips=history.clips + clips)
        return history

    def append_clip(
        self, history: EncodedHistory, clip_BLHW: Tensor, chunk_BFA: Tensor, *, scene_BSC: Tensor | None = None
    ) -> EncodedHistory:
        """The history after one more clip, which is encoded as it sees the clips that remain; nothing else changes.

        A full history drops its oldest clip first. So each clip was encoded when it was the newest, and has seen the
        `num_past_clips` - 1 clips before it; the clips of `encode_history` have seen fewer.

        Args:
            history: from `encode_history` or this.
            clip_BLHW: tokens of the clip, int [B, 3, H, W].
            chunk_BFA: its actions, float [B, 17, 25].
            scene_BSC: what a scene tells of it, float [B, S, C].

        Raises:
            InvalidInputError: the model's positions are bound to a fixed window.
        """
        self._check_appending()
        surplus = max(0, len(history.clips) + 1 - self.config.num_past_clips)
        kept = history._replace(clips=history.clips[surplus:])
        line = self._next_places(kept)._replace(num_past=self.config.steps_per_clip)
        told = None if scene_BSC is None else scene_BSC.unsqueeze(1)
        clips = self._encode(clip_BLHW.unsqueeze(1), chunk_BFA.unsqueeze(1), line, None, kept, told)
        return EncodedHistory(kept.clips + clips, history.next_time + 1)

    def prepare_next(self, history: EncodedHistory, chunk_BFA: Tensor, *, scene_BSC: Tensor | None = None) -> Setting:
        """All that predicting the clip after the history needs but its tokens.

        Args:
            history: from `encode_history` or `append_clip`.
            chunk_BFA: the clip's actions, float [B, 17, 25].
            scene_BSC: what a scene tells of the clip, float [B, S, C].
        """
        told = None if scene_BSC is None else scene_BSC.unsqueeze(1)
        return self._setting(self.actions(chunk_BFA), self._next_places(history), None, history, told)

    def next_features(self, setting: Setting, next_BLHW: Tensor) -> Tensor:
        """What the head reads the next clip's tokens from: `future_features` with one future clip.

        Args:
            setting: from `prepare_next`.
            next_BLHW: tokens of the next clip, int [B, 3, H, W], `config.mask_token` where unknown.

        Returns:
            float [B, L, S, D], L being 1 if a position's latents share it.
        """
        features = self._run(setting, next_BLHW.unsqueeze(1))
        normalised: Tensor = self.norm(features)
        return normalised

    def _encode(
        self,
        clips_BTLHW: Tensor,
        chunks_BTFA: Tensor,
        line: Timeline,
        visible: Tensor | None,
        history: EncodedHistory,
        scene_BTSC: Tensor | None,
    ) -> tuple[KeyValues, ...]:
        """Keys and values of clips that follow the history's."""
        config = self.config
        clips: list[KeyValues] = []

        def keep(layer: int, own: KeyValues) -> None:
            parts = own.split(config.steps_per_clip)
            if not clips:
                clips.extend(
                    KeyValues(*(field.new_empty(config.num_layers, *field.shape) for field in part)) for part in parts
                )
            for clip, part in zip(clips, parts, strict=True):
                for whole, field in zip(clip, part, strict=True):
                    whole[layer] = field

        setting = self._setting(self.actions(chunks_BTFA.flatten(1, 2)), line, visible, history, scene_BTSC)
        self._run(setting, clips_BTLHW, keep)
        return tuple(clips)

    def _next_places(self, history: EncodedHistory) -> Timeline:
        """The timeline of the clip that follows the history, whose worlds may differ in age."""
        steps, num_past = self.config.steps_per_clip, len(history.clips)
        device = history.next_time.device
        line = timeline_of_clips(self.config, num_past, torch.tensor([num_past], device=device))
        line = line.span(num_past * steps, (num_past + 1) * steps)
        elapsed = (history.next_time - num_past)[:, None] * steps
        return line._replace(
            video_positions=line.video_positions + elapsed, action_positions=line.action_positions + elapsed
        )

    def _setting(
        self,
        condition_BND: Tensor,
        line: Timeline,
        visible: Tensor | None,
        history: EncodedHistory | None = None,
        scene_BTSC: Tensor | None = None,
    ) -> Setting:
        config = self.config
        offset, acting = self._position_vectors(line.slots), condition_BND
        if config.position_embedding == "window":
            acting = acting + self.action_positions[line.slots]
        added = torch.zeros_like(condition_BND[:1]) if config.action_injection == "attention" else condition_BND
        if config.stream_type_embedding:
            is_future = (torch.arange(len(line.clips), device=line.clips.device) >= line.num_past).long()
            added, acting = added + self.streams[is_future], acting + self.streams[2 + is_future]
        video_offset = offset + added.unsqueeze(2)
        self._check_scene(scene_BTSC, len(condition_BND), len(line.clips) // config.steps_per_clip)
        if self.scene is not None:
            video_offset = video_offset + self.scene(scene_BTSC)
        rotations = [
            rotation(temporal_angles(positions, config.head_width, config.rope_base).unsqueeze(-3))
            for positions in (line.video_positions, line.action_positions)
        ]
        over_grid = (rotations[0][0].unsqueeze(-4), rotations[0][1].unsqueeze(-4))
        past = [() if history is None else history.of_layer(layer) for layer in range(config.num_layers)]
        return Setting(
            video_offset,
            acting,
            tuple(block.scales_shifts(condition_BND) for block in cast(Iterable[Block], self.blocks)),
            Rotations((self.rotation_cos, self.rotation_sin), over_grid, rotations[1]),
            visible,
            line.before(config.steps_per_clip, follows=history is not None and bool(history.clips)),
            line.num_past,
            tuple(past),
        )

    def _run(
        self, setting: Setting, tokens_BTLHW: Tensor, keep: Callable[[int, KeyValues], None] | None = None
    ) -> Tensor:
        """Runs all blocks: video features [B, N, S, D]. `keep` is given each layer's keys and values."""
        video: Tensor = self.tokens(tokens_BTLHW) + setting.video_offset
        acting = setting.actions
        for layer, (block, scales_shifts, past) in enumerate(
            zip(self.blocks, setting.scales_shifts, setting.past, strict=True)
        ):
            # Compiled blocks are for decoding: the past grows clip by clip, and each length would be compiled anew.
            run = block if keep is None else block.forward
            inputs = (
                *(video, acting, scales_shifts, setting.num_past, setting.rotations, setting.visible),
                *(setting.before, past),
            )
            if self.checkpoint_activations and torch.is_grad_enabled():
                video, acting, own = checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                video, acting, own = run(*inputs)
            if keep is not None:
                keep(layer, own)
        return video

    def _position_vectors(self, slots: Tensor) -> Tensor:
        """Learned position vectors, [N, S, D] or [S, D]."""
        if self.config.position_embedding == "window":
            return self.positions[slots]
        return self.positions[slots % LATENTS_PER_CLIP] if self.positions.ndim == 3 else self.positions

    def _visible(self, line: Timeline, parallel_targets: bool) -> Tensor | None:
        config = self.config
        # In a fixed window, a target's place in it changes with the number of clips before it.
        if parallel_targets and (config.temporal_mask, config.temporal_positions, config.position_embedding) != (
            "clip_causal",
            "time",
            "grid",
        ):
            raise InvalidInputError(
                "parallel targets need temporal_mask 'clip_causal', temporal_positions 'time' and position_embedding "
                f"'grid', got {config.temporal_mask!r}, {config.temporal_positions!r} and "
                f"{config.position_embedding!r}; predict with parallel_targets=False"
            )
        if config.temporal_mask == "bidirectional":
            return None
        past, future = line.clips[: line.num_past], line.clips[line.num_past :]
        return clip_causal_visibility(past, future, parallel_targets=parallel_targets)

    def _check_scene(self, scene_BTSC: Tensor | None, batch: int, clips: int) -> None:
        config = self.config
        if config.scene_width == 0:
            if scene_BTSC is not None:
                raise InvalidInputError(
                    "this model has scene_width 0 and no place for what a scene tells, got numbers of shape "
                    f"{tuple(scene_BTSC.shape)}; leave them out"
                )
            return
        expected = (batch, clips, config.num_positions, config.scene_width)
        given = None if scene_BTSC is None else tuple(scene_BTSC.shape)
        if given != expected:
            raise InvalidInputError(
                f"this model has scene_width {config.scene_width}: what a scene tells of past and future clips must "
                f"have shape {expected}, got {given}; see Scene.inputs"
            )

    def _check_history(self) -> None:
        config = self.config
        if config.temporal_mask == "bidirectional" or config.past_latents is not None:
            raise InvalidInputError(
                "a history that is encoded once needs temporal_mask 'clip_causal' and past_latents None, got "
                f"{config.temporal_mask!r} and {config.past_latents}; use future_features, which takes past and future"
            )

    def _check_appending(self) -> None:
        config = self.config
        if config.temporal_positions == "concat" or config.position_embedding == "window":
            raise InvalidInputError(
                "appending to a history needs temporal_positions 'time' and position_embedding 'grid', got "
                f"{config.temporal_positions!r} and {config.position_embedding!r}: there a clip's place in the window "
                "changes what it was encoded to; encode the whole history anew"
            )

    def _check(self, v_p: Tensor, v_f: Tensor, a_p: Tensor, a_f: Tensor) -> None:
        config = self.config
        past_latents = LATENTS_PER_CLIP if config.past_latents is None else config.past_latents
        first_frame = 0 if config.past_latents is None else sum(FRAMES_PER_LATENT[: config.past_latents])
        for name, video, actions, latents, frames, limit in (
            ("past", v_p, a_p, past_latents, first_frame or FRAMES_PER_CLIP, config.num_past_clips),
            ("future", v_f, a_f, config.future_latents, FRAMES_PER_CLIP - first_frame, config.num_future_clips),
        ):
            expected = (len(v_p), latents, video.shape[2] if video.ndim == 5 else "T", *config.grid_size)
            if tuple(video.shape) != expected:
                raise InvalidInputError(f"{name} video must have shape {expected}, got {tuple(video.shape)}")
            wanted = (len(v_p), frames * video.shape[2], ACTION_DIM)
            if tuple(actions.shape) != wanted:
                raise InvalidInputError(f"{name} actions must have shape {wanted}, got {tuple(actions.shape)}")
            if not 1 <= video.shape[2] <= limit:
                raise InvalidInputError(
                    f"the {name} must have 1 to {limit} clips (num_{name}_clips), got {video.shape[2]}; leave out "
                    f"{'the oldest' if name == 'past' else 'the last'} ones"
                )


def _num_slots(config: MaskedHWMConfig) -> int:
    """Places of the window of past and future clips."""
    if config.past_latents is not None:
        return LATENTS_PER_CLIP
    return (config.num_past_clips + config.num_future_clips) * config.steps_per_clip


def _position_shape(config: MaskedHWMConfig) -> tuple[int, ...]:
    """Learned positions: of the grid, or of the grid at each place."""
    if config.position_embedding == "window":
        return (_num_slots(config), config.num_positions)
    return (config.num_positions,) if config.latent_layout == "stacked" else (LATENTS_PER_CLIP, config.num_positions)
