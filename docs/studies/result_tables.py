"""Tables of results, made from the JSON files in docs/results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Content = Mapping[str, Any]
Rows = Sequence[Sequence[str]]

LOOP_STEPS: Final = (1, 2, 3, 5, 7, 10, 15, 20)
POSE_STEPS: Final = ("1", "5", "10", "20")
SABOTAGE_STEPS: Final = (1, 5, 10)
SABOTAGE: Final = {
    "nothing": "nothing",
    "pictures_of_another_episode": "the history at reset is another episode's (place: where *that* one ended)",
    "pose_half_a_metre_wrong": "the pose at reset is 0.5 m wrong",
    "poses_shuffled": "the poses at reset are other worlds'",
    "outside_the_room": "the pose at reset is 42 m away",
    "numbers_zeroed": "all numbers but the wheels' velocities are zeroed",
    "another_map": "the map is turned by 180 degrees",
    "scene_off": "the scene is switched off (the same checkpoint, masked model alone, one pass)",
}
REWARDS: Final = {
    "poses": "carried pose",
    "carried": "carried pose (with pictures)",
    "localiser": "localiser on the pictures",
    "network": "read-out of the pictures",
    "seen": "read-out of the true pictures",
}
READOUT: Final = {
    "base_position": ("base", "m"),
    "heading": ("heading", "degrees"),
    "head_position": ("head camera", "m"),
    "gaze": ("gaze", "degrees"),
    "left_hand": ("left hand", "m"),
    "right_hand": ("right hand", "m"),
    "hand_in_view": ("hands in view", "m"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is made."""

    sources: Sequence[str]
    """Names of the JSON files in docs/results, without their ending."""
    rows: Callable[..., Rows]
    """Returns the table's rows, its head first, from the files' contents."""


def next_clip(fidelity: Content) -> Rows:
    """Returns the PSNR of the next clip, for all windows and for moving ones."""
    every = fidelity["next_clip"]
    moving = every["moving"]
    names = {
        "psnr_true_actions": "true actions",
        "psnr_shuffled_actions": "another window's actions",
        "psnr_repeat_last_frame": "repeat the last frame",
        "psnr_tokenizer_ceiling": "tokenizer alone (ceiling)",
    }
    head = [
        "next clip",
        f"all {every['starts']:,} windows",
        f"{moving['starts']} moving ones (repeat-last below 20 dB)",
    ]
    return [head, *([name, _db(every[key]), _db(moving[key])] for key, name in names.items())]


def closed_loop(fidelity: Content) -> Rows:
    """Returns the PSNR of closed loops by env step."""
    loop = fidelity["closed_loop"]
    names = {
        "psnr": "learned world",
        "psnr_repeat_last_frame": "repeat the frame before the loop",
        "psnr_tokenizer_ceiling": "tokenizer alone (ceiling)",
    }
    head = [f"closed loop, recorded actions, {loop['starts']} starts", *map(str, LOOP_STEPS)]
    return [head, *([name, *(_db(loop[key][step - 1]) for step in LOOP_STEPS)] for key, name in names.items())]


def long_loop(fidelity: Content) -> Rows:
    """Returns the PSNR and the carried pose of loops of a hundred env steps."""
    loop = fidelity["long_loop"]
    steps = list(loop["psnr"])
    carried = [f"{loop['carried_pose'][step]['position_m']['median']:.3f} m" for step in steps]
    return [
        [f"a hundred steps of teleoperation, {loop['starts']} episodes", *steps],
        ["learned world", *(_db(loop["psnr"][step]) for step in steps)],
        ["worst loop", *(_db(loop["psnr_worst"][step]) for step in steps)],
        ["tokenizer alone (ceiling)", *(_db(loop["psnr_tokenizer_ceiling"][step]) for step in steps)],
        ["carried pose, median", *carried],
    ]


def pose(fidelity: Content) -> Rows:
    """Returns the errors of the localised, carried and painted pose."""
    errors = {"at reset, from nine recorded clips": fidelity["localisation"]["error"]}
    errors |= {f"carried, after {_steps(step)}": fidelity["carried_pose"][step] for step in POSE_STEPS}
    painted = fidelity["painted_pose"]
    errors |= {f"painted, after {_steps(step)}": painted[step]["from_truth"] for step in painted}
    errors |= {f"painted from carried, after {_steps(step)}": painted[step]["from_carried"] for step in painted}
    rows = [
        [
            name,
            *(
                f"{error['position_m'][which]:.3f} m, {error['heading_deg'][which]:.2f} degrees"
                for which in ("median", "p90")
            ),
            f"{error['position_m']['worst']:.2f} m",
            f"{100 * error['unknown']:.1f} %",
        ]
        for name, error in errors.items()
    ]
    return [["pose, compared with the truth", "median", "p90", "worst", "unknown"], *rows]


