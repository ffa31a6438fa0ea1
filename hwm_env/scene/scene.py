"""The scene of a room as a simulator uses it: carried poses, scene inputs, priors and painted offsets."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import torch
from annotated_types import Len
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from hwm_env.decoding.prior import Prior
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Positive, Share, from_json, short
from hwm_env.model.identity import identity_of, joint_identity
from hwm_env.parallel import side_by_side
from hwm_env.scene.camera import CameraLink
from hwm_env.scene.localiser import first_step
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel, at_keyframes, parts_of
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.pose import wrap_angle
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.types import LATENTS_PER_CLIP

VERSION: Final = 1
TURN_M_RAD: Final = 2.0
"""Distance in metres of the point whose motion a turn counts as."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneUse(CheckedFields):
    """Settings of a simulator's use of a scene."""

    history_weights: Annotated[tuple[Share, ...], Len(1)] = (0.5, 0.3, 0.2, 0.1)
    """Weight of the world model's logits in the mixture with the scene's: at the first env step after a recorded clip,
    at the second, and so on; the last weight applies from then on. (1.0,) mixes nothing in, for a world model that
    reads scene inputs (`MaskedHWMConfig.scene_width`)."""
    unknown_above: Positive | None = None
    """Clips whose loss at the likeliest pose is above this, in nats per token, show another place than the map's;
    `None`: the bound is not calibrated, and every place counts as known."""


