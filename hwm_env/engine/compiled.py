"""The engine that computes in OpenVINO, row by row."""

from typing import Any

import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import Decoded
from hwm_env.engine.base import Prediction
from hwm_env.engine.eager import EagerEngine
from hwm_env.engine.functions import Encoding, key_of, row_functions
from hwm_env.engine.openvino import OpenVINOFunction
from hwm_env.errors import InvalidInputError, require_extra
from hwm_env.model.history import EncodedHistory
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.world_state import WorldState


class CompiledEngine:
    """An `Engine` for full histories; PyTorch encodes histories, and predicts where one is still short.

    Its numbers differ from those of PyTorch by rounding.

    Args:
        eager: the same in PyTorch, in float32.

    Raises:
        InvalidInputError: the checkpoint or a setting is not supported.
        MissingExtraError: OpenVINO is not installed.
    """

    def __init__(self, eager: EagerEngine) -> None:
        require_extra("openvino", "engine")
        check_supported(eager.checkpoint, eager.decoding)
        self._eager = eager
        self._num_past_clips = eager.model.config.num_past_clips
        self._encoding = Encoding(eager.model)
        functions = row_functions(eager.checkpoint, eager.decoding)

        def compiled(name: str) -> OpenVINOFunction:
            return OpenVINOFunction(functions[name], name, key_of(name, eager.checkpoint, eager.decoding))

        self._clip = compiled("clip")
        self._move = compiled("scene") if "scene" in functions else None

    def rows_alone(self, state: WorldState) -> bool:
        """Returns whether OpenVINO computes the state's next step, see `Engine`."""
        is_full = state.tokens.shape[1] == self._num_past_clips
        return is_full and (self._eager.scene is None or state.belief is not None)

    def encoded(self, state: WorldState) -> EncodedHistory | None:
        """Returns the encoded history that is kept for a state, see `Engine`; rows do not depend on each other."""
        if state.encoded is not None:
            return state.encoded
        rows = [self._eager.encoded(state.select([row])) for row in range(len(state))]
        return EncodedHistory.join([row for row in rows if row is not None])

    def predicted(self, state: WorldState, chunk_BFA: Tensor) -> Prediction:
        """Predicts the next clip of each row, see `Engine`."""
        encoded, scene, belief, path = self.encoded(state), self._eager.scene, None, None
        if encoded is None or not self.rows_alone(state):
            return self._eager.predicted(state, chunk_BFA)
        inputs = self._encoding.by_row(*encoded.clips)
        inputs += [encoded.next_time, state.tokens[:, -1], torch.stack([state.actions[:, -1], chunk_BFA], dim=1)]
        following_scene, newest_scene = None, self._eager.newest_scene_inputs(state, encoded)
        if self._move is not None and scene is not None and state.belief is not None:
            weights = chunk_BFA.new_tensor(scene.own_weights(state.step_indices))
            path, poses, covariances, *about_clip = self._move(*state.belief, chunk_BFA, weights)
            belief = PoseBelief(poses, covariances)
            if newest_scene is not None:
                following_scene = about_clip.pop()
                about_clip.append(torch.stack([newest_scene, following_scene], dim=1))
            inputs += about_clip
        uniforms = self._eager.uniforms(state)
        outputs = self._clip(*inputs, *(() if uniforms is None else (uniforms,)))
        after = encoded.followed_by(self._encoding.of_rows(outputs[3:])).newest(self._num_past_clips - 1)
        return Prediction(Decoded(*outputs[:3]), after._replace(following_scene=following_scene), belief, path)


def check_supported(checkpoint: Checkpoint, decoding: DecodingConfig) -> None:
    """Checks that a checkpoint and settings can be exported.

    Raises:
        InvalidInputError: they cannot; names what to choose instead.
    """
    config = checkpoint.model.config
    device = next(checkpoint.model.parameters()).device.type
    requirements: tuple[tuple[bool, str, Any, str], ...] = (
        (device == "cpu", "device", device, "device='cpu'"),
        (decoding.steps > 0, "decoding steps", 0, "1 or more"),
        (decoding.history == "streaming", "history", decoding.history, "history='streaming'"),
        (
            isinstance(checkpoint.tokenizer, TinyTokenizer),
            "tokenizer",
            type(checkpoint.tokenizer).__name__,
            "a checkpoint with a built-in tokenizer (TinyTokenizer)",
        ),
        (
            config.codebook_head == "factored",
            "codebook_head",
            config.codebook_head,
            "a model with codebook_head 'factored'",
        ),
        (config.num_past_clips > 1, "num_past_clips", config.num_past_clips, "a model with two or more past clips"),
    )
    for is_supported, name, given, choice in requirements:
        if not is_supported:
            raise InvalidInputError(
                f"backend 'openvino' and exports do not support {name} {given!r}; choose {choice}, or backend 'torch'"
            )