def knowledge(fidelity: Content) -> Rows:
    """Returns what the scene draws by itself, what is left of a view, and where drives into obstacles end."""
    scene, away, walls = fidelity["scene"], fidelity["away_and_back"], fidelity["walls"]
    decoded, other = _db(scene["psnr"]), _db(scene["psnr_shuffled_poses"])
    return [
        ["what the world knows", "measured"],
        ["scene alone at true poses, against decoded tokens", f"{decoded} dB (at another episode's poses {other})"],
        ["the same against the images", f"{_db(scene['psnr_images'])} dB"],
        [
            f"turned away by 90 to 180 degrees and back, last two clips, {away['starts']} episodes",
            f"{_db(away['psnr'])} dB, worst {_db(away['psnr_worst'])} (before the turn {_db(away['psnr_before'])})",
        ],
        [
            f"{walls['cases']} drives into an obstacle: the carried pose stops within 0.3 m of the true one",
            f"{_share(walls['right'])}, median {walls['error_median_m']:.3f} m",
        ],
    ]


def commands(fidelity: Content) -> Rows:
    """Returns how often the clip of a command is nearest to the true clip of that command."""
    right = fidelity["counterfactuals"]
    names = [name.replace("_", " ") for name in right["right_by_action"]]
    head = [f"nearest to its own true clip among seven, {right['starts']} starts", *names, "all"]
    return [head, ["share", *(_share(value) for value in (*right["right_by_action"].values(), right["right"]))]]


def sabotage(fidelity: Content) -> Rows:
    """Returns what is left of closed loops with one part sabotaged."""
    parts = fidelity["sabotage"]
    head = ["sabotaged part", "step 1", "5", "10", "unknown", "place at reset, median"]
    rows = []
    for key, part in parts.items():
        place = part["start_error_median_m"]
        values = [_db(part["psnr"][step - 1]) for step in SABOTAGE_STEPS]
        rows.append([SABOTAGE[key], *values, f"{100 * part['unknown_share']:.0f} %", _metres(place)])
    return [head, *rows]


def readout(fidelity: Content) -> Rows:
    """Returns the read-out's errors on recorded clips and in closed loops."""
    by_step = fidelity["pose"]
    head = ["error, median (90 % below)", "recorded clips", *(f"step {step}" for step in POSE_STEPS)]
    rows = []
    for key, (name, unit) in READOUT.items():
        errors = [by_step["10"]["recorded"][key], *(by_step[step]["predicted"][key] for step in POSE_STEPS)]
        rows.append([f"{name}, {unit}", *(_median_and_p90(error) for error in errors)])
    return [head, *rows]


def actions(certificate: Content) -> Rows:
    """Returns how much worse other actions predict the recorded clips."""
    names = {
        "true": "recorded",
        "delayed": "delayed by a clip",
        "redirected": "redirected: another window's, shifted to begin at the current numbers",
        "mirrored": "mirrored",
        "shuffled": "shuffled",
        "zeroed": "zeroed",
        "repeat_last_frame": "last frame repeated",
        "tokenizer_ceiling": "recorded clip through the tokenizer",
    }
    rows = []
    for key, name in names.items():
        scores, gap = certificate["actions"][key], certificate["gaps"].get(key)
        below = "" if gap is None else _interval(gap, 1)
        rows.append([name, _db(scores["psnr_moving"]), below, _share(scores["token_accuracy"])])
    return [["actions", "PSNR of moving parts, dB", "below the recorded ones, dB", "correct tokens"], *rows]


def shown(certificate: Content) -> Rows:
    """Returns how well an inverse-dynamics network reads the actions from recorded and from predicted clips."""
    found = certificate["inverse_dynamics"]
    head = ["an inverse-dynamics network reads", *found["real"]]
    names = {
        "real": "actions from recorded clips, R²",
        "predicted": "actions from clips predicted with them, R²",
        "difference": "changed actions from clips predicted with them, slope",
    }
    rows = [[name, *(f"{value:.2f}" for value in found[key].values())] for key, name in names.items()]
    shares = (_share(found["difference"][group] / found["real"][group]) for group in found["real"])
    return [head, *rows, ["the slope as a share of the first line", *shares]]


