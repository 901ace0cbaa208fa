"""Commands about recordings: prepare."""

from pathlib import Path
from typing import Annotated

import typer

from visioncore.cli.app import app


@app.command()
def prepare(data: Annotated[Path, typer.Argument(help="Data YAML.")]) -> None:
    """Read the recordings that DATA describes, check them, and store them for training."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.data.splits import SPLITS
    from visioncore.data.usability import usable_minutes

    store = prepare_store(load_data_config(data), data.parent)
    typer.echo(str(store.path))
    for session in store.sessions.values():
        minutes = {split: usable_minutes(store, session, split) for split in SPLITS}
        parts = ", ".join(f"{split} {left:.2g} of {all_:.2g}" for split, (all_, left) in minutes.items())
        typer.echo(
            f"  {session.id} ({session.subject}): {len(session.unit_ids)} units; minutes after burn-in: {parts}"
        )
