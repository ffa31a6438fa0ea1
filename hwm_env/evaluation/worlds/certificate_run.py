"""`hwm-env certify`: writes the certificate of a checkpoint."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwm_env.arguments import CheckpointNameArgument
from hwm_env.evaluation.reports.certificate_page import write_certificate
from hwm_env.evaluation.worlds.certificate import certify
from hwm_env.evaluation.worlds.held_out import HeldOut, check_reference, record_held_out
from hwm_env.fields import CheckedFields, Count, Seed
from hwm_env.reporting import PYTHON, Caller, Stamp, publish
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificationConfig(CheckedFields):
    """What is certified, on which episodes, and which files are written."""

    checkpoint: CheckpointNameArgument = "room-64"
    """Name or directory of the checkpoint."""
    tokenizer: str | None = None
    """Directory of its tokenizer, for a checkpoint that does not hold its own."""
    recording: Path | None = None
    """Recording with images to judge on; by default, a held-out split of the reference world is recorded to
    out/held-out first (needs the reference extra)."""
    starts: Count = 100
    """Episodes; inverse dynamics are learned from three in five of them, the others are judged."""
    steps: Count = 20
    """Env steps of the closed loops."""
    seed: Seed = 0
    """Seed of the worlds and of the shuffled actions."""
    json: Path | None = None
    """JSON file for the certificate."""
    page: Path | None = None
    """HTML file for the certificate (needs the evaluation extra)."""
    device: str = "auto"
    """Device that predicts: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def certify_checkpoint(config: CertificationConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Certifies that a world answers to its actions: against other actions, by its predicted clips, and over time.

    Returns:
        The certificate, as `certify` describes it, with a `stamp`.

    Raises:
        CheckpointError: there is no such checkpoint, or it is of another robot than EVE.
        DatasetError: the recording has no raw images, or too few episodes.
        SavingError: a file cannot be written.
    """
    simulator = WorldSimulator.from_pretrained(config.checkpoint, device=config.device, tokenizer=config.tokenizer)
    check_reference(simulator.checkpoint.robot)
    image_size, clips = simulator.checkpoint.image_size, HISTORY_CLIPS + config.steps
    recording = config.recording or record_held_out(Path("out/held-out"), config.starts, clips, image_size)
    held_out = HeldOut(recording, simulator.tokenizer, clips_per_episode=clips, num_episodes=config.starts)
    report = certify(simulator, held_out, closed_loop_steps=config.steps, seed=config.seed)
    report["stamp"] = asdict(Stamp.of(simulator, name=config.checkpoint, episodes=config.starts, caller=caller))
    publish(report, config.json, caller)
    if config.page is not None:
        write_certificate(report, config.page)
    return report
