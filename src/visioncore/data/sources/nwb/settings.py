"""The settings of the `nwb` format: what a file does not say, or says in more than one way.

A film that a table shows frame by frame, whose pictures lie in a second file:

    type: nwb
    params:
      sampling_rate_hz: 60
      sessions:
        - id: s1
          subject: m1
          path: session.nwb
          tables: [natural_movie_one, natural_movie_three]
          template: {file: session_image.nwb}
          axes: tyx
          unit_filter: allen
          behaviour: [running_speed]

Names of things inside a file are those of `inspect`: a full path (`/processing/running/running_speed`) or as much of
its end as no other has (`running_speed`, `EyeTracking/gaze`).
"""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from visioncore.config import Config
from visioncore.data.sources.clocked import ClockedSessionConfig

Axes = Literal["tyx", "txy"]
"""How pictures lie in a file: (frame, row, column), or (frame, column, row) as the schema has it. Colour comes last."""
TrialRule = Literal["run", "row", "block"]


class NwbTemplate(Config):
    """Where the pictures lie that a table, or a series of numbers, shows."""

    file: str | None = None
    """Another file: NWB, other HDF5, or one array as `.npy`. None: the session's own."""
    path: str | None = None
    """What it is called there. None: as the table's `stimulus_name`, or the table, calls it."""


class NwbTable(Config):
    """An interval table with a row for each frame that was shown."""

    name: str = Field(min_length=1)
    """With or without `_presentations` at its end."""
    template: NwbTemplate | None = None
    """None: the session's."""
    axes: Axes | None = None
    """None: the session's."""
    frame: str = "frame"
    """The column that numbers the pictures. NaN and negative: none is shown."""
    first_frame: NonNegativeInt = 0
    """The number of the first picture: 1 in tables that count so."""
    trial: TrialRule | None = None
    """What a trial is: `run`, frames in their order, as a film runs; `row`, each row; `block`, all of a
    `stimulus_block`. None: runs, where frames follow one another; else the choice must be made."""
    blank: float | None = None
    """The grey that the screen shows in rows without a picture and, within a trial, between rows. None: unknown, no
    response counts there."""


class NwbTrials(Config):
    """An interval table of trials, for a stimulus whose frames lie in a series."""

    table: str = "trials"
    stimulus_id: str | None = None
    """The column that says what a trial shows; equal: a repeat."""
    split: str | None = None
    """The column of train, validation and test."""
    group: str | None = None
    """The column of what must never be in two splits."""


class NwbRange(Config):
    """Numbers from `minimum` to `maximum`, both included; NaN is in none."""

    minimum: float | None = None
    maximum: float | None = None


class NwbUnitFilter(Config):
    """Which units are taken: those that meet all conditions."""

    ids: tuple[int | str, ...] | None = None
    columns: dict[str, str | bool | int | float | tuple[str | int | float, ...] | NwbRange] = Field(
        default_factory=dict
    )
    """By column of the table of units: a value, a list of values, or {minimum: A, maximum: B}."""


ALLEN = NwbUnitFilter(
    columns={
        "presence_ratio": NwbRange(minimum=0.95),
        "isi_violations": NwbRange(maximum=0.5),
        "amplitude_cutoff": NwbRange(maximum=0.1),
    }
)
"""What the AllenSDK takes by default."""


class NwbSignal(Config):
    """A series of behaviour, and what its columns are called."""

    series: str = Field(min_length=1)
    """A series, or one dataset of it (`pupil_tracking/area`)."""
    names: tuple[str, ...] | None = None
    """None: the name of the series, with _x, _y, _z where it has two or three columns."""


class NwbSessionConfig(ClockedSessionConfig):
    """One file, and what of it is taken."""

    path: str = Field(min_length=1)
    """A file, or an address (https://…) on a server that gives parts of files."""
    tables: tuple[str | NwbTable, ...] = ()
    """Interval tables with a row per frame. Tables of gratings and the like, without pictures, cannot be taken."""
    stimulus: tuple[str, ...] = ()
    """Series: of pictures (ImageSeries, OpticalSeries, video files) or of their numbers (IndexSeries)."""
    template: NwbTemplate | None = None
    """None: in the session's own file, where its tables and series say."""
    axes: Axes | None = None
    """Must be given, but for video files: the schema says txy, most files are tyx, and none says which it is."""
    display_delay_s: float = 0.0
    """From the times in the file to light on the screen."""
    trials: str | NwbTrials | None = None
    """For `stimulus`: a table of trials. None: frames run as one trial; numbers, from the first to the last picture."""
    traces: tuple[str, ...] = ()
    """RoiResponseSeries, or what holds them (`DfOverF`): one for each plane. None given: spikes of `/units`."""
    unit_filter: Literal["none", "allen"] | NwbUnitFilter = "none"
    behaviour: tuple[str | NwbSignal, ...] = ()
    """Series of running, eye and pupil, each on its own clock. Conversion and offset are applied."""
    invalid: tuple[str, ...] = ()
    """When no response counts, beside `invalid_times`: interval tables, or series that are true then
    (`likely_blink`)."""

    @field_validator("stimulus", mode="before")
    @classmethod
    def _one_may_stand_alone(cls, raw: Any) -> Any:
        return (raw,) if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _shows_something(self) -> "NwbSessionConfig":
        if not self.tables and not self.stimulus:
            raise ValueError(
                "gives neither tables nor stimulus; name what was shown (`visioncore inspect` lists it)"
            )
        if self.trials is not None and not self.stimulus:
            raise ValueError(
                "gives trials, which are of a `stimulus`; trials of `tables` are their runs of frames"
            )
        return self
