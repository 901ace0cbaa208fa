"""Where the pictures lie that tables and series of numbers show: in the session's own file, or in another."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visioncore.data.sources.nwb.file import NwbFile, plain_values, type_of
from visioncore.data.sources.nwb.pictures import Film, array_film, external_film, images_film
from visioncore.data.sources.nwb.settings import Axes, NwbTemplate
from visioncore.errors import DataError

_OF_THE_BRAIN = ("TwoPhotonSeries", "OnePhotonSeries", "ImageMaskSeries", "PlaneSegmentation")


class Templates:
    """The pictures of a session, each opened once.

    Args:
        own: the session's file.
    """

    def __init__(self, own: NwbFile, base_dir: Path, session: str) -> None:
        self._own, self._base_dir, self._session = own, base_dir, session
        self._files: dict[str, NwbFile] = {}

    def film(self, template: NwbTemplate | None, names: tuple[str, ...], axes: Axes | None) -> Film:
        """The film that a YAML names, or the first of `names` that there is.

        Raises:
            DataError: there is none; or one could be meant or another.
        """
        template = template or NwbTemplate()
        if template.file is not None and template.file.endswith(".npy"):
            return self._npy(template, axes)
        file = self._own if template.file is None else self._file(template.file)
        if template.path is not None:
            item = file.h5.get(template.path.strip("/"))
            if isinstance(item, h5py.Dataset):
                return array_film(file, item, axes, file.field(item))
            return film_of(file, file.find(template.path, "template", shows_pictures), axes)
        there = {path: group for path, group in file.groups.items() if shows_pictures(group)}
        for name in names:
            found = [group for path, group in there.items() if path.rpartition("/")[2] == name]
            if len(found) > 1:
                among = [group for group in found if group.name.startswith("/stimulus/templates")]
                found = among if len(among) == 1 else found
            if len(found) == 1:
                return film_of(file, found[0], axes)
            if found:
                told = ", ".join(group.name for group in found)
                raise DataError(
                    f"{file.where}: '{name}' could be the pictures of {told}; give template: {{path: ...}}"
                )
        raise DataError(
            f"{file.where}: has no pictures called {' or '.join(repr(name) for name in names)}; it has: "
            f"{', '.join(f'/{path}' for path in there) or 'none'}. If they lie in another file, give "
            "template: {file: ..., path: ...}"
        )

    def named(self, template: NwbTemplate | None, names: tuple[str, ...], axes: Axes | None) -> Film | None:
        """The one film that has pictures of all these names; None: there is none."""
        template = template or NwbTemplate()
        if template.path is not None or (template.file or "").endswith(".npy"):
            return None
        file = self._own if template.file is None else self._file(template.file)
        found = [
            group
            for group in file.groups.values()
            if shows_pictures(group) and set(names) <= set(names_of(file, group))
        ]
        return film_of(file, found[0], axes) if len(found) == 1 else None

    def _file(self, name: str) -> NwbFile:
        if name not in self._files:
            place = name if "://" in name else str(self._base_dir / name)
            self._files[name] = NwbFile(place, f"{self._session}, template", any_hdf5=True)
        return self._files[name]

    def _npy(self, template: NwbTemplate, axes: Axes | None) -> Film:
        assert template.file is not None
        path = self._base_dir / template.file
        where = f"{self._session}, template ({path.name})"
        try:
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{where}: no such file: {path}") from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{where}: is not an intact array of numbers ({error}); write it with numpy.save"
            ) from None
        return array_film(None, array, axes, where)


def film_of(file: NwbFile, group: h5py.Group, axes: Axes | None) -> Film:
    """The film of a series, or of an `Images` container.

    Raises:
        DataError: it has no pictures, or nobody says how they lie.
    """
    if is_external(group):
        return external_film(file, group)
    if type_of(group) == "Images" or "order_of_images" in group:
        return images_film(file, group, axes)
    if "data" not in group:
        raise DataError(f"{file.field(group)}: has no data; expected pictures")
    return array_film(file, group["data"], axes, f"{file.field(group)}/data", names_of(file, group))


def names_of(file: NwbFile, group: h5py.Group) -> tuple[str, ...]:
    """What its pictures are called, where they have names."""
    if "control_description" in group:
        with file.reading(group["control_description"]):
            return tuple(str(name) for name in plain_values(group["control_description"]).ravel())
    if "order_of_images" in group:
        with file.reading(group["order_of_images"]):
            return tuple(
                file.h5[reference].name.rpartition("/")[2] for reference in group["order_of_images"][()]
            )
    return ()


def is_external(group: h5py.Group) -> bool:
    """Whether its pictures lie in video files."""
    return "external_file" in group and group["external_file"].size > 0


def shows_pictures(group: h5py.Group) -> bool:
    """Whether it holds pictures of something else than the brain."""
    if type_of(group) in _OF_THE_BRAIN:
        return False
    if is_external(group) or "order_of_images" in group or type_of(group) == "Images":
        return True
    data = group.get("data")
    return isinstance(data, h5py.Dataset) and data.ndim in (3, 4) and "rois" not in group


def shows_numbers(group: h5py.Group) -> bool:
    """Whether it is an IndexSeries: numbers of pictures that lie elsewhere."""
    linked = any(
        group.get(name, getlink=True) is not None for name in ("indexed_timeseries", "indexed_images")
    )
    return type_of(group) == "IndexSeries" or linked
