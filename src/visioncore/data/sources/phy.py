"""Sorted spikes as Kilosort, Phy and IBL leave them: when, of which cluster, and what is known of each cluster.

A folder of Kilosort or Phy has `spike_times.npy` in samples of the rate in `params.py`, which is Python: its plain
values are read, and nothing in it is run. A folder of IBL (ALF) has `spikes.times.npy` in seconds.
"""

import ast
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from visioncore.data.sources.loose_files import plain, read_loose, read_table
from visioncore.errors import DataError

UNSORTED = "unsorted"
_UUID = r"(\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?"
_IDS = ("cluster_id", "id")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SortedSpikes:
    """Spikes of all clusters, and the table of clusters."""

    times_s: Float64[np.ndarray, " spikes"]
    cluster: Int64[np.ndarray, " spikes"]
    table: Mapping[int, Mapping[str, Any]]
    """By cluster, what is known of it; `group` among it, where anybody gave one."""

    def of_groups(self, groups: Sequence[str] | None, where: str) -> "SortedSpikes":
        """Those of clusters of some groups; None: of all.

        Raises:
            DataError: there is none.
        """
        if groups is None:
            return self
        wanted = {group.lower() for group in groups}
        clusters = np.unique(self.cluster).tolist()
        of = {c: str(self.table.get(c, {}).get("group") or UNSORTED) for c in clusters}
        kept = [c for c in clusters if of[c].lower() in wanted]
        counted = ", ".join(f"{group} ({n})" for group, n in sorted(Counter(of.values()).items()))
        if not kept:
            raise DataError(
                f"{where}: no cluster of group {', '.join(groups)}; there are {counted}. Set `groups`, or leave it out "
                "for all"
            )
        _logger.info("%s: %d of %d clusters kept, of %s", where, len(kept), len(clusters), counted)
        mine = np.isin(self.cluster, kept)
        return SortedSpikes(self.times_s[mine], self.cluster[mine], self.table)

    def units(self) -> tuple[tuple[int, ...], dict[str, tuple[Any, ...]]]:
        """Clusters that have spikes, in order, and the table's columns for these."""
        clusters = tuple(np.unique(self.cluster).tolist())
        names = list(dict.fromkeys(name for c in clusters for name in self.table.get(c, {})))
        columns = {name: plain(self.table.get(c, {}).get(name) for c in clusters) for name in names}
        return clusters, columns


def read_phy(folder: Path, where: str, sample_rate_hz: float | None = None) -> SortedSpikes:
    """Spikes of a folder of Kilosort, Phy or IBL.

    Args:
        sample_rate_hz: in the place of that in `params.py`.

    Raises:
        DataError: naming the file, what was found and what was expected.
    """
    place = f"{where} ({folder.name})"
    if not folder.is_dir():
        raise DataError(f"{place}: there is no such folder; paths count from the folder of the data YAML")
    if (folder / "spike_times.npy").is_file():
        return _of_kilosort(folder, place, sample_rate_hz)
    if _alf(folder, "spikes.times") is not None:
        return _of_alf(folder, place)
    raise DataError(
        f"{place}: holds neither spike_times.npy (Kilosort, Phy) nor spikes.times.npy (IBL); is it the folder of the "
        "sorter's output?"
    )


def phy_files(folder: Path) -> list[Path]:
    """The files of such a folder that are read."""
    patterns = [f"spike_{what}.npy" for what in ("times", "clusters", "templates")]
    patterns += ["params.py", "cluster*.[tc]sv"]
    patterns += ["spikes.times*.npy", "spikes.clusters*.npy", "clusters.*.npy", "clusters.metrics*"]
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def sample_rate_of(params: Path, place: str) -> float:
    """`sample_rate` of a `params.py`, which is parsed and never run.

    Raises:
        DataError: no such file, it is no Python, or has no such number.
    """
    if not params.is_file():
        raise DataError(
            f"{place}: has no params.py, which says how many samples a second has; give `sample_rate_hz`"
        )
    try:
        tree = ast.parse(params.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{place}, params.py: cannot be parsed ({error}); give `sample_rate_hz`") from None
    rate: Any = None
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "sample_rate" for target in statement.targets
        ):
            try:
                rate = ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                rate = ast.unparse(statement.value)[:60]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not np.isfinite(rate) or rate <= 0:
        raise DataError(
            f"{place}, params.py: sample_rate is {rate!r}; expected a plain number of samples a second, or give "
            "`sample_rate_hz`"
        )
    return float(rate)


def samples(times: Shaped[np.ndarray, " spikes"], place: str) -> Float64[np.ndarray, " spikes"]:
    """Sample numbers as float64.

    Raises:
        DataError: they are not whole.
    """
    numbers = times.astype(np.float64)
    if times.dtype.kind == "f" and (~np.isfinite(numbers) | (numbers != np.floor(numbers))).any():
        wrong = int(np.flatnonzero(~(numbers == np.floor(numbers)))[0])
        raise DataError(
            f"{place}: spike {wrong} is at {numbers[wrong]}; expected whole numbers of samples (are these seconds? "
            "Give them as `times`, with `clusters`)"
        )
    return numbers


def one_label_each(
    times: Shaped[np.ndarray, "..."], clusters: Shaped[np.ndarray, "..."], times_at: str, clusters_at: str
) -> tuple[Shaped[np.ndarray, " spikes"], Int64[np.ndarray, " spikes"]]:
    """Both as one row.

    Raises:
        DataError: they are not, their numbers differ, or labels are not whole numbers.
    """
    times, clusters = (np.atleast_1d(array) for array in (times, clusters))
    for array, at in ((times, times_at), (clusters, clusters_at)):
        if array.ndim != 1:
            raise DataError(f"{at}: has shape {array.shape}; expected one entry for each spike")
    if len(times) != len(clusters):
        raise DataError(
            f"{clusters_at}: {len(clusters)} labels of clusters, and {len(times)} spike times in {times_at}; expected "
            "one for each spike. Are both of one sorting? Export them again"
        )
    if clusters.dtype.kind == "f" and (clusters != np.floor(clusters)).any():
        raise DataError(
            f"{clusters_at}: holds numbers that are not whole; expected a cluster's number per spike"
        )
    return times, clusters.astype(np.int64)


