"""`hwm-env fidelity`: judges a checkpoint and writes the report and its pictures."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwm_env.decoding.config import HistoryMode, Order
from hwm_env.errors import require_extra
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.reports.film_strip import closed_loop_strips
from hwm_env.evaluation.reports.plots import write_loops
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.evaluation.worlds.fidelity import measure
from hwm_env.evaluation.worlds.held_out import HeldOut, record_held_out
from hwm_env.evaluation.worlds.long_loop import JUDGED_STEPS
from hwm_env.fields import CheckedFields, Count, CountOrZero, NotNegative, Seed
from hwm_env.model.precision import Precision
from hwm_env.reporting import PYTHON, Caller, Stamp, publish
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class FidelityConfig(CheckedFields):
    """What is judged, on which episodes, and which files are written."""

    checkpoint: str = "room-64"
    """Name or directory of the checkpoint."""
    recording: Path | None = None
    """Recording with images to judge on; by default, a held-out split of the reference world is recorded to
    out/held-out first (needs the reference extra)."""
    starts: Count = 200
    """Episodes; each starts a closed loop and adds up to five windows of nine clips to the next-clip measure."""
    steps: Count = 20
    """Env steps of the closed loop."""
    decoding_steps: CountOrZero | None = None
    """Decoding steps; by default those of the checkpoint."""
    temperature: NotNegative | None = None
    """Sampling temperature; by default that of the checkpoint."""
    order: Order | None = None
    """Order in which tokens are revealed; by default that of the checkpoint."""
    history: HistoryMode | None = None
    """Whether all clips of the history are encoded at each step (window), or each clip once (streaming); by default as
    in the checkpoint."""
    precision: Precision = "float32"
    """Number type of the model's matrix products; "auto" is bfloat16 if the device has it in hardware, else float32."""
    seed: Seed = 0
    """Seed of the worlds and of the shuffled actions."""
    long_starts: CountOrZero = 12
    """Long loops; their episodes are recorded in the reference world to out/long first; 0 for none."""
    lpips: Path | None = None
    """State dict of lpips.LPIPS(net="alex"), .safetensors or .pth, to score closed loops with LPIPS as well (needs the
    evaluation extra)."""
    fvd: Path | None = None
    """Video classifier in TorchScript, called like StyleGAN-V's i3d_torchscript.pt, to compare closed loops by the
    Fréchet video distance as well (needs the evaluation extra)."""
    json: Path | None = None
    """JSON file for the measurements."""
    film_strip: Path | None = None
    """PNG file for a picture of closed loops, from the best to the worst: truth above prediction (needs the evaluation
    extra)."""
    plot: Path | None = None
    """PNG file for a plot of the closed loops' PSNR by env step (needs the evaluation extra)."""
    device: str = "auto"
    """Device that predicts: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def fidelity(config: FidelityConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Judges a checkpoint on held-out episodes: next clip and closed loop, with baselines.

    Closed loops are scored by PSNR and SSIM (if torchmetrics is installed), and by LPIPS and FVD if their networks are
    given. A still scene shows what changes while the robot stays for ten clips. For recordings of the reference world,
    it also measures where closed loops lead (by the read-out), the effect of obstacles, and the effect of each of seven
    actions. For a checkpoint with a scene, it also measures what the scene draws by itself, whether worlds know their
    place and show it, how much of a view is left after turning away and back, and how true loops of 100 env steps stay.

    Returns:
        The report, as `FidelityReport.to_dict` describes it, with `checkpoint`, `decoding` and `stamp`.

    Raises:
        CheckpointError: there is no such checkpoint, or `lpips` or `fvd` is no such network.
        MissingExtraError: `lpips` or `fvd` is given, and torchmetrics is not installed.
        DatasetError: the recording has no raw images, or too few or too short episodes.
        SavingError: a file cannot be written.
    """
    simulator = WorldSimulator.from_pretrained(
        config.checkpoint,
        device=config.device,
        decoding_steps=config.decoding_steps,
        temperature=config.temperature,
        order=config.order,
        history=config.history,
        precision=config.precision,
    )
    if config.lpips is not None or config.fvd is not None:
        require_extra("torchmetrics", "evaluation")  # before the long computation
    lpips = None if config.lpips is None else LPIPS.load(config.lpips, simulator.device)
    detector = None if config.fvd is None else VideoFeatures.load(config.fvd, simulator.device)
    image_size, clips = simulator.checkpoint.image_size, HISTORY_CLIPS + config.steps
    robot = simulator.checkpoint.robot
    recording = config.recording or record_held_out(Path("out/held-out"), config.starts, clips, image_size, robot=robot)
    held_out = HeldOut(recording, simulator.tokenizer, clips_per_episode=clips, num_episodes=config.starts, robot=robot)

    def long_episodes() -> HeldOut:
        clips, starts = HISTORY_CLIPS + max(JUDGED_STEPS), config.long_starts
        recording = record_held_out(Path("out/long"), starts, clips, image_size, split="long")
        return HeldOut(recording, simulator.tokenizer, clips_per_episode=clips, num_episodes=starts)

    has_long = config.long_starts > 0 and held_out.is_of_reference_world
    measured = measure(
        simulator,
        held_out,
        closed_loop_steps=config.steps,
        seed=config.seed,
        long_episodes=long_episodes if has_long else None,
        lpips=lpips,
        detector=detector,
    )
    stamp = Stamp.of(simulator, name=config.checkpoint, episodes=config.starts, caller=caller)
    report = measured.to_dict()
    report["checkpoint"] = {"name": stamp.checkpoint, "identity": stamp.weights}
    report["decoding"] = {**stamp.decoding, "precision": stamp.precision}
    report["stamp"] = asdict(stamp)
    publish(report, config.json, caller)
    if config.film_strip is not None:
        gains = measured.closed_loop.gain_by_start
        closed_loop_strips(simulator, held_out, config.steps, config.film_strip, scores=gains, seed=config.seed)
    if config.plot is not None:
        long_loop = None if measured.long_loop is None else asdict(measured.long_loop)
        write_loops(asdict(measured.closed_loop), long_loop, config.plot)
    return report
