"""`hwm-env generate`: videos of closed loops beside the ground truth."""

from dataclasses import dataclass
from pathlib import Path

from hwm_env.arguments import CheckpointArgument, DataArgument
from hwm_env.data.files import write_json
from hwm_env.data.reader import Dataset
from hwm_env.evaluation.reports.comparison_videos import write_comparisons
from hwm_env.fields import CheckedFields, Count, CountOrZero, NotNegative, Seed
from hwm_env.reporting import PYTHON, Caller, Stamp, publish
from hwm_env.simulator import WorldSimulator


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig(CheckedFields):
    """What is predicted, and which files are written."""

    checkpoint: CheckpointArgument
    """Name or directory of the checkpoint."""
    data: DataArgument
    """Data set, of any split, that the checkpoint's tokenizer made; its raw images are the ground truth, or its decoded
    tokens if it has none."""
    out: Path
    """Directory for the videos `sample_000_comparison.mp4` and so on, and for `metrics.json`, which appear together;
    new, empty, or with an earlier result of this command."""
    samples: Count = 4
    """Videos, each of another stretch of the data set; fewer if there are not as many."""
    steps: Count = 8
    """Env steps (17 frames each) that are predicted, with the recorded actions."""
    decoding_steps: CountOrZero | None = None
    """Decoding steps; by default those of the checkpoint."""
    temperature: NotNegative | None = None
    """Sampling temperature; by default that of the checkpoint."""
    lpips: Path | None = None
    """State dict of lpips.LPIPS(net="alex"), .safetensors or .pth, to score the frames with LPIPS as well."""
    fvd: Path | None = None
    """Video classifier in TorchScript, called like StyleGAN-V's i3d_torchscript.pt, to compare the clips by the Fréchet
    video distance as well."""
    seed: Seed = 0
    """Seed of the worlds."""
    json: Path | None = None
    """Another file for the content of `metrics.json`."""
    device: str = "auto"
    """Device that predicts: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def generate(config: GenerationConfig, caller: Caller = PYTHON) -> dict[str, object]:
    """Writes videos of closed loops beside the ground truth, and scores of each frame (needs the evaluation extra).

    Returns:
        What `metrics.json` holds, see `write_comparisons`.

    Raises:
        CheckpointError: there is no such checkpoint, `lpips` or `fvd` is no such network, or another tokenizer
            made the tokens.
        DatasetError: the data set cannot be read, or its segments are too short.
        InvalidInputError: the output directory holds something else.
        SavingError: a file cannot be written.
    """
    dataset = Dataset(config.data)
    simulator = WorldSimulator.from_pretrained(
        config.checkpoint,
        device=config.device,
        decoding_steps=config.decoding_steps,
        temperature=config.temperature,
    )
    metrics = write_comparisons(
        simulator,
        dataset,
        config.out,
        samples=config.samples,
        steps=config.steps,
        seed=config.seed,
        lpips=config.lpips,
        fvd=config.fvd,
        stamp=Stamp.of(simulator, name=config.checkpoint, episodes=config.samples, caller=caller),
    )
    if config.json is not None:
        write_json(config.json, metrics)
    publish(
        {"written": str(config.out), "truth": metrics["truth"], "mean": metrics["mean"], "fvd": metrics["fvd"]},
        None,
        caller,
    )
    return metrics
