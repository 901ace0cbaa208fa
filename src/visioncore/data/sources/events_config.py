"""The settings of the `events` format: where spikes, frames, the film and all else of a session are."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, model_validator

from visioncore.config import ComponentConfig, Config
from visioncore.data.sources.checkerboard import CheckerboardConfig
from visioncore.data.sources.clocked import ClockedSessionConfig

if TYPE_CHECKING:
    from visioncore.data.sources.events import EventsSource

Clock = Literal["display", "ephys"]
TimesUnit = Literal["s", "ms", "samples"]
_SAME_FILE = Field(min_length=1)


class SpikesConfig(Config):
    """A sorter's folder (`phy`), or `times` and the cluster of each."""

    phy: str | None = None
    """Folder of Kilosort, Phy or IBL."""
    times: str | None = None
    clusters: str | None = None
    times_unit: TimesUnit = "s"
    sample_rate_hz: PositiveFloat | None = None
    """Of times in samples; of a folder: in the place of that in its params.py."""
    t0_s: FiniteFloat = 0.0
    """What the clock of the pulses showed at time 0 of the spikes."""
    units: str | None = None
    """A table (CSV or TSV) with a `cluster_id` and what is known of each; `group` among it."""
    groups: tuple[str, ...] | None = None
    """Of clusters that are kept; None: all."""

    @model_validator(mode="after")
    def _one_way_of_telling(self) -> Self:
        if (self.phy is None) == (self.times is None):
            raise ValueError("expected either phy (a folder), or times and clusters")
        if (self.times is None) != (self.clusters is None):
            raise ValueError("times and clusters come together: a time and a cluster for each spike")
        if self.phy is not None and self.times_unit != "s":
            raise ValueError("a folder's times have their unit: leave times_unit out")
        if self.times is not None and (self.times_unit == "samples") != (self.sample_rate_hz is not None):
            raise ValueError("times in samples need sample_rate_hz, and others must not have one")
        return self


class SyncConfig(Config):
    """Times of the same pulses on the clock of the spikes and on that of the display."""

    ephys_s: str = _SAME_FILE
    display_s: str = _SAME_FILE


class FramesConfig(Config):
    """When frames were shown: a time for each, or a trigger at every n-th."""

    times_s: str = _SAME_FILE
    index: str | None = None
    """Which picture each shows, from 0; negative: unknown. None: one after the other."""
    index_starts_at: Literal[0, 1] = 0
    frames_per_trigger: PositiveInt | None = None
    """None: a time for each frame."""
    times_are: Literal["frames", "refreshes"] | None = None
    """Whether there is a time for each picture or for each refresh of the display, where a picture stays for several
    (`refreshes_per_frame`). None: refreshes where they come faster than 45 in a second."""
    display_delay_s: FiniteFloat = 0.0
    """From a time in the file to light on the screen."""

    @model_validator(mode="after")
    def _triggers_are_of_frames(self) -> Self:
        if self.frames_per_trigger is not None and self.times_are == "refreshes":
            raise ValueError("frames_per_trigger counts frames: leave times_are out")
        if self.index is None and self.index_starts_at:
            raise ValueError("index_starts_at says how `index` counts, and there is none")
        return self


class FilmConfig(Config):
    """What was shown: a video file or an array (`path`), or a checkerboard by its seed (`generator`)."""

    path: str | None = None
    """`.mp4`, `.avi`, `.mkv` …; or `.npy`, `.zarr`, `.h5`, with `:NAME` where it holds several arrays."""
    generator: CheckerboardConfig | None = None
    axes: str | None = None
    """Of an array, a letter for each axis: `tyx` (as is expected), `txy`, `tyxc`, `tcyx` …"""
    colour: bool | None = None
    """Of a video file; None: colour if the frames that are looked at have any."""
    refreshes_per_frame: PositiveInt = 1

    @model_validator(mode="after")
    def _one_film(self) -> Self:
        if (self.path is None) == (self.generator is None):
            raise ValueError("expected either a path or a generator")
        if self.generator is not None and (self.axes, self.colour, self.refreshes_per_frame) != (
            None,
            None,
            1,
        ):
            raise ValueError("axes and colour are of a file, and a generator has its own refreshes_per_frame")
        return self

    @property
    def refreshes(self) -> int:
        """For how many refreshes of the display a picture stays."""
        return self.refreshes_per_frame if self.generator is None else self.generator.refreshes_per_frame


class GazeConfig(Config):
    """Where the eye looked: behaviour `gaze_x` and `gaze_y`."""

    times_s: str = _SAME_FILE
    xy_deg: str = _SAME_FILE
    valid: str | None = None
    """Truth values, False in blinks and where the tracker was lost: no response counts there."""
    pixels_per_degree: PositiveFloat | None = None
    """Of the display; the session's `degrees_per_pixel` where `geometry` has none."""
    clock: Clock = "display"


class BehaviourConfig(Config):
    """Other signals that were taken together: running, pupil, …"""

    names: tuple[str, ...] = Field(min_length=1)
    times_s: str = _SAME_FILE
    values: str = _SAME_FILE
    """(samples,) or (samples, names)."""
    valid: str | None = None
    clock: Clock = "display"


class EventsSessionConfig(ClockedSessionConfig):
    """One session."""

    spikes: SpikesConfig
    frames: FramesConfig
    video: FilmConfig
    sync: SyncConfig | None = None
    """None: all times are of one clock."""
    gaze: GazeConfig | None = None
    behaviour: tuple[BehaviourConfig, ...] = ()
    trials: str | None = None
    """A table with start_s and stop_s, and perhaps stimulus_id, kind, split, group; other columns are kept. None: all
    frames are one trial."""
    trials_clock: Clock = "display"


class EventsConfig(ComponentConfig):
    """Spikes and frames as events, each with the clock of its own."""

    type: Literal["events"] = "events"
    sampling_rate_hz: PositiveFloat
    """Bins per second: frames of the film, or refreshes of the display."""
    sessions: tuple[EventsSessionConfig, ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "EventsSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        from visioncore.data.sources.events import EventsSource

        return EventsSource(self, base_dir)
