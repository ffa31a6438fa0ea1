"""Tables of what the learned world is worth to policies, made from JSON files in docs/results."""

from typing import Final

from docs.studies.cells import Content, Rows, decibels, estimate, percent, with_interval

REWARDS: Final = {
    "poses": "carried pose",
    "carried": "carried pose (with pictures)",
    "localiser": "localiser on the pictures",
    "network": "read-out of the pictures",
    "seen": "read-out of the true pictures",
}


def agreement(agreement: Content) -> Rows:
    """Returns how well success rates in the two worlds agree, by task and source of rewards.

    Each measure is given for the measured rates and, with an interval over starts, for the expected ones.
    """
    head = ["task", "rewards from", "policies", "k", "Pearson", "Spearman", "MMRV", "bias"]
    rows = []
    for task, by_rewards in agreement["tasks"].items():
        for rewards, report in by_rewards.items():
            values = (estimate(report[name], 3) for name in ("pearson", "spearman", "mmrv", "bias"))
            rows.append([task, REWARDS[rewards], str(len(report["policies"])), str(report["k"]), *values])
    return [head, *rows]


def sources(rewards: Content) -> Rows:
    """Returns how well success rates agree by source of rewards, from the starts that the sources share."""
    rows = [["task", "rewards from", "starts", "Pearson", "MMRV", "bias"]]
    for task, compared in rewards["side_by_side"].items():
        for source, measures in compared["measures"].items():
            values = (estimate(measures[name], 3) for name in ("pearson", "mmrv", "bias"))
            rows.append([task, REWARDS[source], str(compared["starts"]), *values])
    return rows


def savings(agreement: Content) -> Rows:
    """Returns the share of true trials that learned ones with rewards from the carried pose replace, by task."""
    reports = {task: by_rewards["poses"] for task, by_rewards in agreement["tasks"].items() if "poses" in by_rewards}
    known = [each["true_trials"] for each in next(iter(reports.values()))["prediction_powered"]]
    rows = [["task", "learned trials", *(f"{number} true trials" for number in known)]]
    for task, report in reports.items():
        corrections = report["prediction_powered"]
        saved = [each["pooled"]["saved_trials"] for each in corrections]
        shares = [percent(more / (more + number)) for more, number in zip(saved, known, strict=True)]
        rows.append([task, str(corrections[0]["learned_trials"]), *shares])
    return rows


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
            share = with_interval(row["share"], 2) if "share" in row else ""
            numbers = (str(row["clips"]), f"{row['seconds']:.2f}", with_interval(row["success"], 2), share)
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
            shares = with_interval(found["success"], 2), with_interval(found["share"], 3)
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
        loops = [decibels(each["psnr_db"][step]) for step in steps]
        about = f"{each['backend']}, {each['precision']}, {each['history']}"
        if name == dial["default"]:
            about += " (default)"
        rows.append([about, str(each["steps"]), *times, *loops, with_interval(each["loss_db"], 2)])
    return rows


def dial_uses(dial: Content) -> Rows:
    """Returns the fastest setting for each use that loses little."""
    settings = {each["name"]: each for each in dial["settings"]}
    rows = [["use", "setting", "K", "times as fast as the default", "loss, dB"]]
    for use, chosen in dial["recommended"].items():
        each = settings[chosen["setting"]]
        about = f"{each['backend']}, {each['precision']}, {each['history']}"
        loss = with_interval(chosen["loss_db"], 2)
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
        share = "" if trained is None else with_interval(trained["results"]["learned"]["share"], 3)
        measures = (with_interval(report[name]["over_starts"], 3) for name in ("pearson", "mmrv"))
        rows.append([task, *measures, share])
    return [head, *rows]
