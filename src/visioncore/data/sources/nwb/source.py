"""The `nwb` format: sessions of NWB files, each signal on its own clock."""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from visioncore.config import ComponentConfig, dump_config
from visioncore.data.align import ClockedSession
from visioncore.data.sources.clocked import ClockedSource, file_digest
from visioncore.data.sources.nwb.behaviour import invalid_intervals, read_signal, unique_names
from visioncore.data.sources.nwb.file import NwbFile, is_table, text
from visioncore.data.sources.nwb.remote import is_remote, remote_digest
from visioncore.data.sources.nwb.series import shown_by_series
from visioncore.data.sources.nwb.settings import NwbSessionConfig, NwbSignal, NwbTable
from visioncore.data.sources.nwb.showing import in_order
from visioncore.data.sources.nwb.tables import SUFFIX, find_table, shown_by_table
from visioncore.data.sources.nwb.templates import Templates, is_external, shows_numbers, shows_pictures
from visioncore.data.sources.nwb.traces import read_planes
from visioncore.data.sources.nwb.units import read_units
from visioncore.spec import Geometry, SessionSpec

_logger = logging.getLogger(__name__)


class NwbConfig(ComponentConfig):
    """Recordings as NWB files (NWB 2), local or on a server; `settings.py` has an example."""

    type: Literal["nwb"] = "nwb"
    sampling_rate_hz: PositiveFloat
    """Bins per second: that of the display, or of the film."""
    sessions: tuple[NwbSessionConfig, ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "NwbSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return NwbSource(self, base_dir)


class NwbSource(ClockedSource):
    """A `ClockedSource` over NWB files."""

    def __init__(self, config: NwbConfig, base_dir: Path) -> None:
        self._config = config
        self.sessions = config.sessions
        self.base_dir = base_dir
        self.rate_hz: float | None = config.sampling_rate_hz
        self._files: dict[str, NwbFile] = {}

    def open(self, session: Any) -> ClockedSession:
        """A session, each signal on its own clock.

        Raises:
            DataError: naming session, file and field, what was found and what to do.
        """
        config: NwbSessionConfig = session
        file = self._file(config)
        planes = read_planes(file, config.traces, config.unit_filter) if config.traces else None
        units = read_units(file, config.unit_filter) if planes is None else None
        named = [NwbSignal(series=s) if isinstance(s, str) else s for s in config.behaviour]
        behaviour = [read_signal(file, signal) for signal in named]
        unique_names(behaviour, named, file.where)
        invalid = invalid_intervals(file, config.invalid)
        templates = Templates(file, self.base_dir, f"session '{config.id}'")
        showings = [
            shown_by_table(
                file, table, templates, table.template or config.template, table.axes or config.axes
            )
            for table in _tables(config)
        ]
        showings += [shown_by_series(file, name, templates, config) for name in config.stimulus]
        frames, shown, columns = in_order(showings, config.display_delay_s)
        _say_what_is_left_out(file, config)
        either = planes or units
        assert either is not None
        spec = SessionSpec(
            id=config.id,
            subject=config.subject,
            unit_ids=either.ids,
            units=either.columns,
            response_kind="trace" if planes else "counts",
            behaviour_names=tuple(name for signal in behaviour for name in signal.names),
            geometry=geometry_of(file, config),
        )
        return ClockedSession(
            spec=spec,
            frames=frames,
            shown=shown,
            responses=planes.signals if planes else units.events if units else None,
            behaviour=tuple(behaviour),
            invalid=invalid,
            trial_columns=columns,
            missing=config.missing,
        )

    def files(self, session: Any) -> Iterable[Path]:
        """Every local file that a session is read from."""
        return [Path(place) for place in self._places(session) if not is_remote(place)]

    def settings(self, session: Any) -> Any:
        """Every setting that changes what is read of a session, without the places of files."""
        own = dump_config(session)
        for template in (
            own.get("template"),
            *(t.get("template") for t in own["tables"] if isinstance(t, dict)),
        ):
            if template:
                template["file"] = template["file"] is not None
        del own["path"]
        return [self._config.sampling_rate_hz, own]

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings and of the files' content (of large and of remote files: of pieces)."""
        session: Any = self._by_id[session_id]
        digests = [
            remote_digest(place, f"session '{session_id}'") if is_remote(place) else file_digest(Path(place))
            for place in self._places(session)
        ]
        content = [self.settings(session), digests]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _places(self, session: NwbSessionConfig) -> list[str]:
        """Of all files of a session, in the order of its settings; video files last."""
        named = [session.path]
        for template in (session.template, *(t.template for t in _tables(session))):
            if template is not None and template.file is not None:
                named.append(template.file)
        places = [self._place(name) for name in dict.fromkeys(named)]
        file = self._file(session)
        if file.folder is not None:
            for name in session.stimulus:
                series = file.find(
                    name, "series of pictures", lambda g: shows_numbers(g) or shows_pictures(g)
                )
                if is_external(series):
                    paths = [text(path).replace("\\", "/") for path in np.ravel(series["external_file"][()])]
                    places += [str(file.folder / path) for path in paths]
        return places

    def _place(self, name: str) -> str:
        return name if is_remote(name) else str(self.path(name))

    def _file(self, config: NwbSessionConfig) -> NwbFile:
        if config.id not in self._files:
            self._files[config.id] = NwbFile(self._place(config.path), f"session '{config.id}'")
        return self._files[config.id]


def geometry_of(file: NwbFile, config: NwbSessionConfig) -> Geometry:
    """What the YAML says; else the size of a pixel, where a series knows its field and distance (in metres)."""
    known = config.geometry
    if known.degrees_per_pixel is not None or known.um_per_pixel is not None:
        return known
    for name in config.stimulus:
        series = file.find(name, "series of pictures", lambda g: shows_numbers(g) or shows_pictures(g))
        if "field_of_view" not in series or "distance" not in series or "data" not in series:
            continue
        field = np.ravel(series["field_of_view"][()]).astype(float)
        distance = float(series["distance"][()])
        if not len(field) or not (field[0] > 0 and distance > 0):
            continue
        one, other = series["data"].shape[1:3]
        columns = one if config.axes == "txy" else other
        degrees = 2 * np.degrees(np.arctan(field[0] / 2 / distance))
        return known.model_copy(update={"degrees_per_pixel": float(degrees / columns)})
    return known


def _tables(config: NwbSessionConfig) -> list[NwbTable]:
    return [NwbTable(name=table) if isinstance(table, str) else table for table in config.tables]


def _say_what_is_left_out(file: NwbFile, config: NwbSessionConfig) -> None:
    """Stimuli of the file that the YAML does not take, so that nothing is lost unseen."""
    taken = {find_table(file, table.name).name for table in _tables(config)}
    taken |= {
        file.find(name, "series of pictures", lambda g: shows_numbers(g) or shows_pictures(g)).name
        for name in config.stimulus
    }
    left = [
        group.name
        for path, group in file.groups.items()
        if group.name not in taken
        and (
            (is_table(group) and path.endswith(SUFFIX) and "spontaneous" not in path)
            or (path.startswith("stimulus/presentation/") and (shows_numbers(group) or shows_pictures(group)))
        )
    ]
    if left:
        _logger.warning("%s: these stimuli of the file are left out: %s", file.where, ", ".join(left))
