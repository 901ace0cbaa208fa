"""What is in an Experanto folder, or a tar of one."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.experanto import MARKER, RECORDED, devices_of, looks_recorded, sequence
from visioncore.data.sources.experanto_screen import Screen
from visioncore.data.sources.file_tree import FileTree, open_tree
from visioncore.errors import DataError


def inspect_experanto(path: Path) -> Inspection | None:
    """An experiment; None where it is something else.

    Raises:
        DataError: it is one, and a file is missing or damaged.
    """
    tree = _tree(path)
    if tree is None:
        return None
    devices = devices_of(tree)
    screen = Screen(tree, devices, path.name)
    listed = [Listed(name, note=_told(meta)) for name, meta in sorted(devices.items())]
    kinds = Counter(
        (trial.kind, tier) for trial, tier in zip(screen.shown, screen.columns["tier"], strict=True)
    )
    listed += [
        Listed(f"screen trials: {kind}, tier {tier or '–'}", (n,))
        for (kind, tier), n in sorted(kinds.items())
    ]
    candidates = [name for name, meta in devices.items() if meta["modality"] in ("spikes", "sequence")]
    likely = _responses(candidates, devices)
    comments = {"params.sampling_rate_hz": "bins per second, from the first timestamp of the screen on"}
    interval_s = float(np.median(np.diff(screen.frames.times_s)))
    rate_hz = float(f"{1 / interval_s:.3g}")
    kind = None
    if likely is None:
        comments["params.responses"] = f"fill in which device holds the responses: {', '.join(candidates)}"
    else:
        kind = "counts" if devices[likely]["modality"] == "spikes" else "trace"
    behaviour = {
        name: list(sequence(tree, name, meta, path.name).names)
        for name, meta in sorted(devices.items())
        if meta["modality"] == "sequence" and name != likely and not looks_recorded(name, meta)
    }
    session: dict[str, Any] = {
        "id": path.name.removesuffix(".tar"),
        "subject": _animal(tree),
        "path": path.name,
    }
    if session["subject"] is None:
        comments["params.sessions.0.subject"] = "fill in which animal this is"
    if behaviour:
        session["behaviour"] = behaviour
        comments["params.sessions.0.behaviour"] = (
            "signals by device; no file names them, so rename them as you like"
        )
    first = next((n for n, t in enumerate(screen.shown) if t.kind in ("image", "video")), 0)
    frame = screen.frames.pictures.read(np.array([screen.shown[first].start]))[0]
    others = [name for name in candidates if name != likely and looks_recorded(name, devices[name])]
    notes = [
        "a frame holds until the next timestamp, and a sample until the next one, as Experanto reads them"
    ]
    if likely is not None and others:
        notes.append(f"{', '.join(others)}: signals of units too, left out; `responses` can name another")
    if kind == "trace" and likely is not None:
        own_hz = float(devices[likely]["sampling_rate"])
        if own_hz < rate_hz:
            notes.append(
                f"responses come at {own_hz:g} Hz and frames at {rate_hz:g}: bins without a sample count in no loss "
                "and no score"
            )
    return Inspection(
        format="experanto",
        where=path,
        listed=tuple(listed),
        proposal={
            "type": "experanto",
            "params": {
                "sampling_rate_hz": rate_hz,
                "responses": likely,
                "response_kind": kind,
                "sessions": [session],
            },
        },
        comments=comments,
        notes=tuple(notes),
        pictures=(Picture(f"screen trial {first}, first frame", np.moveaxis(frame, 0, -1).squeeze()),),
    )


def _tree(path: Path) -> FileTree | None:
    """None where it is no experiment."""
    if path.is_dir() and not (path / MARKER).exists():
        return None
    if not path.is_dir() and path.suffix.lower() != ".tar":
        return None
    try:
        return open_tree(path, MARKER)
    except DataError as error:
        if f"has no {MARKER}" in str(error):
            return None
        raise


def _animal(tree: FileTree) -> str | None:
    """As `meta.json` has it, where there is one."""
    if "meta.json" not in tree.names:
        return None
    try:
        told = json.loads(tree.bytes("meta.json"))
    except ValueError as error:
        raise DataError(f"{tree.where}, meta.json: is no JSON ({error})") from None
    key = told.get("scan_key") if isinstance(told, dict) else None
    animal = key.get("animal_id") if isinstance(key, dict) else None
    return None if animal is None else str(animal)


def _responses(candidates: list[str], devices: dict[str, dict[str, Any]]) -> str | None:
    """The one device that can be meant."""
    spikes = [name for name in candidates if devices[name]["modality"] == "spikes"]
    if len(spikes) == 1:
        return spikes[0]
    named = [name for name in candidates if name in RECORDED]
    return named[0] if len(named) == 1 else candidates[0] if len(candidates) == 1 else None


def _told(meta: dict[str, Any]) -> str:
    facts = {"sampling_rate": "Hz", "n_signals": "signals", "start_time": "s start", "end_time": "s end"}
    return ", ".join(
        [
            str(meta["modality"]),
            *(f"{meta[k]:g} {unit}" for k, unit in facts.items() if isinstance(meta.get(k), int | float)),
        ]
    )
