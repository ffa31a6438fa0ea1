"""What is asked on every command line of a drive."""

import argparse

from demos.driving.session import SessionConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the fields of SessionConfig."""
    parser.add_argument("--checkpoint", default="room-64", help="name or directory of the learned world")
    parser.add_argument("--task", default="drive-to-target", help="name of a task, or none")
    parser.add_argument("--start", type=int, help="recorded start; by default the seed chooses")
    parser.add_argument("--seed", type=int, default=0, help="of start, goal and noise")


def session_config(arguments: argparse.Namespace) -> SessionConfig:
    """What was asked for."""
    return SessionConfig(
        checkpoint=arguments.checkpoint,
        task=None if arguments.task == "none" else arguments.task,
        start=arguments.start,
        seed=arguments.seed,
    )
