"""Places that are no folder of this machine: URLs that fsspec opens (`s3://bucket/place`, `https://…`, `memory://…`).

A `RemotePath` is a string with the names of `pathlib`. It holds nothing open: every process has its own connections,
also one that was forked.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from visioncore.errors import DataError


@dataclass(frozen=True)
class RemotePath:
    """A file or folder behind a URL.

    Every method raises DataError where the URL cannot be reached, is refused, or needs a package that is missing.
    """

    url: str

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its last suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> "RemotePath":
        """The folder that it is in."""
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    @property
    def of_one_process(self) -> bool:
        """Whether no other process sees what is there."""
        return self.url.startswith("memory://")

    def exists(self) -> bool:
        """Whether there is a file, which is not empty."""
        # Of a server that does not answer, fsspec's own `exists` says that there is nothing.
        try:
            with self._opened() as (system, path):
                system.cat_file(path, start=0, end=1)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._opened() as (system, path):
            return bytes(system.cat_file(path))

    def write_bytes(self, data: bytes) -> None:
        """Put a file here, in one request: who reads meanwhile sees the old one, the new one, or none."""
        with self._opened() as (system, path):
            system.makedirs(system._parent(path), exist_ok=True)
            system.pipe_file(path, data)

    def sizes(self) -> dict[str, int | None]:
        """The files right here, by name, with their bytes (None: the server does not say)."""
        with self._opened() as (system, path):
            system.invalidate_cache(path)
            found = system.ls(path, detail=True)
            return {RemotePath(entry["name"]).name: entry.get("size") for entry in found}

    def remove(self) -> None:
        """All that is under this, if there is anything."""
        with self._opened() as (system, path), contextlib.suppress(FileNotFoundError):
            system.rm(path, recursive=True)

    def zarr_store(self, mode: str) -> Any:
        """What Zarr reads (mode `r`) or writes (`w`) here. A file that is missing is an error, never zeros."""
        from zarr.storage import FsspecStore

        with self._opened():
            allowed = () if mode == "r" else (FileNotFoundError, NotADirectoryError)
            return FsspecStore.from_url(self.url, read_only=mode == "r", allowed_exceptions=allowed)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """What fails in here, fails because of this place: it becomes a DataError that says so."""
        try:
            yield
        except (FileNotFoundError, DataError):
            raise
        except ImportError as error:
            raise DataError(f"{self.url}: {error}") from None
        except (PermissionError, NotImplementedError) as error:
            raise DataError(
                f"{self.url}: is refused ({_told(error)}); does it allow this, and are the keys for it set?"
            ) from None
        except Exception as error:
            # Each file system of fsspec has its own errors.
            raise DataError(
                f"{self.url}: does not answer as it should ({_told(error)}); check the URL, the network and the keys "
                "for it"
            ) from None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise DataError(
                f"{self.url}: stores behind URLs need fsspec; `pip install 'visioncore[remote]'`"
            ) from None
        with self.reached():
            yield url_to_fs(self.url)


AnyPath = Path | RemotePath


def placed(base: Path, place: str) -> AnyPath:
    """A folder that a config names: relative to `base`, or a URL. `file://` is a folder of this machine."""
    if "://" not in place:
        return base / place
    if place.startswith("file://"):
        return Path(url2pathname(urlsplit(place).path))
    return RemotePath(place)


def _told(error: BaseException) -> str:
    return ": ".join(part for part in (type(error).__name__, str(error)) if part)
