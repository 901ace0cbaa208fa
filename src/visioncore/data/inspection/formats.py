"""Which format a path is of: each is asked in turn."""

from collections.abc import Callable
from pathlib import Path

from visioncore.data.inspection.arrays import inspect_arrays
from visioncore.data.inspection.events import inspect_events
from visioncore.data.inspection.experanto import inspect_experanto
from visioncore.data.inspection.inspection import Inspection
from visioncore.data.inspection.nwb import inspect_nwb
from visioncore.data.inspection.retina import inspect_retina
from visioncore.data.inspection.sensorium import inspect_sensorium
from visioncore.errors import DataError

Inspect = Callable[[Path], Inspection | None]
INSPECTORS: tuple[Inspect, ...] = (
    inspect_nwb,
    inspect_sensorium,
    inspect_experanto,
    inspect_retina,
    inspect_events,
    inspect_arrays,
)
"""The first that knows a path is right: from the most to the least particular."""


def inspect(path: Path) -> Inspection:
    """What is in a file or folder of somebody else's, and the data YAML that would read it.

    Raises:
        DataError: there is no such path, no format knows it, or what is there is damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    for look in INSPECTORS:
        if (found := look(path)) is not None:
            return found
    inside = (
        ", ".join(sorted(p.name for p in path.iterdir())[:8])
        if path.is_dir()
        else f"a {path.suffix or 'plain'} file"
    )
    raise DataError(
        f"{path}: is of no format that is known here ({inside or 'an empty folder'}). Read are NWB, Sensorium and "
        "Experanto folders, Kilosort and Phy folders, retina HDF5, and arrays in NPZ, HDF5, Zarr or MATLAB v7.3; other "
        "recordings come in as arrays (docs/how_to/your_own_arrays.md)"
    )
