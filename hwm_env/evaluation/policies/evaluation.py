"""Evaluates policies: plays every policy at every task from paired starts in both worlds, and reports the results."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from annotated_types import Len
from tqdm import tqdm
from tyro.conf import Fixed, Suppress

from hwm_env.arguments import PoliciesArgument
from hwm_env.checkpoint import Checkpoint
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import family_of, gather_policies
from hwm_env.evaluation.policies.measures import DEFINITIONS
from hwm_env.evaluation.policies.player import WORLDS, LearnedAs, Player, Unit, WorldName
from hwm_env.evaluation.policies.summary import Finished, TrueResults, task_report
from hwm_env.evaluation.policies.trial_log import TrialLog
from hwm_env.evaluation.policies.trials import Case, Trial, make_cases
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.fidelity import compare_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.fields import CheckedFields, Count, Seed, short
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

Job = tuple[Unit, Sequence[Case]]
"""A unit, and the cases from which its episodes begin."""
PlayUnits = Callable[[Sequence[Job]], Iterable[tuple[Unit, list[Trial]]]]
"""Plays units in any order and place, and yields each unit with its trials as soon as it is finished."""
WriteFiles = Callable[[Mapping[str, Any], Finished, Player], None]
"""Writes files about a report and its trials; the player can play episodes again."""

REPLAYED_STEPS: Final = 10
"""Env steps of each replay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig(CheckedFields):
    """What is evaluated."""

    policies: PoliciesArgument
    """Functions that return policies for a task's name, as module:factory or module:factory@argument, and zips that
    Stable-Baselines3 saved. Both run code: a zip does so when it is loaded."""
    tasks: Annotated[Sequence[str], Len(1)] = ("face-target", "drive-to-target")
    """Names of tasks."""
    starts: Count = 50
    """Paired episodes of each policy at each task, from the checkpoint's starts in turn."""
    learned_starts: Count | None = None
    """Episodes of each policy in the learned world, if more than the paired ones, a multiple of `starts`: the further
    ones make success rates that are corrected by true trials more precise."""
    worlds: Annotated[Sequence[WorldName], Len(1)] = WORLDS
    """Worlds that are played; "true" is the reference world."""
    max_steps: Count = 40
    """Env steps after which an episode is over."""
    seed: Seed = 0
    """Seed of goals, noise and policies."""
    learned_as: LearnedAs = "carried"
    """What plays as the learned world, and where its rewards come from. "carried": the learned world and its carried
    pose. "poses": the same without pictures, for policies that see none. "localiser" and "network": the learned world,
    and the pose or the read-out that its pictures show, by the scene or by the read-out network. "seen": the reference
    world, seen by the read-out network; the difference to the true results is then the network's part of the error."""
    allow_zips: bool = True
    """Load zips of Stable-Baselines3, which runs the code in them; refuse those that you do not trust."""
    true_results: Annotated[TrueResults, Fixed, Suppress] = field(default_factory=dict)
    """Outcomes of the first cases in a world that cannot be played here."""
    recording: Path | None = None
    """Data set with raw images of such a world, whose actions are replayed in the learned world, for as many stretches
    of 10 env steps as there are starts, and whose images are compared."""

    def check_together(self) -> None:
        """Raises `InvalidInputError` for learned episodes that are no multiple of the paired ones."""
        # Parts of another size could not be told from those of an earlier run.
        if self.learned_starts is not None and self.learned_starts % self.starts:
            raise InvalidInputError(
                f"learned_starts must be a multiple of starts ({self.starts}), got {self.learned_starts}"
            )


