"""Checkpoint directories: `config.json` and safetensors files, and nothing that could execute code.

| file | content |
| --- | --- |
| config.json | shapes of model, read-out and scene; tokenizer; robot and its action statistics; decoding; provenance |
| model.safetensors | the world model, weights in float16 (imported ones in float32) |
| tokenizer.safetensors | the tokenizer; not included for Cosmos, whose files are code |
| starts.safetensors | recorded histories at which episodes may begin |
| readout.safetensors | the read-out, if one was trained; same number type as the model |
| scene.safetensors | map, camera and odometry of the room, if trained; same number type as the model |
| trust.safetensors | token statistics of the training data, if the checkpoint was calibrated |
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hwm_env import hub
from hwm_env.data.files import json_bytes, read_json, shown, write_bytes, write_files
from hwm_env.data.statistics import ActionStatistics
from hwm_env.decoding.config import DecodingConfig
from hwm_env.devices import check_device
from hwm_env.errors import CheckpointError
from hwm_env.fields import checked, from_json, short
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.identity import identity_of, joint_identity
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.readout import Readout, ReadoutConfig
from hwm_env.model_card import model_card
from hwm_env.robot import EVE, Robot
from hwm_env.scene.scene import Scene
from hwm_env.starts import Starts
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.cosmos import DECODER_FILE, ENCODER_FILE, CosmosTokenizer
from hwm_env.tokenizers.tiny import TOKENIZER_FILE, TinyTokenizer
from hwm_env.torch_state import loading
from hwm_env.trust import Trust
from hwm_env.types import LATENTS_PER_CLIP
from hwm_env.weight_files import module_to_bytes, read_module, read_tensors, tensors_to_bytes

FORMAT_VERSION = 1
ASSETS = Path(__file__).parent / "assets"
TOKENIZER_KINDS = {"tiny": TinyTokenizer, "cosmos": CosmosTokenizer}
TOKENIZER_VARIABLE = "HWM_TOKENIZER"
"""Environment variable with the directory of the tokenizer, for checkpoints that do not contain one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A world model with everything that a simulator needs."""

    model: MaskedHWM
    tokenizer: VideoTokenizer
    statistics: ActionStatistics
    starts: Starts
    readout: Readout | None = None
    trust: Trust | None = None
    scene: Scene | None = None
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    robot: Robot = EVE
    """The robot, whose joints the 25 numbers of an action carry."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: data, commands, seeds, measured results. Informative only; no code depends on it."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if the parts do not fit each other."""
        config = self.model.config
        uses_digits = config.token_embedding == "code" or config.codebook_head == "factored"
        if uses_digits and tuple(self.tokenizer.fsq_levels) != config.fsq_levels:
            raise CheckpointError(
                f"the tokenizer does not fit the model: its FSQ levels are {tuple(self.tokenizer.fsq_levels)}, the "
                f"model expects {config.fsq_levels}; use the tokenizer that the model was trained with"
            )
        if self.tokenizer.codebook_size > config.codebook_size:
            raise CheckpointError(
                f"the tokenizer does not fit the model: it has {self.tokenizer.codebook_size} codes, the model's "
                f"vocabulary {config.codebook_size}; use the tokenizer that the model was trained with"
            )
        expected = (LATENTS_PER_CLIP, *config.grid_size)
        if tuple(self.starts.tokens.shape[2:]) != expected or self.starts.tokens.shape[1] > config.num_past_clips:
            raise CheckpointError(
                f"the starts do not fit the model: expected histories of at most {config.num_past_clips} clips of "
                f"{expected} tokens, got shape {tuple(self.starts.tokens.shape)}"
            )
        if self.trust is not None:
            assessed = self.trust.statistics.grid_size, self.trust.statistics.fsq_levels
            if assessed != (config.grid_size, tuple(self.tokenizer.fsq_levels)):
                raise CheckpointError(
                    f"the trust does not fit: it assesses tokens of grid and FSQ levels {assessed}, the model's are "
                    f"{(config.grid_size, tuple(self.tokenizer.fsq_levels))}; calibrate this checkpoint again"
                )
        if self.scene is not None:
            rendered = self.scene.model.config
            expected_shape = config.grid_size, config.head_levels
            if (rendered.grid_size, rendered.fsq_levels) != expected_shape:
                raise CheckpointError(
                    "the scene does not fit: it renders tokens of grid and digits "
                    f"{(rendered.grid_size, rendered.fsq_levels)}, the model's head predicts {expected_shape}; train a "
                    "scene on tokens of this checkpoint's tokenizer, with a model of codebook_head 'factored'"
                )
        input_width = 0 if self.scene is None else self.scene.input_width
        if config.scene_width not in (0, input_width):
            raise CheckpointError(
                f"the scene does not fit the model: it has {input_width} scene inputs per grid position, the model "
                f"reads scene_width {config.scene_width}; use the scene that the model was trained with"
            )
        num_codes = self.tokenizer.codebook_size
        lowest, highest = self.starts.tokens.aminmax() if len(self.starts) else (0, 0)
        if not 0 <= lowest <= highest < num_codes:
            raise CheckpointError(
                f"the starts hold tokens {int(lowest)} to {int(highest)}, outside the codebook of {num_codes}; encode "
                "them with this checkpoint's tokenizer"
            )

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of a latent's tokens."""
        return self.model.config.grid_size

    @property
    def image_size(self) -> int:
        """Height of the decoded frames in pixels."""
        return self.model.config.grid_size[0] * self.tokenizer.spatial_compression

    @property
    def identity(self) -> str:
        """Hash of the world model's weights, and of the scene if there is one: 16 hexadecimal digits."""
        own = identity_of(self.model)
        return own if self.scene is None else joint_identity(own, self.scene.identity)


