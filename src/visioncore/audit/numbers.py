"""What each check measured, as `audit.json` keeps it under `numbers`: for people's scripts."""

from collections.abc import Mapping
from typing import Any

from visioncore.config import Record, read_record
from visioncore.errors import ConfigError
from visioncore.evaluation import Estimate
from visioncore.spec import ResponseKind


class Numbers(Record):
    """Base of what checks measure; alone, that of a check which was not made, or which another version made."""


class Example(Record):
    """Where one frame stands in either split."""

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    correlation: float | None = None
    """Of look-alikes, how alike they are."""

    def place(self, split: str) -> str | None:
        """Where it stands in this split."""
        found: str | None = getattr(self, split)
        return found


class SharedFrames(Record):
    """How many frames of a split were found in another."""

    split: str
    found_in: str
    frames: int
    by_chance: int
    """Of their mirror images, which share by chance alone."""
    compared: int
    examples: tuple[Example, ...]
    share: float
    """Of the frames that were compared."""

    @classmethod
    def counted(
        cls,
        split: str,
        found_in: str,
        frames: int = 0,
        by_chance: int = 0,
        compared: int = 0,
        examples: tuple[Example, ...] = (),
    ) -> "SharedFrames":
        """With its share."""
        return cls(
            split=split,
            found_in=found_in,
            frames=frames,
            by_chance=by_chance,
            compared=compared,
            examples=examples,
            share=frames / compared if compared else 0.0,
        )


class FramesNumbers(Numbers):
    """Of duplicates, exact and near."""

    pairs: tuple[SharedFrames, ...] = ()
    rows: int | None = None
    """Of frames that are too small to be compared, their size; `columns` likewise."""
    columns: int | None = None


class Straddling(Record):
    """A stimulus that stands in two splits."""

    what: str
    """`stimulus_id`, `group` or `clip`."""
    name: str
    splits: dict[str, str]
    """By the split, one place in it."""


class RepeatsNumbers(Numbers):
    """Of stimuli in two splits."""

    ids_and_groups: int
    clips: int
    """Different ones."""
    straddling: tuple[Straddling, ...]
    """The first few."""
    n_straddling: int


class ContextNumbers(Numbers):
    """Of blocks that share bins or touch, and how far back the twin looks."""

    overlaps: tuple[str, ...]
    """The first few places; `closer_than_gap` likewise."""
    n_overlaps: int
    closer_than_gap: tuple[str, ...]
    n_closer_than_gap: int
    split_gap_s: float
    burn_in_s: float
    history_s: float | None
    """None where it is without bound."""


class ConstantsNumbers(Numbers):
    """Of what was fitted before training."""

    mismatches: tuple[str, ...]


class TrainingDataNumbers(Numbers):
    """The fingerprints of two recordings."""

    trained_on: str | None
    """None where the twin does not say."""
    evaluated_on: str


class ResponsesNumbers(Numbers):
    """Of responses that may have been smoothed."""

    response_kind: ResponseKind
    fractional: int | None = None
    """Counts that are no whole numbers; None for traces."""


class StimulusNumbers(Numbers):
    """The intact scores less those of behaviour alone; None where they were not judged."""

    correlation: Estimate | None = None
    recalibrated_bits_per_spike: Estimate | None = None


class Fall(Record):
    """How far a score of a control falls."""

    level: str
    """The highest of the levels that it may keep."""
    above_level: Estimate
    below_intact: Estimate
    rest_tolerated: float
    """How far it may be above the level, however sure that is."""


class ControlNumbers(Numbers):
    """Of a control; None where it was not run."""

    correlation: Fall | None = None
    recalibrated_bits_per_spike: Fall | None = None


class LooksNumbers(Numbers):
    """How often a test split was evaluated, and how many twins that were."""

    times: int
    twins: int


_OF_CHECK: dict[str, type[Numbers]] = {
    "exact duplicates": FramesNumbers,
    "near duplicates": FramesNumbers,
    "repeats astride": RepeatsNumbers,
    "context": ContextNumbers,
    "constants": ConstantsNumbers,
    "training data": TrainingDataNumbers,
    "responses": ResponsesNumbers,
    "stimulus": StimulusNumbers,
    "video shifted": ControlNumbers,
    "trials shuffled": ControlNumbers,
    "other readout": ControlNumbers,
    "pixels scrambled": ControlNumbers,
    "no input": ControlNumbers,
    "test evaluations": LooksNumbers,
}


def numbers_of(check: str, raw: Mapping[str, Any]) -> Numbers:
    """What a file has under `numbers`; where another version measured other things, its keys as they are."""
    try:
        return read_record(_OF_CHECK.get(check, Numbers), dict(raw))
    except ConfigError:
        return read_record(Numbers, dict(raw))
