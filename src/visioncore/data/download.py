"""Public recordings over HTTPS: what is to be fetched, under which licence, and a download that goes on where it was.

Sources: the DANDI archive's REST API (https://api.dandiarchive.org/swagger), and the addresses at which the organisers
of Sensorium 2023 published the mice (https://github.com/ecker-lab/sensorium_2023).
"""

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from visioncore.errors import DataError
from visioncore.files import replace_durably

DANDI = "https://api.dandiarchive.org/api"
GIN = "https://gin.g-node.org/pollytur"
SENSORIUM_2023 = {
    "sensorium_2023_dataset": (
        "dynamic29515-10-12-Video-9b4f6a1a067fe51e15306b9628efea20",
        "dynamic29623-4-9-Video-9b4f6a1a067fe51e15306b9628efea20",
        "dynamic29647-19-8-Video-9b4f6a1a067fe51e15306b9628efea20",
        "dynamic29712-5-9-Video-9b4f6a1a067fe51e15306b9628efea20",
        "dynamic29755-2-8-Video-9b4f6a1a067fe51e15306b9628efea20",
    ),
    "Sensorium2023Data": (
        "dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce",
        "dynamic29228-2-10-Video-8744edeac3b4d1ce16b680916b5267ce",
        "dynamic29234-6-9-Video-8744edeac3b4d1ce16b680916b5267ce",
        "dynamic29513-3-5-Video-8744edeac3b4d1ce16b680916b5267ce",
        "dynamic29514-2-9-Video-8744edeac3b4d1ce16b680916b5267ce",
    ),
}
"""By repository: the five mice of the competition, and the five that were published before."""
SENSORIUM_LICENCE = (
    "CC BY-NC-ND 4.0: not for commercial use, and nothing derived from the data may be passed on (no prepared stores, "
    "no trained weights) without asking the authors (Turishcheva et al. 2023, arXiv:2305.19654)"
)
_PIECE = 2**20
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Remote:
    """A file to fetch."""

    url: str
    name: str
    licence: str
    sha256: str | None = None
    """None where nobody has published one: then length and the checksums inside of a zip have to do."""


def remotes(what: str, *, dandi: str = DANDI, gin: str = GIN) -> tuple[Remote, ...]:
    """The files that `sensorium2023` (all mice), `sensorium2023/MOUSE` or `dandi:ID[@VERSION]/PATH` stands for.

    Args:
        dandi, gin: addresses of the servers.

    Raises:
        DataError: nothing is called so, or a server does not answer.
    """
    if what.startswith("dandi:"):
        return (_dandi_asset(what.removeprefix("dandi:"), dandi),)
    name, _, mouse = what.partition("/")
    if name != "sensorium2023":
        raise DataError(f"{what!r}: expected sensorium2023, sensorium2023/MOUSE or dandi:ID/PATH")
    mice = [(repository, one) for repository, own in SENSORIUM_2023.items() for one in own]
    chosen = [
        (repository, one)
        for repository, one in mice
        if not mouse or one.startswith((mouse, f"dynamic{mouse}"))
    ]
    if not chosen:
        raise DataError(
            f"{what!r}: no such mouse; there are {', '.join(one.split('-')[0] for _, one in mice)}"
        )
    return tuple(
        Remote(f"{gin}/{repository}/raw/master/{one}.zip", f"{one}.zip", SENSORIUM_LICENCE)
        for repository, one in chosen
    )


def download(
    remote: Remote, folder: Path, advance: Callable[[int, int | None], None] = lambda n, of: None
) -> Path:
    """Fetch a file into a folder; what an interrupted download left is gone on with. A complete file is left alone.

    Args:
        advance: told after each piece how many bytes are there, and of how many where that is known.

    Raises:
        DataError: the server does not answer or stops early, or what came is not what was published.
    """
    target = folder / remote.name
    if target.exists():
        _require_whole(remote, target, "delete it and download again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    _fetch(remote, partial, advance)
    try:
        _require_whole(remote, partial, "it was removed; download again")
    except DataError:
        partial.unlink()
        raise
    replace_durably(partial, target)
    return target


def _fetch(remote: Remote, partial: Path, advance: Callable[[int, int | None], None]) -> None:
    """Append what is missing of a file; a server that knows no ranges sends it anew."""
    there = partial.stat().st_size if partial.exists() else 0
    # One byte less, so that a server need not answer for a range that is empty.
    start = max(there - 1, 0)
    with _answer(remote.url, {"Range": f"bytes={start}-"} if start else {}) as answer:
        there = start if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        size = None if length is None else there + int(length)
        with partial.open("r+b" if partial.exists() else "wb") as file:
            file.seek(there)
            file.truncate()
            while piece := answer.read(_PIECE):
                file.write(piece)
                there += len(piece)
                advance(there, size)
    if size is not None and there < size:
        raise DataError(
            f"{remote.url}: broke off after {there} of {size} bytes; the same command goes on from there"
        )


def _require_whole(remote: Remote, path: Path, remedy: str) -> None:
    if remote.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256:
            raise DataError(
                f"{path}: has SHA-256 {found[:16]}…, and {remote.sha256[:16]}… was published; {remedy}"
            )
    elif remote.name.endswith(".zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except zipfile.BadZipFile as error:
            raise DataError(f"{path}: is no whole zip file ({error}); {remedy}") from None
        if broken is not None:
            raise DataError(f"{path}: its member {broken} is damaged; {remedy}")


def _dandi_asset(what: str, api: str) -> Remote:
    dandiset, _, path = what.partition("/")
    identifier, _, version = dandiset.partition("@")
    if not path or not identifier:
        raise DataError(f"'dandi:{what}': expected dandi:ID/PATH, such as dandi:000402/sub-17797/file.nwb")
    version = version or "draft"
    place = f"{api}/dandisets/{identifier}/versions/{version}"
    listed = _json(f"{place}/assets/?path={urllib.parse.quote(path)}&page_size=20")
    found: Sequence[dict[str, Any]] = listed.get("results", [])
    exact = [asset for asset in found if asset.get("path") == path]
    if len(exact) != 1:
        near = ", ".join(str(asset.get("path")) for asset in found[:5]) or "nothing"
        raise DataError(f"dandi:{identifier}: has no file {path!r} (near it: {near})")
    asset = _json(f"{api}/assets/{exact[0]['asset_id']}/")
    licence = ", ".join(str(one).removeprefix("spdx:") for one in _json(f"{place}/").get("license", []))
    return Remote(
        url=f"{api}/assets/{exact[0]['asset_id']}/download/",
        name=Path(path).name,
        licence=licence or "none is given: ask the authors",
        sha256=asset.get("digest", {}).get("dandi:sha2-256"),
    )


def _json(url: str) -> dict[str, Any]:
    with _answer(url, {}) as answer:
        try:
            content = json.loads(answer.read())
        except ValueError as error:
            raise DataError(f"{url}: answers with no JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{url}: answers with another JSON than expected")
    return content


def _answer(url: str, headers: dict[str, str]) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "visioncore", **headers})
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise DataError(f"{url}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError) as error:
        raise DataError(f"{url}: cannot be reached ({error})") from None
    return answer