def clusters_of_table(path: Path, where: str) -> dict[int, dict[str, Any]]:
    """A CSV or TSV file with a row for each cluster, by its `cluster_id` or `id`.

    Raises:
        DataError: it cannot be read, has no such column, or a cluster twice.
    """
    table = read_table(path, where)
    name = next((name for name in _IDS if name in table), None)
    if name is None:
        raise DataError(
            f"{where} ({path.name}): has columns {', '.join(table)}; expected one of {' or '.join(_IDS)}"
        )
    return _by_cluster(table, table.pop(name), f"{where} ({path.name})")


def _of_kilosort(folder: Path, place: str, sample_rate_hz: float | None) -> SortedSpikes:
    labels = next(
        (n for n in ("spike_clusters.npy", "spike_templates.npy") if (folder / n).is_file()),
        "spike_clusters.npy",
    )
    times, clusters = one_label_each(
        read_loose(folder, "spike_times.npy", place),
        read_loose(folder, labels, place),
        f"{place}, spike_times.npy",
        f"{place}, {labels}",
    )
    rate_hz = sample_rate_hz or sample_rate_of(folder / "params.py", place)
    return SortedSpikes(
        samples(times, f"{place}, spike_times.npy") / rate_hz, clusters, _labels(folder, place)
    )


def _labels(folder: Path, place: str) -> dict[int, dict[str, Any]]:
    """Of `cluster_info.tsv` alone where Phy wrote one, else of each file that has a property of clusters."""
    info = folder / "cluster_info.tsv"
    paths = (
        [info] if info.is_file() else sorted([*folder.glob("cluster_*.tsv"), *folder.glob("cluster_*.csv")])
    )
    labels: dict[int, dict[str, Any]] = {}
    for path in paths:
        for cluster, row in clusters_of_table(path, place).items():
            labels.setdefault(cluster, {}).update(row)
    if not any("group" in row for row in labels.values()):
        # Nobody has looked at these: the sorter's own word.
        for row in labels.values():
            row["group"] = row.get("KSLabel")
    for row in labels.values():
        row["group"] = row.get("group") or UNSORTED
    return labels


def _of_alf(folder: Path, place: str) -> SortedSpikes:
    times_at = _alf(folder, "spikes.times")
    clusters_at = _alf(folder, "spikes.clusters")
    assert times_at is not None
    if clusters_at is None:
        raise DataError(f"{place}: has {times_at.name}, and no spikes.clusters.npy")
    times, clusters = one_label_each(
        read_loose(folder, times_at.name, place),
        read_loose(folder, clusters_at.name, place),
        f"{place}, {times_at.name}",
        f"{place}, {clusters_at.name}",
    )
    return SortedSpikes(times.astype(np.float64), clusters, _alf_table(folder, place))


def _alf(folder: Path, name: str) -> Path | None:
    """`spikes.times.npy`, which may have an identifier in its name, but not another clock (`times_probe`)."""
    found = [p for p in sorted(folder.glob(f"{name}*.npy")) if re.fullmatch(rf"{name}{_UUID}\.npy", p.name)]
    return found[0] if found else None


def _alf_table(folder: Path, place: str) -> dict[int, dict[str, Any]]:
    labels: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("clusters.*.npy")):
        values = read_loose(folder, path.name, place) if "uuids" not in path.name else np.zeros((0, 0))
        if values.ndim == 1:
            for cluster, value in enumerate(values.tolist()):
                labels.setdefault(cluster, {})[path.name.split(".")[1]] = value
    for path in sorted(folder.glob("clusters.metrics*")):
        for cluster, row in _metrics(path, place).items():
            labels.setdefault(cluster, {}).update(row)
    for row in labels.values():
        if "group" not in row and (sorter := row.get("ks2_label")) is not None:
            row["group"] = sorter
    return labels


def _metrics(path: Path, place: str) -> dict[int, dict[str, Any]]:
    if path.suffix in (".csv", ".tsv"):
        return clusters_of_table(path, place)
    if path.suffix not in (".pqt", ".parquet"):
        return {}
    try:
        import pyarrow.parquet
    except ImportError:
        _logger.warning("%s, %s: is left out; pip install 'visioncore[parquet]' to read it", place, path.name)
        return {}
    try:
        table = pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise DataError(f"{place}, {path.name}: is damaged and cannot be read ({error})") from None
    ids = next((table.pop(name) for name in _IDS if name in table), None)
    plain_ones = {name: values for name, values in table.items() if not name.startswith("__")}
    n_rows = len(next(iter(table.values()), []))
    return _by_cluster(plain_ones, ids if ids is not None else range(n_rows), f"{place}, {path.name}")


def _by_cluster(
    table: Mapping[str, Sequence[Any]], ids: Sequence[Any], where: str
) -> dict[int, dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for number, cluster in enumerate(ids):
        try:
            known = int(float(cluster))
        except (TypeError, ValueError):
            raise DataError(f"{where}: row {number} is of cluster '{cluster}'; expected a number") from None
        if known in rows:
            raise DataError(f"{where}: cluster {known} appears twice; keep one row for each")
        rows[known] = {name: values[number] for name, values in table.items()}
    return rows
