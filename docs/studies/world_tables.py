"""Tables of what the learned world predicts and knows, made from JSON files in docs/results."""

from typing import Final

from docs.studies.cells import Content, Rows, counted, decibels, median_and_p90, metres, percent, with_interval

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
READOUT: Final = {
    "base_position": ("base", "m"),
    "heading": ("heading", "degrees"),
    "head_position": ("head camera", "m"),
    "gaze": ("gaze", "degrees"),
    "left_hand": ("left hand", "m"),
    "right_hand": ("right hand", "m"),
    "hand_in_view": ("hands in view", "m"),
}


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
    return [head, *([name, decibels(every[key]), decibels(moving[key])] for key, name in names.items())]


def closed_loop(fidelity: Content) -> Rows:
    """Returns the PSNR of closed loops by env step."""
    loop = fidelity["closed_loop"]
    names = {
        "psnr": "learned world",
        "psnr_repeat_last_frame": "repeat the frame before the loop",
        "psnr_tokenizer_ceiling": "tokenizer alone (ceiling)",
    }
    head = [f"closed loop, recorded actions, {loop['starts']} starts", *map(str, LOOP_STEPS)]
    return [head, *([name, *(decibels(loop[key][step - 1]) for step in LOOP_STEPS)] for key, name in names.items())]


def long_loop(fidelity: Content) -> Rows:
    """Returns the PSNR and the carried pose of loops of a hundred env steps."""
    loop = fidelity["long_loop"]
    steps = list(loop["psnr"])
    carried = [f"{loop['carried_pose'][step]['position_m']['median']:.3f} m" for step in steps]
    return [
        [f"a hundred steps of teleoperation, {loop['starts']} episodes", *steps],
        ["learned world", *(decibels(loop["psnr"][step]) for step in steps)],
        ["worst loop", *(decibels(loop["psnr_worst"][step]) for step in steps)],
        ["tokenizer alone (ceiling)", *(decibels(loop["psnr_tokenizer_ceiling"][step]) for step in steps)],
        ["carried pose, median", *carried],
    ]


def pose(fidelity: Content) -> Rows:
    """Returns the errors of the localised, carried and painted pose."""
    errors = {"at reset, from nine recorded clips": fidelity["localisation"]["error"]}
    errors |= {f"carried, after {counted(step)}": fidelity["carried_pose"][step] for step in POSE_STEPS}
    painted = fidelity["painted_pose"]
    errors |= {f"painted, after {counted(step)}": painted[step]["from_truth"] for step in painted}
    errors |= {f"painted from carried, after {counted(step)}": painted[step]["from_carried"] for step in painted}
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
    decoded, other = decibels(scene["psnr"]), decibels(scene["psnr_shuffled_poses"])
    return [
        ["what the world knows", "measured"],
        ["scene alone at true poses, against decoded tokens", f"{decoded} dB (at another episode's poses {other})"],
        ["the same against the images", f"{decibels(scene['psnr_images'])} dB"],
        [
            f"turned away by 90 to 180 degrees and back, last two clips, {away['starts']} episodes",
            f"{decibels(away['psnr'])} dB, worst {decibels(away['psnr_worst'])} "
            f"(before the turn {decibels(away['psnr_before'])})",
        ],
        [
            f"{walls['cases']} drives into an obstacle: the carried pose stops within 0.3 m of the true one",
            f"{percent(walls['right'])}, median {walls['error_median_m']:.3f} m",
        ],
    ]


def commands(fidelity: Content) -> Rows:
    """Returns how often the clip of a command is nearest to the true clip of that command."""
    right = fidelity["counterfactuals"]
    names = [name.replace("_", " ") for name in right["right_by_action"]]
    head = [f"nearest to its own true clip among seven, {right['starts']} starts", *names, "all"]
    return [head, ["share", *(percent(value) for value in (*right["right_by_action"].values(), right["right"]))]]


def sabotage(fidelity: Content) -> Rows:
    """Returns what is left of closed loops with one part sabotaged."""
    parts = fidelity["sabotage"]
    head = ["sabotaged part", "step 1", "5", "10", "unknown", "place at reset, median"]
    rows = []
    for key, part in parts.items():
        place = part["start_error_median_m"]
        values = [decibels(part["psnr"][step - 1]) for step in SABOTAGE_STEPS]
        rows.append([SABOTAGE[key], *values, f"{100 * part['unknown_share']:.0f} %", metres(place)])
    return [head, *rows]


def readout(fidelity: Content) -> Rows:
    """Returns the read-out's errors on recorded clips and in closed loops."""
    by_step = fidelity["pose"]
    head = ["error, median (90 % below)", "recorded clips", *(f"step {step}" for step in POSE_STEPS)]
    rows = []
    for key, (name, unit) in READOUT.items():
        errors = [by_step["10"]["recorded"][key], *(by_step[step]["predicted"][key] for step in POSE_STEPS)]
        rows.append([f"{name}, {unit}", *(median_and_p90(error) for error in errors)])
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
        below = "" if gap is None else with_interval(gap, 1)
        rows.append([name, decibels(scores["psnr_moving"]), below, percent(scores["token_accuracy"])])
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
    shares = (percent(found["difference"][group] / found["real"][group]) for group in found["real"])
    return [head, *rows, ["the slope as a share of the first line", *shares]]


def swaps(parts: Content) -> Rows:
    """Returns the PSNR of closed loops by what is swapped for the truth."""
    by_swap = parts["psnr_db"]
    steps = list(by_swap["nothing"])
    return [
        ["true", *steps],
        *([name, *(decibels(of_swap[step]) for step in steps)] for name, of_swap in by_swap.items()),
    ]


def costs(parts: Content) -> Rows:
    """Returns what the error of each part costs in closed loops."""
    rows = [
        [name, *(with_interval(each, 2) for each in by_step.values())] for name, by_step in parts["costs_db"].items()
    ]
    shares = [percent(each["value"]) for each in parts["tokenizer_share"].values()]
    head = ["dB that it costs", *parts["tokenizer_share"]]
    return [head, *rows, ["share of the squared error: tokenizer", *shares]]


def trust(trust: Content) -> Rows:
    """Returns how well the predicted probability of an error tells wrong clips from others."""
    every, within = trust["auroc"], trust["auroc_within_a_step"]
    steps = trust["auroc_of_one_feature"]["steps"]
    other = trust["auroc_of_another_worlds_risk"]
    return [
        ["AUROC", "all steps", "among clips of the same step"],
        ["`error_probability`", with_interval(every, 2), with_interval(within, 2)],
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
