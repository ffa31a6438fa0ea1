"""A scene: what a checkpoint knows of its room, and how the simulator uses it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import torch
from annotated_types import Len
from einops import rearrange
from torch import Tensor, nn

from hwm_env.decoding.prior import Prior
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Positive, Share, from_json, short
from hwm_env.model.identity import identity_of, joint_identity
from hwm_env.scene.belief import PoseBelief
from hwm_env.scene.camera import CameraLink
from hwm_env.scene.localiser import first_step
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import CLIPS_AT_ONCE, KEYFRAMES, SceneConfig, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.pose import wrap_angle
from hwm_env.types import LATENTS_PER_CLIP

VERSION: Final = 1
TURN_M_RAD: Final = 2.0
"""A turn counts like the way of a point at this distance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneUse(CheckedFields):
    """How a simulator uses a scene."""

    history_weights: Annotated[tuple[Share, ...], Len(1)] = (0.5, 0.3, 0.2, 0.1)
    """Weight of the masked model's logits, which come from the history, beside the scene's: at the first env step after
    a recorded clip, at the second, and so on; the last one holds from then on. (1.0,) mixes nothing in, which is for a
    masked model that reads what the scene tells (`MaskedHWMConfig.scene_width`)."""
    unknown_above: Positive | None = None
    """Clips whose loss at the likeliest pose is above this, nats a token, show another place than the map's; None: no
    bound was calibrated, and every place counts as known."""


