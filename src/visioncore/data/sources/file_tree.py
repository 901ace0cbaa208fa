"""A tree of files that is a folder, a zip or a tar: formats that are handed out as any of them read it as one.

Nothing is unpacked to disk, and nothing is executed. Arrays of folders and tars are memory-mapped; a member of a zip is
read when it is asked for.
"""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Shaped

from visioncore.data.sources.clocked import file_digest
from visioncore.errors import DataError

_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    TypeError,
    OverflowError,
    SyntaxError,
    UnicodeDecodeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)
_NOT_OURS = ("__MACOSX", "__pycache__")
_ARCHIVES = ".zip and .tar are read without unpacking"


class FileTree(Protocol):
    """Files by their names below the root, with forward slashes. Methods raise `DataError` where one is damaged."""

    where: str
    """What messages call it."""
    names: frozenset[str]
    """Of all files."""

    def bytes(self, name: str) -> bytes:
        """The content of a file."""
        ...

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """An array of a .npy file, memory-mapped where that can be."""
        ...

    def raw(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
        """An array that stands in a file without a header."""
        ...

    def fingerprint(self, counts: Callable[[str], bool]) -> Any:
        """What identifies the content of the files that count, as JSON, wherever the tree lies."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_tree(path: Path, marker: str) -> FileTree:
    """The tree whose root holds the file `marker`; the root may lie in a folder of the archive.

    Raises:
        DataError: there is nothing, it is damaged, it holds no such file, or several.
    """
    if path.is_dir():
        names = [str(p.relative_to(path).as_posix()) for p in path.rglob("*") if p.is_file()]
        return _Folder(path, *_root(names, marker, path))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; paths count from the folder of the data YAML")
    if zipfile.is_zipfile(path):
        return _Zip(path, marker)
    if tarfile.is_tarfile(path):
        return _Tar(path, marker)
    kind = "zip file" if path.suffix.lower() == ".zip" else "folder, zip or tar file"
    raise DataError(f"{path}: is not an intact {kind}: was the download cut off? Get the file again")


def _root(names: list[str], marker: str, path: Path) -> tuple[frozenset[str], str]:
    """The names of a tree, and the folder that its root is."""
    own = [name for name in names if not any(part in _NOT_OURS for part in name.split("/"))]
    found = [name for name in own if name == marker or name.endswith(f"/{marker}")]
    if not found:
        raise DataError(f"{path}: has no {marker}; {_held(own)}")
    depth = min(name.count("/") for name in found)
    roots = [name.removesuffix(marker) for name in found if name.count("/") == depth]
    if len(roots) > 1:
        raise DataError(
            f"{path}: holds {len(roots)} recordings ({', '.join(sorted(roots)[:4])}); give each as a session of its own"
        )
    root = roots[0]
    return frozenset(name.removeprefix(root) for name in own if name.startswith(root)), root


def _held(names: list[str]) -> str:
    folders = sorted({name.rpartition("/")[0] or "." for name in names})
    return (
        f"found {len(names)} files in {', '.join(folders[:6]) or 'nothing'}{' …' if len(folders) > 6 else ''}"
    )


class _Folder:
    """Files on disk."""

    def __init__(self, path: Path, names: frozenset[str], root: str) -> None:
        self.path, self.names, self.where = path / root, names, path.name

    def bytes(self, name: str) -> bytes:
        """The content of a file."""
        _require(self, name)
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise _damaged(self.where, name, error) from None

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """An array, memory-mapped."""
        _require(self, name)
        try:
            return np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except _DAMAGE as error:
            raise _damaged(self.where, name, error) from None

    def raw(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
        """An array without a header, memory-mapped."""
        _require(self, name)
        return _mapped(self.path / name, 0, (self.path / name).stat().st_size, dtype, shape, self.where, name)

    def fingerprint(self, counts: Callable[[str], bool]) -> Any:
        """Digests of all files."""
        return [[name, file_digest(self.path / name)] for name in sorted(self.names) if counts(name)]

    def close(self) -> None:
        """Nothing is open."""


class _Zip:
    """Members of a zip, read as they are asked for."""

    def __init__(self, path: Path, marker: str) -> None:
        self.path, self.where = path, path.name
        try:
            with zipfile.ZipFile(path) as archive:
                members = {i.filename: i for i in archive.infolist() if not i.is_dir()}
        except _DAMAGE as error:
            raise DataError(f"{path}: is not an intact zip file ({error}); get the file again") from None
        self.names, root = _root(list(members), marker, path)
        self._members = {name: members[root + name] for name in self.names}
        self._archive: zipfile.ZipFile | None = None

    def bytes(self, name: str) -> bytes:
        """The content of a member, its checksum verified."""
        _require(self, name)
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self.path)
            return self._archive.read(self._members[name])
        except _DAMAGE as error:
            raise _damaged(self.where, name, error) from None

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """An array, in memory."""
        content = self.bytes(name)
        try:
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except _DAMAGE as error:
            raise _damaged(self.where, name, error) from None

    def raw(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
        """An array without a header, in memory."""
        content = self.bytes(name)
        _require_size(len(content), dtype, shape, self.where, name)
        return np.frombuffer(content, dtype).reshape(shape)

    def fingerprint(self, counts: Callable[[str], bool]) -> Any:
        """The archive's own checksums."""
        return [
            [n, self._members[n].CRC, self._members[n].file_size] for n in sorted(self.names) if counts(n)
        ]

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None


class _Tar:
    """Members of a tar, memory-mapped where they stand in it."""

    def __init__(self, path: Path, marker: str) -> None:
        self.path, self.where = path, path.name
        try:
            with tarfile.open(path, "r:") as archive:
                members = {m.name.removeprefix("./"): m for m in archive if m.isreg() and not m.issparse()}
        except tarfile.ReadError:
            raise DataError(
                f"{path}: is a compressed tar, or cut off; {_ARCHIVES}: unpack this one"
            ) from None
        except _DAMAGE as error:
            raise DataError(f"{path}: is not an intact tar file ({error}); get the file again") from None
        self.names, root = _root(list(members), marker, path)
        self._places = {
            name: (members[root + name].offset_data, members[root + name].size) for name in self.names
        }
        end = max((start + size for start, size in self._places.values()), default=0)
        if end > path.stat().st_size:
            raise DataError(
                f"{path}: is cut off: it has {path.stat().st_size} bytes, and its files end at {end}; get it again"
            )

    def bytes(self, name: str) -> bytes:
        """The content of a member."""
        _require(self, name)
        start, size = self._places[name]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """An array, memory-mapped."""
        _require(self, name)
        start, size = self._places[name]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2
                shape, fortran, dtype = read(file)
                header = file.tell() - start
            if dtype.hasobject:
                raise ValueError("Python objects")
        except _DAMAGE as error:
            raise _damaged(self.where, name, error) from None
        stored = shape[::-1] if fortran else shape
        found = _mapped(self.path, start + header, size - header, dtype, stored, self.where, name)
        return found.T if fortran else found

    def raw(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
        """An array without a header, memory-mapped."""
        _require(self, name)
        return _mapped(self.path, *self._places[name], dtype, shape, self.where, name)

    def fingerprint(self, counts: Callable[[str], bool]) -> Any:
        """Digest of the whole file, which is one tree."""
        return file_digest(self.path)

    def close(self) -> None:
        """Nothing is open."""


_header_2 = np.lib.format.read_array_header_2_0


def _mapped(
    path: Path, start: int, size: int, dtype: np.dtype, shape: tuple[int, ...], where: str, name: str
) -> Shaped[np.ndarray, "..."]:
    _require_size(size, dtype, shape, where, name)
    if not size:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape)


def _require_size(size: int, dtype: np.dtype, shape: tuple[int, ...], where: str, name: str) -> None:
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size != expected:
        raise DataError(
            f"{where}, {name}: has {size} bytes, and {shape} {dtype} is {expected}; was it cut off?"
        )


def _require(tree: FileTree, name: str) -> None:
    if name not in tree.names:
        raise DataError(f"{tree.where}: has no {name}; {_held(list(tree.names))}")


def _damaged(where: str, name: str, error: BaseException) -> DataError:
    if "objects" in str(error) or "pickle" in str(error).lower():
        return DataError(
            f"{where}, {name}: holds Python objects (a pickle), which are never read from a file; save an array of "
            "numbers or of strings"
        )
    return DataError(
        f"{where}, {name}: is damaged and cannot be read ({type(error).__name__}: {error}); get it again"
    )