def swaps(parts: Content) -> Rows:
    """Returns the PSNR of closed loops by what is swapped for the truth."""
    by_swap = parts["psnr_db"]
    steps = list(by_swap["nothing"])
    return [["true", *steps], *([name, *(_db(of_swap[step]) for step in steps)] for name, of_swap in by_swap.items())]


def costs(parts: Content) -> Rows:
    """Returns what the error of each part costs in closed loops."""
    rows = [[name, *(_interval(each, 2) for each in by_step.values())] for name, by_step in parts["costs_db"].items()]
    shares = [_share(each["value"]) for each in parts["tokenizer_share"].values()]
    head = ["dB that it costs", *parts["tokenizer_share"]]
    return [head, *rows, ["share of the squared error: tokenizer", *shares]]


def trust(trust: Content) -> Rows:
    """Returns how well the predicted probability of an error tells wrong clips from others."""
    every, within = trust["auroc"], trust["auroc_within_a_step"]
    steps = trust["auroc_of_one_feature"]["steps"]
    other = trust["auroc_of_another_worlds_risk"]
    return [
        ["AUROC", "all steps", "among clips of the same step"],
        ["`error_probability`", _interval(every, 2), _interval(within, 2)],
        ["number of the step only", f"{steps['all']:.2f}", f"{steps['within_a_step']:.2f}"],
        ["another world's risk at the same step", f"{other['all']:.2f}", f"{other['within_a_step']:.2f}"],
        ["shuffled labels", f"{trust['auroc_of_shuffled_labels']:.2f}", ""],
    ]


def trust_by_actions(trust: Content) -> Rows:
    """Returns the share of wrong clips and the mean predicted probability, by kind of actions."""
    names = {
        "recorded": "recorded",
        "borrowed": "another episode's",
        "wandering": "wandering within the rate limits",
        "jumping": "jumps",
        "beyond": "beyond the training data",
    }
    rows = [
        [name, f"{100 * found['share_wrong']:.1f} %", f"{100 * found['mean_probability']:.1f} %"]
        for name, found in ((names[key], trust["by_source"][key]) for key in names)
    ]
    expected = sum(bin["count"] * (bin["mean_probability"] or 0) for bin in trust["reliability"]) / trust["clips"]
    every = ["all", f"{100 * trust['share_wrong']:.1f} %", f"{100 * expected:.1f} %"]
    return [["actions", "wrong clips", "mean predicted probability"], *rows, every]


def agreement(agreement: Content) -> Rows:
    """Returns how well success rates in the two worlds agree, by task and source of rewards.

    Each measure is given for the measured rates and, with an interval over starts, for the expected ones.
    """
    head = ["task", "rewards from", "policies", "k", "Pearson", "Spearman", "MMRV", "bias"]
    rows = []
    for task, by_rewards in agreement["tasks"].items():
        for rewards, report in by_rewards.items():
            values = (_estimate(report[name], 3) for name in ("pearson", "spearman", "mmrv", "bias"))
            rows.append([task, REWARDS[rewards], str(len(report["policies"])), str(report["k"]), *values])
    return [head, *rows]


def mpc(mpc: Content) -> Rows:
    """Returns success of planners in the reference world, by task and budget."""
    names = {
        "oracle": "the reference world (oracle)",
        "poses": "the learned world's carried pose",
        "pictures": "the read-out of its pictures",
    }
    head = ["task", "plans judged by", "clips a plan", "seconds a plan", "success", "share of the oracle's"]
    rows = []
    for task, planners in mpc["tasks"].items():
        for row in planners:
            share = _interval(row["share"], 2) if "share" in row else ""
            numbers = (str(row["clips"]), f"{row['seconds']:.2f}", _interval(row["success"], 2), share)
            rows.append([task, names[row["planner"]], *numbers])
    return [head, *rows]


def rl(rl: Content) -> Rows:
    """Returns what PPO trained in the learned world reaches in the reference world."""
    names = {
        "learned": "in the learned world",
        "true": "in the reference world",
        "true, same seconds": "in the reference world for the same time",
        "tuned": "in the learned, then in the reference world",
    }
    head = ["task", "trained", "env steps", "CPU seconds", "success", "share of the return"]
    rows = []
    for task, report in rl["tasks"].items():
        for kind, name in names.items():
            found = report["results"][kind]
            shares = _interval(found["success"], 2), _interval(found["share"], 3)
            rows.append([task, name, f"{found['steps']:,.0f}", f"{found['cpu_seconds']:.0f}", *shares])
    return [head, *rows]


