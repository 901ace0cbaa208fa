"""The command line: a file per group of commands.

Printing happens here and nowhere else; heavy imports happen inside the commands.
"""

import logging
import sys
from typing import Any

import typer

from visioncore.cli import data, hub, lab, models, scores, suites
from visioncore.cli.app import app
from visioncore.errors import VisionCoreError

__all__ = ["app", "data", "hub", "lab", "main", "models", "scores", "suites"]


class _Stderr(logging.Handler):
    """To stderr as it is now: above a progress bar, while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201


def main() -> Any:
    """Entry point: our errors, and files that cannot be read or written, are one clear message and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Stderr()])
    logging.getLogger("visioncore").setLevel(logging.INFO)
    try:
        app()
    except (VisionCoreError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
