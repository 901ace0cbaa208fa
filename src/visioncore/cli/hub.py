"""Commands about the hub: push."""

from pathlib import Path
from typing import Annotated

import typer

from visioncore.cli.app import app


@app.command()
def push(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|TWIN", help="A run folder or a .safetensors file of a twin.")
    ],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="For all to read; a new repository is private otherwise.")
    ] = False,
    species: Annotated[str | None, typer.Option(help="For the card.")] = None,
    area: Annotated[
        str | None, typer.Option(help="For the card; what the units' own column says when left out.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="For the card: what the animal did and saw.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the weights, as the hub spells it, such as cc-by-4.0.")
    ] = None,
    data_licence: Annotated[str | None, typer.Option(help="Of the data it was trained on.")] = None,
    not_for: Annotated[
        list[str] | None, typer.Option(help="A use that is ruled out; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the card, and push nothing.")] = False,
) -> None:
    """Put a twin on the hub of Hugging Face, with a card of what it is and what it is worth."""
    from visioncore.checkpoint import load_predictor, twin_path
    from visioncore.hub import upload
    from visioncore.report.model_card import Stated, model_card
    from visioncore.run_folder import TWIN

    file = twin_path(run)
    stated = Stated(
        species=species,
        area=area,
        task=task,
        licence=licence,
        data_licence=data_licence,
        not_for=tuple(not_for or ()),
    )
    card = model_card(load_predictor(file), run, stated, repo)
    if dry_run:
        typer.echo(card, nl=False)
        return
    files: dict[str, bytes | Path] = {"README.md": card.encode(), TWIN: file}
    name = upload(repo, files, "A twin, by `visioncore push`", public=public)
    typer.echo(f"{'public' if public else 'private'}: {name}")