def dial(dial: Content) -> Rows:
    """Returns time and truth of the settings on the Pareto front of all frames, of the default, and of the slowest."""
    settings = {each["name"]: each for each in dial["settings"]}
    slowest = max(settings, key=lambda name: settings[name]["ms"]["frames"])
    shown = dict.fromkeys([*dial["pareto"]["frames"], dial["default"], slowest])
    times = ["ms, all frames", "ms, last frame of 8", "ms, tokens of 8"]
    steps = list(dial["ceiling_db"])
    rows = [["setting", "K", *times, *(f"PSNR after {step}" for step in steps), "loss, dB"]]
    for name in sorted(shown, key=lambda name: settings[name]["ms"]["frames"]):
        each = settings[name]
        times = [f"{each['ms'][kind]:.1f}" for kind in ("frames", "pixels", "tokens")]
        loops = [_db(each["psnr_db"][step]) for step in steps]
        about = f"{each['backend']}, {each['precision']}, {each['history']}"
        if name == dial["default"]:
            about += " (default)"
        rows.append([about, str(each["steps"]), *times, *loops, _interval(each["loss_db"], 2)])
    return rows


def dial_uses(dial: Content) -> Rows:
    """Returns the fastest setting for each use that loses little."""
    settings = {each["name"]: each for each in dial["settings"]}
    rows = [["use", "setting", "K", "times as fast as the default", "loss, dB"]]
    for use, chosen in dial["recommended"].items():
        each = settings[chosen["setting"]]
        about = f"{each['backend']}, {each['precision']}, {each['history']}"
        loss = _interval(chosen["loss_db"], 2)
        rows.append([use, about, str(each["steps"]), f"{chosen['times_as_fast']:.1f}", loss])
    return rows


def worth(agreement: Content, rl: Content) -> Rows:
    """Returns what evaluations and trainings by the learned world's carried pose are worth, by task."""
    head = ["task", "Pearson", "MMRV", "PPO trained in it: share of the return"]
    rows = []
    for task, by_rewards in agreement["tasks"].items():
        if "poses" not in by_rewards:
            continue
        report, trained = by_rewards["poses"], rl["tasks"].get(task)
        share = "" if trained is None else _interval(trained["results"]["learned"]["share"], 3)
        measures = (_interval(report[name]["over_starts"], 3) for name in ("pearson", "mmrv"))
        rows.append([task, *measures, share])
    return [head, *rows]


TABLES: Final = {
    "next-clip": Table(["fidelity"], next_clip),
    "closed-loop": Table(["fidelity"], closed_loop),
    "long-loop": Table(["fidelity"], long_loop),
    "pose": Table(["fidelity"], pose),
    "knowledge": Table(["fidelity"], knowledge),
    "commands": Table(["fidelity"], commands),
    "sabotage": Table(["fidelity"], sabotage),
    "readout": Table(["fidelity"], readout),
    "actions": Table(["certificate"], actions),
    "shown": Table(["certificate"], shown),
    "trust": Table(["trust"], trust),
    "trust-by-actions": Table(["trust"], trust_by_actions),
    "swaps": Table(["parts"], swaps),
    "costs": Table(["parts"], costs),
    "agreement": Table(["agreement"], agreement),
    "mpc": Table(["mpc"], mpc),
    "rl": Table(["rl"], rl),
    "dial": Table(["dial"], dial),
    "dial-uses": Table(["dial"], dial_uses),
    "worth": Table(["agreement", "rl"], worth),
}
"""Tables by name."""


def _db(value: float) -> str:
    return f"{value:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _interval(estimate: Content, digits: int) -> str:
    value, low, high = (_number(estimate[key], digits) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float | None, digits: int) -> str:
    """Returns a number; "-" if it is undefined, for which JSON has no number."""
    return "-" if value is None else f"{value:.{digits}f}"


def _estimate(measure: Content, digits: int) -> str:
    """Returns a measured value, then that of the expected results with its interval over starts."""
    return f"{_number(measure['value'], digits)}; {_interval(measure['over_starts'], digits)}"


def _metres(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} m"


def _steps(step: str) -> str:
    return f"{step} step" if step == "1" else f"{step} steps"


def _median_and_p90(error: Content) -> str:
    digits = 1 if error["unit"] == "deg" else 3
    return f"{error['median']:.{digits}f} ({error['p90']:.{digits}f})"
