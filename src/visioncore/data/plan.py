"""The recording plan: which sessions, which bins train, select and test, and every constant that is fitted on them.

A light file beside the session stores that it names. Another split, burn-in or choice of sessions is another plan over
the same stores: no video is read for it.
"""

from collections.abc import Sequence

from visioncore.config import AsWritten, Config
from visioncore.data.signals import SessionSignals
from visioncore.data.splits import Block, SplitConfig, assign_blocks
from visioncore.data.train_statistics import Fitted, Pooling, fit_constants, train_response
from visioncore.errors import DataError
from visioncore.spec import DataSpec


class SessionPlan(Config):
    """One session in the plan; what it is stands in the DataSpec."""

    store: str
    """Name of the session store's folder."""
    fingerprint: str
    """Of the session store."""
    blocks: tuple[Block, ...]
    train_mean: tuple[float, ...]
    silent_units: tuple[str, ...] = ()
    """Units without a response in training."""


class Preparation(Config):
    """What a recording is prepared with: where it comes from, how it is divided, and what constants are fitted."""

    sources: tuple[AsWritten, ...]
    """Of each recording, the format and its params as a data YAML has them: a plan is opened without its formats."""
    split: SplitConfig
    burn_in_s: float
    normalisation: Pooling


class RecordingPlan(Config):
    """Everything about a prepared recording but its signals."""

    fingerprint: str
    settings: Preparation
    burn_in_bins: int
    normalisation: Pooling
    spec: DataSpec
    sessions: tuple[SessionPlan, ...]


def plan_recording(stored: Sequence[SessionSignals], how: Preparation, fingerprint: str) -> RecordingPlan:
    """The plan for these session stores.

    Raises:
        DataError: the sessions do not fit together or cannot be divided, or a unit is valid in no training bin.
    """
    sampling = stored[0].manifest.sampling
    _require_one_kind(stored)
    # Images are shown each by itself: they have no time, and no past that a model would have to see first.
    rate_hz = sampling.rate_hz or 1.0
    burn_in_bins = 0 if sampling.rate_hz is None else round(how.burn_in_s * rate_hz)
    trials = {signals.spec.id: signals.manifest.trials for signals in stored}
    blocks = assign_blocks(trials, rate_hz, burn_in_bins, how.split)
    responses = [train_response(signals, blocks[signals.spec.id], burn_in_bins) for signals in stored]
    constants = fit_constants(
        [
            Fitted(signals, blocks[signals.spec.id], response.mean)
            for signals, response in zip(stored, responses, strict=True)
        ],
        how.normalisation,
    )
    specs = tuple(
        signals.spec.model_copy(update={"constants": own})
        for signals, own in zip(stored, constants, strict=True)
    )
    sessions = tuple(
        SessionPlan(
            store=signals.folder.name,
            fingerprint=signals.manifest.fingerprint,
            blocks=blocks[signals.spec.id],
            train_mean=tuple(response.mean.tolist()),
            silent_units=tuple(
                unit for unit, silent in zip(signals.spec.unit_ids, response.silent, strict=True) if silent
            ),
        )
        for signals, response in zip(stored, responses, strict=True)
    )
    return RecordingPlan(
        fingerprint=fingerprint,
        settings=how,
        burn_in_bins=burn_in_bins,
        normalisation=how.normalisation,
        spec=DataSpec(sampling=sampling, sessions=specs),
        sessions=sessions,
    )


def _require_one_kind(stored: Sequence[SessionSignals]) -> None:
    first = stored[0].manifest.sampling
    for signals in stored[1:]:
        if signals.manifest.sampling != first:
            raise DataError(
                f"session '{signals.spec.id}' has {_told(signals)}, and '{stored[0].spec.id}' {_told(stored[0])}; "
                "all sessions of a recording share one clock and one frame size"
            )
    dtypes = {signals.manifest.arrays["video"].dtype: signals.spec.id for signals in stored}
    if len(dtypes) > 1:
        found = ", ".join(f"{dtype} in session '{session}'" for dtype, session in sorted(dtypes.items()))
        raise DataError(f"the sessions' videos are of different types: {found}; all must be on one scale")
    kinds = {signals.spec.response_kind: signals.spec.id for signals in stored if signals.spec.unit_ids}
    if len(kinds) > 1:
        found = " and ".join(f"{kind} in session '{session}'" for kind, session in sorted(kinds.items()))
        raise DataError(f"there are {found}: scores of the two do not add up; make a recording of each")


def _told(signals: SessionSignals) -> str:
    sampling = signals.manifest.sampling
    clock = "without a rate" if sampling.rate_hz is None else f"at {sampling.rate_hz:g} Hz"
    return f"{sampling.channels} x {sampling.height} x {sampling.width} pixels {clock}"
