"""The commands: each is a workflow, whose code is imported when the command is chosen."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Command:
    """Where a workflow is: a config, whose fields are the options, and a function of it."""

    summary: str
    """First line of the function's docstring, so that commands are listed without importing them."""
    module: str
    """Module of both."""
    config: str
    """Name of the config's class."""
    function: str
    """Name of the function."""
    has_caller: bool = True
    """Whether the function also takes a Caller, because it has results or hints to show."""
    preset_fields: str | None = None
    """Name of a function that returns default values of the config's fields for the name of a preset."""

    def load(self, name: str) -> Any:
        """Imports the module and returns what has this name in it."""
        return getattr(importlib.import_module(self.module), name)

    @property
    def run(self) -> Callable[..., object]:
        """The function."""
        function: Callable[..., object] = self.load(self.function)
        return function


COMMANDS: Final[dict[str, Command]] = {
    "collect": Command(
        "Records episodes of the reference world (needs the reference extra).",
        "hwm_env.reference.collection",
        "CollectionConfig",
        "collect_recording",
        has_caller=False,
    ),
    "train-tokenizer": Command(
        "Trains the built-in video tokenizer on the images of a recording.",
        "hwm_env.training.tokenizer.workflow",
        "TokenizerRunConfig",
        "run_tokenizer_training",
        has_caller=False,
    ),
    "tokenize": Command(
        "Turns videos beside states, or a recording with raw images, into a data set of tokens at 30 Hz.",
        "hwm_env.tokenizing",
        "TokenizationConfig",
        "tokenize",
        has_caller=False,
    ),
    "inspect": Command(
        "Shows what a data set contains: segments, clips that can be used, tokens, action ranges, pictures.",
        "hwm_env.evaluation.reports.data_inspection",
        "InspectionConfig",
        "inspect_dataset",
    ),
    "train": Command(
        "Trains a world model and writes checkpoints that HWM-v0 can load; also under `accelerate launch`.",
        "hwm_env.training.world_model.workflow",
        "WorldModelRunConfig",
        "run_world_model_training",
        preset_fields="preset_fields",
    ),
    "train-readout": Command(
        "Trains the read-out that estimates base, head and hands from tokens, and puts it into a checkpoint.",
        "hwm_env.training.readout.workflow",
        "ReadoutRunConfig",
        "run_readout_training",
    ),
    "train-scene": Command(
        "Trains a map of the room and the odometry that moves the base's pose in it, and puts both into a checkpoint.",
        "hwm_env.training.scene.workflow",
        "SceneRunConfig",
        "run_scene_training",
    ),
    "train-decoder": Command(
        "Trains a checkpoint's decoder further, also on what its scene draws; tokens keep their meaning.",
        "hwm_env.training.tokenizer.decoder_workflow",
        "DecoderRunConfig",
        "run_decoder_training",
    ),
    "import-checkpoint": Command(
        "Turns a foreign Masked-HWM checkpoint into one that HWM-v0 can load.",
        "hwm_env.importing",
        "ImportConfig",
        "import_checkpoint",
    ),
    "export": Command(
        "Writes a checkpoint as ONNX files, with an example that plays them without PyTorch (needs the engine extra).",
        "hwm_env.exporting",
        "ExportConfig",
        "export",
    ),
    "generate": Command(
        "Writes videos of closed loops beside the ground truth, and scores of each frame (needs the evaluation extra).",
        "hwm_env.evaluation.worlds.generation_run",
        "GenerationConfig",
        "generate",
    ),
    "fidelity": Command(
        "Judges a checkpoint on held-out episodes: next clip and closed loop, with baselines.",
        "hwm_env.evaluation.worlds.fidelity_run",
        "FidelityConfig",
        "fidelity",
    ),
    "calibrate": Command(
        "Teaches a checkpoint the risk that a predicted clip is wrong, and puts it into the checkpoint.",
        "hwm_env.evaluation.worlds.calibration_run",
        "CalibrationConfig",
        "calibrate_checkpoint",
    ),
    "certify": Command(
        "Certifies that a world answers to its actions: against other actions, by its predicted clips, and over time.",
        "hwm_env.evaluation.worlds.certificate_run",
        "CertificationConfig",
        "certify_checkpoint",
    ),
    "evaluate": Command(
        "Evaluates policies in the learned world, and measures how far to trust that: against the reference world.",
        "hwm_env.evaluation.policies.evaluation_run",
        "EvaluationRunConfig",
        "run_evaluation",
    ),
    "serve": Command(
        "Offers a checkpoint to other programs by HTTP, until it is interrupted (needs the serve extra).",
        "hwm_env.service.serving",
        "ServiceConfig",
        "serve",
    ),
    "replay": Command(
        "Replays a recorded episode and checks that each clip is the same to the bit.",
        "hwm_env.replay",
        "ReplayConfig",
        "replay",
    ),
    "presets": Command(
        "Lists the models that have a name: parameters, operations and memory, as a Markdown table (takes a minute).",
        "hwm_env.training.world_model.preset_table",
        "PresetTableConfig",
        "tabulate_presets",
    ),
}
