"""Pictures in an array that may be larger than memory: `.npy` (memory-mapped), Zarr or HDF5, read as asked for."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from visioncore.data.sources.loose_files import split_name
from visioncore.errors import DataError

_COLOURS = (1, 3)
_DENSE = 4


class ArrayPictures:
    """`Pictures` over an array with axes in any order.

    Args:
        axes: a letter for each axis: t(ime), y, x and, where there is one, c(olour). None: (t, y, x), or four axes
            of which one alone can be colour.

    Raises:
        DataError: no such file or array, or its axes are not told.
    """

    def __init__(self, base_dir: Path, name: str, where: str, axes: str | None = None) -> None:
        file, key = split_name(name)
        self.where = f"{where} ({file})"
        self._array = self._opened(base_dir / file, key)
        if self._array.dtype.kind not in "biuf":
            raise DataError(f"{self.where}: holds {self._array.dtype}; expected numbers")
        self.axes = self._axes(axes)

    @property
    def n_pictures(self) -> int:
        """How many there are."""
        return int(self._array.shape[self.axes.index("t")])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        size = dict(zip(self.axes, self._array.shape, strict=True))
        return size.get("c", 1), size["y"], size["x"]

    @property
    def dtype(self) -> np.dtype:
        """uint8, also of truth values (0 and 255); else float32."""
        return np.dtype(np.uint8 if self._array.dtype in (np.uint8, np.bool_) else np.float32)

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        if not len(numbers):
            return np.zeros((0, *self.shape), self.dtype)
        low, high = int(numbers.min()), int(numbers.max()) + 1
        if high - low <= _DENSE * len(numbers):
            pictures = self._slice(low, high)[numbers - low]
        else:
            wanted, at = np.unique(numbers, return_inverse=True)
            pictures = np.concatenate([self._slice(n, n + 1) for n in wanted.tolist()])[at]
        if pictures.dtype == np.bool_:
            return pictures * np.uint8(255)
        return pictures.astype(self.dtype, copy=False)

    def _slice(self, low: int, high: int) -> Shaped[np.ndarray, "some channels height width"]:
        asked: list[Any] = [slice(None)] * len(self.axes)
        asked[self.axes.index("t")] = slice(low, high)
        piece = np.asarray(self._array[tuple(asked)])
        if "c" not in self.axes:
            piece = piece[None]
        named = self.axes if "c" in self.axes else f"c{self.axes}"
        return piece.transpose([named.index(axis) for axis in "tcyx"])

    def _axes(self, axes: str | None) -> str:
        shape = self._array.shape
        if axes is not None:
            if len(axes) != len(shape) or sorted(axes) not in (sorted("tyx"), sorted("tcyx")):
                raise DataError(
                    f"{self.where}: has shape {shape}, and `axes: {axes}`; expected a letter for each axis: t, y, x "
                    "and perhaps c"
                )
            return axes
        if len(shape) == 3:
            return "tyx"
        if len(shape) == 4:
            first, last = shape[1] in _COLOURS, shape[3] in _COLOURS
            if first != last:
                return "tcyx" if first else "tyxc"
        raise DataError(
            f"{self.where}: has shape {shape}; expected (time, height, width), or say which axis is which: "
            "`axes: tyxc`, or txy, tcyx …"
        )

    def _opened(self, path: Path, key: str | None) -> Any:
        if not path.exists():
            raise DataError(
                f"{self.where}: there is no such file; paths count from the folder of the data YAML"
            )
        try:
            if path.suffix == ".npy":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            if path.is_dir() or path.suffix == ".zarr":
                import zarr

                found: Any = zarr.open(path, mode="r")
                held = list(found.array_keys()) if isinstance(found, zarr.Group) else None
            else:
                import h5py

                found = h5py.File(path, "r")
                held = [name for name in found if isinstance(found[name], h5py.Dataset)]
        except (ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError) as error:
            pickled = "allow_pickle" in str(error) or "Python objects" in str(error)
            told = "it holds pickled Python objects, which are never loaded" if pickled else str(error)
            raise DataError(
                f"{self.where}: cannot be read ({told}); write an array of numbers again"
            ) from None
        if held is None and key is None:
            return found
        chosen = key if key is not None else (held[0] if held is not None and len(held) == 1 else None)
        if held is None or chosen is None or chosen not in found:
            raise DataError(
                f"{self.where}: holds {', '.join(held or ()) or 'one array'}; name the film among them, as "
                f"{path.name}:NAME"
            )
        return found[chosen]
