"""What is in a mouse of the Sensorium competitions."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.file_tree import open_tree
from visioncore.data.sources.sensorium import MARKER, VIDEO_HZ
from visioncore.data.sources.sensorium_trials import LEFT_OUT, TIERS, MouseFiles, TrialFile
from visioncore.errors import DataError

_SIGNS = (MARKER, "meta/neurons/unit_ids.npy", "data/videos", "data/images")
_LOOKED_AT = 8


def inspect_sensorium(path: Path) -> Inspection | None:
    """A mouse's folder or zip; None where it is something else.

    Raises:
        DataError: it is one, and a file is missing or damaged.
    """
    if not _is_one(path):
        return None
    mouse = MouseFiles(open_tree(path, MARKER))
    tiers = Counter(mouse.tiers)
    withheld = _withheld_tiers(mouse)
    tested = {tier for tier in tiers if tier != LEFT_OUT and TIERS[tier][0] == "test"}
    first = next(n for n in mouse.numbers(mouse.stimulus) if mouse.tiers[n] != LEFT_OUT)
    shown = mouse.shown(first)
    listed = [
        Listed(
            f"data/{mouse.stimulus}",
            shown.shape,
            str(shown.dtype),
            f"trial {first}: (time, channels, height, width)",
        ),
        Listed("meta/neurons/unit_ids.npy", (len(mouse.unit_ids),), note="neurons"),
        *(Listed(f"data/{f}", note=_files(mouse, f)) for f in ("responses", "behavior", "pupil_center")),
        *(
            Listed(f"tier {tier}", (n,), note="responses withheld" if tier in withheld else "")
            for tier, n in sorted(tiers.items())
        ),
    ]
    params: dict[str, Any] = {} if mouse.static else {"sampling_rate_hz": VIDEO_HZ}
    comments = {} if mouse.static else {"params.sampling_rate_hz": "the competition's; no file says it"}
    notes = [
        "single trials stand in the order of their numbers, which is not that in which they were recorded"
    ]
    if mouse.static:
        notes.append("images have no rate: one bin each, and no burn-in")
    if tested and tested <= withheld:
        params["tiers"] = "public"
        comments["params.tiers"] = (
            "responses of all test tiers are withheld: test on oracle, validate on training clips"
        )
        notes.append("responses of all test tiers are withheld; `tiers: public` leaves something to test on")
    animal = re.search(r"(?:dynamic|static)(\d+)-", path.name)
    params["sessions"] = [
        {
            "id": path.name.split("-Video")[0].split("-GrayImage")[0],
            "subject": animal[1] if animal else None,
            "path": path.name,
        }
    ]
    if not animal:
        comments["params.sessions.0.subject"] = "fill in which animal this is"
    return Inspection(
        format="sensorium",
        where=path,
        listed=tuple(listed),
        proposal={"type": "sensorium", "params": params},
        comments=comments,
        notes=tuple(notes),
        pictures=(Picture(f"trial {first}, first frame", np.asarray(shown[0, 0])),),
    )


def _is_one(path: Path) -> bool:
    if path.is_dir():
        return sum((path / sign).exists() for sign in _SIGNS) >= 2 or (
            (path / "data" / "responses").is_dir() and any((path / sign).exists() for sign in _SIGNS)
        )
    if path.suffix.lower() != ".zip":
        return False
    try:
        open_tree(path, MARKER)
    except DataError:
        # A zip that names itself so is one that was cut off, and says so.
        if re.match(r"(dynamic|static)\d+-", path.name):
            raise
        return False
    return True


def _files(mouse: MouseFiles, folder: str) -> str:
    n = len(mouse.numbers(folder))
    return f"{n} files for {len(mouse.tiers)} trials" if n else "none"


def _withheld_tiers(mouse: MouseFiles) -> set[str]:
    """Tiers without a response in a few of their trials."""
    found = set()
    there = set(mouse.numbers(mouse.stimulus))
    for tier in set(mouse.tiers) - {LEFT_OUT}:
        numbers = [n for n, own in enumerate(mouse.tiers) if own == tier and n in there][:_LOOKED_AT]
        if all(_is_empty(mouse, n, tier) for n in numbers):
            found.add(tier)
    return found


def _is_empty(mouse: MouseFiles, number: int, tier: str) -> bool:
    n_bins = len(mouse.shown(number))
    responses = mouse.responses(TrialFile(number, tier, n_bins, withheld=False))
    return not np.nan_to_num(responses).any()