class Scene(nn.Module):
    """The scene model and the odometry of one room, trained; see `SceneModel` and `Odometry`."""

    def __init__(self, model: SceneModel, odometry: Odometry, use: SceneUse) -> None:
        super().__init__()
        self.model = model
        self.odometry = odometry
        self.use = use

    @property
    def identity(self) -> str:
        """Hash of the weights, and of what `to_config` returns: 16 hexadecimal digits."""
        return joint_identity(identity_of(self), json.dumps(self.to_config(), sort_keys=True))

    def to_config(self) -> dict[str, Any]:
        """Returns the shapes and settings as JSON; `from_config` restores them, without weights."""
        model = asdict(self.model.config)
        if not model["limbs"]:
            # So that scenes of before there were limbs keep their identity.
            del model["limbs"]
        return {
            "version": VERSION,
            "model": model,
            "odometry": asdict(self.odometry.config),
            "use": asdict(self.use),
        }

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> "Scene":
        """Builds an untrained scene from what `to_config` returned.

        Raises:
            InvalidInputError, KeyError, TypeError: see `read_config`.
        """
        return cls.build(*cls.read_config(content))

    @classmethod
    def build(cls, model: SceneConfig, odometry: OdometryConfig, use: SceneUse) -> "Scene":
        """Builds an untrained scene of these shapes."""
        return cls(SceneModel(model), Odometry(odometry), use)

    @staticmethod
    def read_config(content: Mapping[str, Any]) -> tuple[SceneConfig, OdometryConfig, SceneUse]:
        """Returns the shapes and settings that `to_config` returned.

        Raises:
            InvalidInputError: a value is not allowed, or the version is another.
            KeyError, TypeError: a part is missing, or something else.
        """
        if content["version"] != VERSION:
            raise InvalidInputError(f"expected a scene of version {VERSION}, got {short(content['version'])}")
        model = dict(content["model"])
        links = model["camera"] and [from_json(CameraLink, link) for link in model["camera"]]
        limbs = [tuple(from_json(CameraLink, link) for link in limb) for limb in model.get("limbs", ())]
        room = from_json(MapConfig, model["map"])
        config = from_json(SceneConfig, {**model, "camera": links, "limbs": limbs, "map": room})
        return config, from_json(OdometryConfig, content["odometry"]), from_json(SceneUse, content["use"])

    @torch.no_grad()
    def path(self, belief: PoseBelief, chunk_BFA: Tensor) -> Tensor:
        """Returns the poses [B, 17, 3] of the next clip's frames; actions [B, 17, 25]. NaN where unknown."""
        poses = self.odometry(belief.poses.nan_to_num(), chunk_BFA)
        path: Tensor = poses.masked_fill(~belief.known[:, None, None], torch.nan)
        return path

    @property
    def input_width(self) -> int:
        """Numbers that `inputs` tells of each grid position (C)."""
        config = self.model.config
        return config.width + LATENTS_PER_CLIP * sum(config.fsq_levels)

    @torch.no_grad()
    def inputs(self, path_BF: Tensor, chunk_BFA: Tensor) -> Tensor:
        """Returns what the scene tells a masked model of clips: features, and log-probabilities of the tokens' digits.

        Args:
            path_BF: poses of the clips' frames, float [B, 17, 3]; NaN where unknown.
            chunk_BFA: their actions, float [B, 17, 25].

        Returns:
            float32 [B, S, C]; zeros where the poses are unknown.
        """
        model, parts = self.model, []
        for poses, numbers in self._at_keyframes(path_BF, chunk_BFA):
            features = model.features(poses, numbers)
            digits = [part.float().log_softmax(dim=-1) for part in model.head.split(model.logits(features))]
            told = rearrange(torch.cat(digits, dim=-1), "b l h w n -> b (h w) (l n)")
            parts.append(torch.cat([features.float(), told], dim=-1))
        return torch.cat(parts).masked_fill(~_known(path_BF)[:, None, None], 0.0)

    def mixes(self, step_indices: tuple[int, ...]) -> bool:
        """Whether `prior` has weight in one of the worlds."""
        return min(self._own_weights(step_indices)) < 1

    @torch.no_grad()
    def prior(self, path_BF: Tensor, chunk_BFA: Tensor, step_indices: tuple[int, ...]) -> Prior:
        """Returns what the scene says about the next clip's tokens.

        Args:
            path_BF: poses of its frames, float [B, 17, 3]; worlds that do not know where they are have NaN, and a prior
                without weight.
            chunk_BFA: its actions, float [B, 17, 25].
            step_indices: env steps since the last recorded clip, a number for each world.
        """
        logits = torch.cat([self.model(*part).float() for part in self._at_keyframes(path_BF, chunk_BFA)])
        own = logits.new_tensor(self._own_weights(step_indices))
        return Prior(logits.flatten(2, 3), torch.where(_known(path_BF), own, 1.0))

    @torch.no_grad()
    def painted_offset(self, path_BF: Tensor, chunk_BFA: Tensor, tokens_BLHW: Tensor) -> Tensor:
        """Returns how far a predicted clip seems to be painted from another pose than the carried one.

        One step of the localiser, on this clip alone: exact where the two are near, too small where they are far apart.

        Args:
            path_BF: the carried poses of its frames, float [B, 17, 3]; NaN where unknown.
            chunk_BFA: its actions, float [B, 17, 25].
            tokens_BLHW: its tokens, int [B, 3, H, W].

        Returns:
            float [B], in m: the length of the step, where a turn counts as the way of a point 2 m away; at most 0.6.
            0 where the place is not known.
        """
        known = _known(path_BF)
        offsets = torch.zeros(len(path_BF), device=path_BF.device)
        if known.any():
            step = first_step(self.model, path_BF[known], chunk_BFA[known], tokens_BLHW[known])
            offsets[known] = (step * step.new_tensor((1.0, 1.0, TURN_M_RAD))).norm(dim=1)
        return offsets

    @torch.no_grad()
    def carried(self, belief: PoseBelief, path_BF: Tensor) -> PoseBelief:
        """Returns the belief after a clip: the pose at its last frame, the uncertainty carried along."""
        end, offset = path_BF[:, -1], path_BF[:, -1, :2] - belief.poses[:, :2]
        # A turn of the start turns the way driven since around it.
        slopes = torch.eye(3, device=end.device).repeat(len(end), 1, 1)
        slopes[:, 0, 2], slopes[:, 1, 2] = -offset[:, 1], offset[:, 0]
        poses = torch.cat([end[:, :2], wrap_angle(end[:, 2:])], dim=1)
        return PoseBelief(poses, slopes @ belief.covariances @ slopes.mT)

    def _own_weights(self, step_indices: tuple[int, ...]) -> list[float]:
        weights = self.use.history_weights
        return [weights[min(step, len(weights) - 1)] for step in step_indices]

    @staticmethod
    def _at_keyframes(path_BF: Tensor, chunk_BFA: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields poses and numbers that the scene model draws at once; some pose stands in for unknown ones."""
        frames = list(KEYFRAMES)
        poses, numbers = path_BF[:, frames].nan_to_num(), chunk_BFA[:, frames]
        yield from zip(poses.split(CLIPS_AT_ONCE), numbers.split(CLIPS_AT_ONCE), strict=True)


def _known(path_BF: Tensor) -> Tensor:
    """Returns whether all poses of paths [B, 17, 3] are known, bool [B]."""
    return path_BF.isfinite().flatten(1).all(dim=1)