def save(checkpoint: Checkpoint, directory: Path, *, weights: torch.dtype = torch.float16) -> None:
    """Writes a checkpoint directory: all of its files, or none; `config.json` last.

    Args:
        checkpoint: checkpoint to write.
        directory: where to write it; created if needed.
        weights: number type of the weights of model, read-out and scene in their files.

    Raises:
        SavingError: it could not be written; the previous checkpoint, if any, is unchanged.
    """
    write_files((directory / name, content) for name, content in _contents(checkpoint, weights))


def _contents(checkpoint: Checkpoint, weights: torch.dtype) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of a checkpoint's files, `config.json` last."""
    yield "model.safetensors", module_to_bytes(checkpoint.model, weights)
    if isinstance(checkpoint.tokenizer, TinyTokenizer):
        yield TOKENIZER_FILE, checkpoint.tokenizer.to_bytes()
    starts = {"tokens": checkpoint.starts.tokens, "actions": checkpoint.starts.actions}
    if checkpoint.starts.poses is not None:
        starts["poses"] = checkpoint.starts.poses
    yield "starts.safetensors", tensors_to_bytes(starts)
    if checkpoint.readout is not None:
        yield "readout.safetensors", module_to_bytes(checkpoint.readout, weights)
    if checkpoint.scene is not None:
        yield "scene.safetensors", module_to_bytes(checkpoint.scene, weights)
    if checkpoint.trust is not None:
        yield "trust.safetensors", tensors_to_bytes(checkpoint.trust.tensors())
    content = {
        "format": FORMAT_VERSION,
        "model": asdict(checkpoint.model.config),
        "tokenizer": {"kind": _kind_of(checkpoint.tokenizer), "identity": checkpoint.tokenizer.identity},
        "readout": None if checkpoint.readout is None else asdict(checkpoint.readout.config),
        "scene": None if checkpoint.scene is None else checkpoint.scene.to_config(),
        "trust": None if checkpoint.trust is None else checkpoint.trust.to_config(),
        "decoding": asdict(checkpoint.decoding),
        **({} if checkpoint.robot == EVE else {"robot": checkpoint.robot.to_json()}),
        "action_statistics": checkpoint.statistics.to_dict(),
        "provenance": dict(checkpoint.provenance),
    }
    yield "config.json", json_bytes(content)


