"""The engine that computes in PyTorch, as the code is written."""

import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.cache import NextClip, WholeWindow, encode_all_but_newest, next_clip
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import Decoded, decode_clip
from hwm_env.decoding.noise import row_uniforms
from hwm_env.engine.base import Prediction
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.types import LATENTS_PER_CLIP
from hwm_env.world_state import WorldState


class EagerEngine:
    """An `Engine` for all checkpoints and settings.

    Args:
        checkpoint: checkpoint to simulate.
        model: its world model, perhaps in another precision.
        decoding: settings of decoding.
    """

    def __init__(self, checkpoint: Checkpoint, model: MaskedHWM, decoding: DecodingConfig) -> None:
        self.checkpoint = checkpoint
        self.model = model
        self.scene = checkpoint.scene
        self.decoding = decoding

    def rows_alone(self, state: WorldState) -> bool:
        """Returns `False`, see `Engine`."""
        return False

    def encoded(self, state: WorldState) -> EncodedHistory | None:
        """Returns the encoded history that is kept for a state, see `Engine`."""
        if self.decoding.history == "window":
            return None
        if state.encoded is not None:
            return state.encoded
        return encode_all_but_newest(self.model, state.tokens, state.actions, self.scene_inputs(state))

    def predicted(self, state: WorldState, chunk_BFA: Tensor) -> Prediction:
        """Predicts the next clip of each row, see `Engine`."""
        # Without a scene, a state that had one loses its pose.
        belief, path, scene_BSC = None if self.scene is None else state.belief, None, None
        if self.scene is not None and belief is not None:
            path = self.scene.path(belief, chunk_BFA)
            belief = self.scene.carried(belief, path)
            scene_BSC = self.scene.inputs(path, chunk_BFA) if self.model.config.scene_width else None
        predictor = self._predictor(state, chunk_BFA, scene_BSC)
        decoded = self._decode(predictor, state, chunk_BFA, path)
        return Prediction(decoded, self._kept(predictor, scene_BSC), belief, path)

    def newest_scene_inputs(self, state: WorldState, encoded: EncodedHistory) -> Tensor | None:
        """Returns the scene inputs of the newest clip, [B, S, C]; `None` if none are read."""
        if encoded.following_scene is not None:
            return encoded.following_scene
        newest = self.scene_inputs(state, newest=1)
        return None if newest is None else newest[:, 0]

    def uniforms(self, state: WorldState) -> Tensor | None:
        """Returns the random numbers of the next clip, [B, *noise_shape]; `None` if none are needed."""
        shape = self.decoding.noise_shape(self.model.config)
        return None if shape is None else row_uniforms(state.seeds, state.step_indices, shape, state.tokens.device)

    def _kept(self, predictor: NextClip | WholeWindow, scene_BSC: Tensor | None) -> EncodedHistory | None:
        """Returns the encoded history to keep after a clip, which becomes the newest one and has these scene inputs."""
        if self.decoding.history == "window" or isinstance(predictor, WholeWindow):
            return None
        return predictor.history.newest(self.model.config.num_past_clips - 1)._replace(following_scene=scene_BSC)

    def scene_inputs(self, state: WorldState, newest: int = 0) -> Tensor | None:
        """Returns scene inputs of the history's newest clips, or all for 0: [B, T, S, C]; `None` if none are read."""
        if self.scene is None or state.paths is None:
            return None
        paths, actions = state.paths[:, -newest:], state.actions[:, -newest:]
        inputs = self.scene.inputs(paths.flatten(0, 1), actions.flatten(0, 1))
        by_row: Tensor = inputs.unflatten(0, paths.shape[:2])
        return by_row

    def _predictor(self, state: WorldState, chunk: Tensor, scene_BSC: Tensor | None) -> NextClip | WholeWindow:
        encoded = self.encoded(state)
        if encoded is None:
            scene_p = self.scene_inputs(state)
            return next_clip(self.model, state.tokens, state.actions, chunk, scene_p=scene_p, scene_BSC=scene_BSC)
        chunks, scene_BTSC = torch.stack([state.actions[:, -1], chunk], dim=1), None
        if scene_BSC is not None:
            newest = self.newest_scene_inputs(state, encoded)
            scene_BTSC = None if newest is None else torch.stack([newest, scene_BSC], dim=1)
        return NextClip(self.model, encoded, state.tokens[:, -1], chunks, scene_BTSC)

    def _decode(
        self, predictor: NextClip | WholeWindow, state: WorldState, chunk: Tensor, path: Tensor | None
    ) -> Decoded:
        model, prior = self.model, None
        if self.scene is not None and path is not None and self.scene.mixes(state.step_indices):
            prior = self.scene.prior(path, chunk, state.step_indices)
        return decode_clip(
            predictor,
            model.head,
            (len(state), LATENTS_PER_CLIP, *model.config.grid_size),
            self.decoding,
            self.uniforms(state),
            state.tokens.device,
            num_codes=self.checkpoint.tokenizer.codebook_size,
            prior=prior,
        )