def evaluate(
    checkpoint: Checkpoint,
    config: EvaluationConfig,
    directory: Path,
    *,
    command: str,
    writers: Sequence[WriteFiles] = (),
    play_units: PlayUnits | None = None,
) -> dict[str, Any]:
    """Plays the trials that are not in the directory yet, and reports on all of them.

    Args:
        checkpoint: the learned world; episodes begin at its starts in both worlds.
        config: what is evaluated.
        directory: where trials are stored; an interrupted evaluation continues from them.
        command: command line to name in the report.
        writers: called with the report at the end, such as `hwm_env.evaluation.reports.policy_page.write_page`.
        play_units: plays the units; by default one after another in this process.

    Returns:
        The report, ready for JSON: `stamp`, `command`, `cases`, `definitions` of measures, `tasks` (by name, see
        `task_report`) and, with a recording, `replay`: closed loops with its actions (see `compare_loops`).

    Raises:
        InvalidInputError: a policy or task is unknown, a policy's actions do not match its interface, or the directory
            holds trials of another evaluation. Finished trials are kept.
        DatasetError: the recording has no raw images or too few stretches.
        CheckpointError: a task needs a read-out that the checkpoint lacks, or the starts have no true poses.
        RenderingUnavailableError: OpenGL, which draws the reference world, is not available.
    """
    policies = gather_policies(config.policies, config.tasks, allow_zips=config.allow_zips)
    cases = make_cases(config.learned_starts or config.starts, len(checkpoint.starts), config.seed)
    parts = [cases[first : first + config.starts] for first in range(0, len(cases), config.starts)]
    stamp = make_stamp(checkpoint, config)
    log = TrialLog(directory, stamp)
    wanted = [
        Unit(task, name, world, part)
        for task, of_task in policies.items()
        for world in config.worlds
        for part in range(len(parts) if world == "learned" else 1)
        for name in of_task
    ]
    missing = [unit for unit in wanted if unit not in log.finished]
    progress = tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="evaluate", unit="unit")
    with progress, Player(checkpoint, policies, config.max_steps, learned_as=config.learned_as) as player:
        for unit, trials in (play_units or _one_by_one(player))([(unit, parts[unit.part]) for unit in missing]):
            # Only pairs are compared step by step.
            log.add(unit, trials if unit.part == 0 else [trial.outcome() for trial in trials])
            progress.update()
        finished = {unit: log.finished[unit] for unit in wanted}
        tasks = {
            task: task_report(
                task, {name: family_of(policy) for name, policy in of_task.items()}, finished, config.true_results
            )
            for task, of_task in policies.items()
        }
        report = {
            "stamp": stamp,
            "command": command,
            "cases": [asdict(case) for case in parts[0]],
            "definitions": DEFINITIONS,
            "tasks": tasks,
        }
        if config.recording is not None:
            report["replay"] = _replay(checkpoint, config.recording, config)
        for write in writers:
            write(report, finished, player)
    return report


def _replay(checkpoint: Checkpoint, recording: Path, config: EvaluationConfig) -> dict[str, Any]:
    held_out = HeldOut(
        recording,
        checkpoint.tokenizer,
        clips_per_episode=HISTORY_CLIPS + REPLAYED_STEPS,
        num_episodes=config.starts,
    )
    simulator = WorldSimulator(checkpoint)
    loops = run_closed_loops(simulator, held_out, REPLAYED_STEPS, config.seed).tokens
    return {"recording": recording.name, **asdict(compare_loops(simulator, held_out, loops))}


def make_stamp(checkpoint: Checkpoint, config: EvaluationConfig) -> dict[str, Any]:
    """Returns everything that trials depend on, except the policies themselves."""
    return {
        "weights": checkpoint.identity,
        "tokenizer": checkpoint.tokenizer.identity,
        "data": checkpoint.provenance.get("data"),
        "decoding": asdict(checkpoint.decoding),
        "starts": config.starts,
        "seed": config.seed,
        "max_steps": config.max_steps,
        "learned_as": config.learned_as,
    }


def _one_by_one(player: Player) -> PlayUnits:
    def play_units(jobs: Sequence[Job]) -> Iterator[tuple[Unit, list[Trial]]]:
        for unit, cases in jobs:
            yield unit, player.play(unit, cases)

    return play_units


def check_true_results(results: object, cases: int) -> Mapping[str, Mapping[str, list[bool]]]:
    """Checks outcomes that were read from a file, and returns them.

    Args:
        results: by task and policy, whether the first cases succeeded.
        cases: number of cases in the evaluation.

    Raises:
        InvalidInputError: not a list of 2 to `cases` - 1 booleans for each policy of each task.
    """
    expected = '{"face-target": {"policy name": [true, false, ...]}}, the outcomes of the first starts in order'
    if not isinstance(results, dict):
        raise InvalidInputError(f"expected true results as {expected}, got {type(results).__name__}")
    for task, of_task in results.items():
        for policy, outcomes in of_task.items() if isinstance(of_task, dict) else [("", of_task)]:
            is_list = isinstance(outcomes, list) and all(isinstance(outcome, bool) for outcome in outcomes)
            if not is_list or not 2 <= len(outcomes) < cases:
                raise InvalidInputError(
                    f"expected true results as {expected}, at least 2 and fewer than the {cases} starts; got "
                    f"{short(outcomes)} for {short(task)} {short(policy)}"
                )
    return results