def resolve(name_or_directory: str | Path) -> Path:
    """Returns the directory of a checkpoint: of "room-64", which comes with the package, a path, or a Hugging Face id.

    Ids are `owner/name` or `owner/name@revision`; downloads stay in the Hub's cache.

    Raises:
        CheckpointError: the checkpoint is unknown.
        MissingExtraError: it must be downloaded, but huggingface_hub is not installed.
    """
    checked("checkpoint", name_or_directory, str | Path)
    for candidate in (ASSETS / str(name_or_directory), Path(name_or_directory)):
        if os.path.isfile(candidate / "config.json"):
            return candidate
    if not os.path.exists(name_or_directory) and hub.is_id(str(name_or_directory)):
        return hub.download(str(name_or_directory))
    shipped = sorted(path.parent.name for path in ASSETS.glob("*/config.json"))
    renamed = "; the packaged checkpoint 'reference' is called 'room-64' now"
    raise CheckpointError(
        f"unknown checkpoint {shown(Path(name_or_directory))!r}: expected one of {shipped}, a directory with a "
        f"config.json, or a Hugging Face id owner/name{renamed if str(name_or_directory) == 'reference' else ''}"
    )


@loading()
def load(
    name_or_directory: str | Path, *, device: str | torch.device = "cpu", tokenizer: str | Path | None = None
) -> Checkpoint:
    """Loads a checkpoint by name, from a directory or from the Hugging Face Hub.

    Args:
        name_or_directory: see `resolve`.
        device: device of the weights.
        tokenizer: path of the tokenizer (see `load_tokenizer`), for a checkpoint that does not contain one (Cosmos);
            `None`: the environment variable HWM_TOKENIZER.

    Raises:
        CheckpointError: it is unknown or incomplete, or its parts do not fit each other.
        InvalidInputError: the device is not available.
    """
    device = check_device(device)
    directory = resolve(name_or_directory)
    content = _read_config(directory)
    try:
        model_config = from_json(MaskedHWMConfig, content["model"])
        tokenizer_content = content["tokenizer"]
        readout_config = from_json(ReadoutConfig, content["readout"]) if content["readout"] else None
        scene_parts = Scene.read_config(content["scene"]) if content.get("scene") else None
        decoding = from_json(DecodingConfig, content["decoding"])
        statistics = ActionStatistics.from_dict(content["action_statistics"])
        robot = Robot.read(content["robot"]) if "robot" in content else EVE
        provenance = checked("provenance", content.get("provenance", {}), dict[str, Any])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{directory / 'config.json'} is not of format {FORMAT_VERSION}: {error}") from error
    loaded_tokenizer = _load_own_tokenizer(directory, tokenizer_content, tokenizer, device)
    model = read_module(directory / "model.safetensors", MaskedHWM, model_config).to(device)
    readout, scene, trust = None, None, None
    if readout_config is not None:
        readout = read_module(directory / "readout.safetensors", Readout, readout_config).to(device)
    if scene_parts is not None:
        scene = read_module(directory / "scene.safetensors", Scene.build, *scene_parts).to(device)
    if content.get("trust"):
        trust = Trust.from_parts(content["trust"], read_tensors(directory / "trust.safetensors"))
    starts = read_tensors(directory / "starts.safetensors")
    if not {"tokens", "actions"} <= set(starts):
        raise CheckpointError(
            f"{directory / 'starts.safetensors'} must hold tokens and actions, got {sorted(starts)}; copy it again"
        )
    return Checkpoint(
        model,
        loaded_tokenizer,
        statistics,
        Starts(starts["tokens"], starts["actions"], starts.get("poses")),
        readout,
        trust,
        scene,
        decoding,
        robot,
        provenance,
    )


