"""Files on a server, read a part at a time."""

import hashlib
import urllib.error
import urllib.request
from typing import Any

from visioncore.errors import ConfigError, DataError

_TIMEOUT_S = 30.0
_CACHE_BYTES = 2**28
_PIECES, _PIECE_BYTES = 16, 2**16


def is_remote(place: str) -> bool:
    """Whether a path of the YAML is an address."""
    return place.startswith(("http://", "https://"))


def open_remote(address: str, where: str) -> Any:
    """A file object over an address.

    Raises:
        ConfigError: remfile is not installed.
        DataError: the server does not answer, has no such file, or does not give parts of it.
    """
    try:
        import remfile
    except ImportError:
        raise ConfigError(
            f"{where}: is on a server, which needs remfile: pip install 'visioncore[nwb]'"
        ) from None
    size = _size(address, where)
    return remfile.File(address, _size=size, _max_cache_size=_CACHE_BYTES)


def remote_digest(address: str, where: str) -> str:
    """Of a file's size and pieces spread over it; a change between the pieces that keeps the size is not noticed."""
    file = open_remote(address, where)
    size = int(file.length)
    digest = hashlib.sha256(str(size).encode())
    length = min(_PIECE_BYTES, size)
    for piece in range(_PIECES):
        file.seek((size - length) * piece // (_PIECES - 1))
        digest.update(file.read(length))
    return digest.hexdigest()


def _size(address: str, where: str) -> int:
    """Asked for with the first byte: links that are signed answer nothing else."""
    request = urllib.request.Request(address, headers={"Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            found = answer.headers.get("Content-Range", "")
            status = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{where}: the server answers {error.code} ({error.reason}) to {address}") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DataError(f"{where}: {address} cannot be reached ({error})") from None
    total = found.rpartition("/")[2]
    if status != 206 or not total.isdigit():
        raise DataError(
            f"{where}: the server of {address} gives whole files only; download the file and give its path"
        )
    return int(total)
