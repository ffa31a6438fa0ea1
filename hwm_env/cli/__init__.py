"""The command `hwm-env`: lists the workflows, parses their configs and reports their errors."""

from hwm_env.cli.program import EXIT_BAD_INPUT, main

__all__ = ["EXIT_BAD_INPUT", "main"]