class Scene(nn.Module):
    """The trained scene model and odometry of one room; see `SceneModel` and `Odometry`."""

    def __init__(self, model: SceneModel, odometry: Odometry, use: SceneUse) -> None:
        super().__init__()
        self.model = model
        self.odometry = odometry
        self.use = use

    @property
    def identity(self) -> str:
        """Hash of the weights and of the configuration: 16 hexadecimal digits."""
        return joint_identity(identity_of(self), json.dumps(self.to_config(), sort_keys=True))

    def to_config(self) -> dict[str, Any]:
        """Returns shapes and settings for JSON; `from_config` restores them without weights."""
        model = asdict(self.model.config)
        if not model["limbs"]:
            # Scenes from before limbs existed keep their identity.
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
        """Builds an untrained scene from its configurations."""
        return cls(SceneModel(model), Odometry(odometry), use)

    @staticmethod
    def read_config(content: Mapping[str, Any]) -> tuple[SceneConfig, OdometryConfig, SceneUse]:
        """Parses what `to_config` returned.

        Raises:
            InvalidInputError: a value is invalid, or the version differs.
            KeyError, TypeError: a part is missing or has another type.
        """
        if content["version"] != VERSION:
            raise InvalidInputError(f"scene version must be {VERSION}, got {short(content['version'])}; train it again")
        model = dict(content["model"])
        links = model["camera"] and [from_json(CameraLink, link) for link in model["camera"]]
        limbs = [tuple(from_json(CameraLink, link) for link in limb) for limb in model.get("limbs", ())]
        room = from_json(MapConfig, model["map"])
        config = from_json(SceneConfig, {**model, "camera": links, "limbs": limbs, "map": room})
        return config, from_json(OdometryConfig, content["odometry"]), from_json(SceneUse, content["use"])

    def belief_in(self, poses: Tensor) -> PoseBelief:
        """Returns a belief without uncertainty in poses [B, 3]; unknown where they are NaN or outside the map.

        Raises:
            InvalidInputError: the poses have another shape, or are infinite.
        """
        belief = PoseBelief.certain(poses)
        inside = self.model.map.contains(belief.poses)
        return belief._replace(poses=belief.poses.masked_fill(~inside[:, None], torch.nan))

    @torch.no_grad()
    def path(self, belief: PoseBelief, chunk_BFA: Tensor) -> Tensor:
        """Predicts the poses at the next clip's frames, [B, 17, 3], NaN where unknown, from its actions [B, 17, 25]."""
        poses = self.odometry(belief.poses.nan_to_num(), chunk_BFA)
        path: Tensor = poses.masked_fill(~belief.known[:, None, None], torch.nan)
        return path

    @property
    def input_width(self) -> int:
        """Number of scene inputs per grid position (C)."""
        config = self.model.config
        return config.width + LATENTS_PER_CLIP * sum(config.fsq_levels)

    @torch.no_grad()
    def inputs(self, path_BF: Tensor, chunk_BFA: Tensor) -> Tensor:
        """Computes the scene inputs of clips: features, and log-probabilities of the tokens' digits.

        Each of the two parts is normalised to mean 0 and standard deviation 1 at each grid position. Normalised
        together, the log-probabilities would decide the scale of the features.

        Args:
            path_BF: poses at the clips' frames, float [B, 17, 3]; NaN where unknown.
            chunk_BFA: their actions, float [B, 17, 25].

        Returns:
            float32 [B, S, C]; zeros where the poses are unknown.
        """
        model, parts = self.model, []
        for poses, numbers in _at_keyframes(path_BF, chunk_BFA):
            features = model.features(poses, numbers)
            digits = [part.float().log_softmax(dim=-1) for part in model.head.split(model.logits(features))]
            log_probs = rearrange(torch.cat(digits, dim=-1), "b l h w n -> b (h w) (l n)")
            parts.append(torch.cat([layer_norm(part, part.shape[-1:]) for part in (features.float(), log_probs)], -1))
        return torch.cat(parts).masked_fill(~_known(path_BF)[:, None, None], 0.0)

    @property
    def ever_mixes(self) -> bool:
        """Whether `prior` has weight at any env step."""
        return min(self.use.history_weights) < 1

    def mixes(self, step_indices: tuple[int, ...]) -> bool:
        """Returns whether `prior` has weight in any row."""
        return min(self.own_weights(step_indices)) < 1

    @torch.no_grad()
    def prior(self, path_BF: Tensor, chunk_BFA: Tensor, step_indices: tuple[int, ...]) -> Prior:
        """Returns the scene's prior for the next clip's tokens.

        Args:
            path_BF: poses at its frames, float [B, 17, 3]; a row of unknown poses (NaN) gets a prior without weight.
            chunk_BFA: its actions, float [B, 17, 25].
            step_indices: env steps since the last recorded clip, for each row.
        """
        return self.weighted_prior(path_BF, chunk_BFA, path_BF.new_tensor(self.own_weights(step_indices)))

    def weighted_prior(self, path_BF: Tensor, chunk_BFA: Tensor, own_weights: Tensor) -> Prior:
        """Returns the same for given weights of the world model's logits, float [B]."""
        return Prior(self.clip_logits(path_BF, chunk_BFA), torch.where(_known(path_BF), own_weights, 1.0))

    @torch.no_grad()
    def clip_logits(self, path_BF: Tensor, chunk_BFA: Tensor) -> Tensor:
        """Predicts digit logits of clips' tokens, float32 [B, 3, S, n]; arguments as for `prior`."""
        logits = side_by_side(lambda part: self.model(*part).float(), _at_keyframes(path_BF, chunk_BFA))
        return torch.cat(logits).flatten(2, 3)

    @torch.no_grad()
    def painted_offset(self, path_BF: Tensor, chunk_BFA: Tensor, tokens_BLHW: Tensor) -> Tensor:
        """Estimates the distance between the painted and the carried pose of predicted clips.

        This is one step of the localiser on the clip alone: accurate for small distances, too small for large ones.

        Args:
            path_BF: carried poses at its frames, float [B, 17, 3]; NaN where unknown.
            chunk_BFA: its actions, float [B, 17, 25].
            tokens_BLHW: its tokens, int [B, 3, H, W].

        Returns:
            float [B], in m: the length of the step, where a turn counts as the motion of a point 2 m away; at most 0.6.
            0 if the pose is unknown.
        """
        known = _known(path_BF)
        offsets = torch.zeros(len(path_BF), device=path_BF.device)
        if known.any():
            step = first_step(self.model, path_BF[known], chunk_BFA[known], tokens_BLHW[known])
            offsets[known] = (step * step.new_tensor((1.0, 1.0, TURN_M_RAD))).norm(dim=1)
        return offsets

    @torch.no_grad()
    def carried(self, belief: PoseBelief, path_BF: Tensor) -> PoseBelief:
        """Returns the belief after a clip: the pose at its last frame, with propagated uncertainty."""
        end, offset = path_BF[:, -1], path_BF[:, -1, :2] - belief.poses[:, :2]
        # A yaw error at the start rotates the path that follows.
        slopes = torch.eye(3, device=end.device).repeat(len(end), 1, 1)
        slopes[:, 0, 2], slopes[:, 1, 2] = -offset[:, 1], offset[:, 0]
        poses = torch.cat([end[:, :2], wrap_angle(end[:, 2:])], dim=1)
        return PoseBelief(poses, slopes @ belief.covariances @ slopes.mT)

    def own_weights(self, step_indices: tuple[int, ...]) -> list[float]:
        """Returns the weight of the world model's logits in each row; 1 means that the scene's have none."""
        weights = self.use.history_weights
        return [weights[min(step, len(weights) - 1)] for step in step_indices]


def _at_keyframes(path_BF: Tensor, chunk_BFA: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns poses and numbers in parts for the scene model; unknown poses are replaced by arbitrary ones."""
    return parts_of(at_keyframes(path_BF).nan_to_num(), at_keyframes(chunk_BFA))


def _known(path_BF: Tensor) -> Tensor:
    """Returns whether all poses of each path [B, 17, 3] are known, bool [B]."""
    return path_BF.isfinite().flatten(1).all(dim=1)
