"""The engine without decoding steps: the scene alone predicts a clip, in PyTorch."""

import torch
from torch import Tensor

from hwm_env.decoding.maskgit import Decoded
from hwm_env.decoding.sampling import sample_tokens
from hwm_env.engine.base import Prediction
from hwm_env.engine.eager import EagerEngine
from hwm_env.errors import InvalidInputError
from hwm_env.model.history import EncodedHistory
from hwm_env.scene.scene import Scene
from hwm_env.world_state import WorldState


class SceneEngine:
    """An `Engine` that draws a clip's tokens from the scene's logits. Where the pose is unknown, another one predicts.

    Args:
        scene: the scene; `None` raises an error.
        elsewhere: predicts where the pose is unknown.

    Raises:
        InvalidInputError: there is no scene.
    """

    def __init__(self, scene: Scene | None, elsewhere: EagerEngine) -> None:
        if scene is None:
            raise InvalidInputError(
                "decoding steps must be at least 1 for a checkpoint without a scene, got 0, with which the scene alone "
                "predicts clips"
            )
        self._scene = scene
        self._elsewhere = elsewhere

    def rows_alone(self, state: WorldState) -> bool:
        """Returns `False`, see `Engine`."""
        return False

    def encoded(self, state: WorldState) -> EncodedHistory | None:
        """Returns `None`: no history is kept, see `Engine`."""
        return None

    def predicted(self, state: WorldState, chunk_BFA: Tensor) -> Prediction:
        """Predicts the next clip of each row, see `Engine`."""
        if state.belief is None:
            return self._elsewhere.predicted(state, chunk_BFA)
        path = self._scene.path(state.belief, chunk_BFA)
        # Each part computes all rows, so that a strict row does not depend on whether the others' poses are known.
        is_known, parts = state.belief.known, []
        if is_known.any():
            parts.append(self._drawn(state, path, chunk_BFA))
        if not is_known.all():
            parts.append(self._elsewhere.predicted(state, chunk_BFA).decoded)
        decoded = Decoded(
            *(torch.where(is_known.view(-1, 1, 1, 1), part[0], part[-1]) for part in zip(*parts, strict=True))
        )
        return Prediction(decoded, None, self._scene.carried(state.belief, path), path)

    def _drawn(self, state: WorldState, path_BF: Tensor, chunk_BFA: Tensor) -> Decoded:
        """Draws tokens from the scene's logits; arbitrary ones where the pose is unknown."""
        logits = self._scene.clip_logits(path_BF, chunk_BFA)
        uniforms = self._elsewhere.uniforms(state)
        drawn = sample_tokens(
            self._scene.model.head,
            logits.flatten(0, 2),
            None if uniforms is None else uniforms[:, 0].flatten(0, 1),
            self._elsewhere.decoding,
            self._elsewhere.checkpoint.tokenizer.codebook_size,
        )
        return Decoded(*(part.view_as(state.tokens[:, -1]) for part in drawn))