@loading()
def load_tokenizer(source: str | Path, *, device: str | torch.device = "cpu") -> VideoTokenizer:
    """Loads a tokenizer.

    Args:
        source: a directory with `encoder.jit` and `decoder.jit` (Cosmos); a file or directory that a `TinyTokenizer`
            was saved to; or a checkpoint (see `resolve`) that contains a tokenizer.
        device: device of the weights.

    Raises:
        CheckpointError: there is no tokenizer, or it is damaged.
        InvalidInputError: the device is not available.
    """
    device, path = check_device(device), Path(source)
    if any(os.path.isfile(path / name) for name in (ENCODER_FILE, DECODER_FILE)):
        return CosmosTokenizer.load(path, device=device)
    if os.path.exists(path) and not os.path.isfile(path / "config.json"):
        return TinyTokenizer.load(path).to(device)
    directory = resolve(source)
    content = _read_config(directory)
    return _load_own_tokenizer(directory, content.get("tokenizer"), None, device)


def push_to_hub(checkpoint: Checkpoint, repo_id: str, *, private: bool = False) -> str:
    """Uploads a checkpoint to the Hugging Face Hub: weights in half precision, configuration and a model card.

    Args:
        checkpoint: checkpoint to upload.
        repo_id: `owner/name`; created if needed.
        private: whether a new repository is private.

    Returns:
        The URL of the commit.

    Raises:
        CheckpointError: the Hub refuses the upload or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        save(checkpoint, directory)
        config = checkpoint.model.config
        card = model_card(
            repo_id,
            config,
            num_parameters=sum(parameter.numel() for parameter in checkpoint.model.parameters()),
            image_size=checkpoint.image_size,
            tokenizer=checkpoint.tokenizer.identity,
            robot=checkpoint.robot,
            provenance=checkpoint.provenance,
        )
        write_bytes(directory / "README.md", card.encode())
        return hub.push(directory, repo_id, private=private)


def _load_own_tokenizer(
    directory: Path, content: Any, given: str | Path | None, device: str | torch.device
) -> VideoTokenizer:
    """Loads the tokenizer that a checkpoint's configuration names."""
    if not isinstance(content, Mapping) or content.get("kind") not in list(TOKENIZER_KINDS):
        raise CheckpointError(
            f"{directory} names a tokenizer of an unknown kind, {short(content)}; expected a kind of "
            f"{list(TOKENIZER_KINDS)}"
        )
    where = given or (directory if content["kind"] == "tiny" else os.environ.get(TOKENIZER_VARIABLE))
    if not where:
        raise CheckpointError(
            f"{directory} needs the tokenizer {short(content.get('identity'))} and does not contain NVIDIA's files; "
            f"give the directory with {ENCODER_FILE} and {DECODER_FILE} as tokenizer=..., or in the environment "
            f"variable {TOKENIZER_VARIABLE}"
        )
    tokenizer = TinyTokenizer.load(directory).to(device) if where == directory else load_tokenizer(where, device=device)
    if tokenizer.identity != content.get("identity"):
        raise CheckpointError(
            f"{where} is not the tokenizer of this checkpoint: expected identity {short(content.get('identity'))}, got "
            f"{tokenizer.identity}; give the tokenizer that the model was trained with"
        )
    return tokenizer


def _kind_of(tokenizer: VideoTokenizer) -> str:
    for kind, made in TOKENIZER_KINDS.items():
        if isinstance(tokenizer, made):
            return kind
    raise CheckpointError(
        f"a checkpoint can be saved with tokenizers of kind {list(TOKENIZER_KINDS)}, got {type(tokenizer).__name__}; "
        "use one of these"
    )


def _read_config(directory: Path) -> dict[str, Any]:
    content = read_json(directory / "config.json", CheckpointError)
    if content.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory / 'config.json'}: expected format {FORMAT_VERSION}, got {short(content.get('format'))}; save "
            "the checkpoint with this version of hwm_env"
        )
    return content
