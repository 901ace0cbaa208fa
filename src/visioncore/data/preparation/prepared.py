"""A source with its preparation steps: itself a source, so that nothing else needs to know of steps."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

from visioncore.config import dump_config
from visioncore.data.checks import require_trials
from visioncore.data.preparation.base import BaseStepConfig
from visioncore.errors import ConfigError
from visioncore.recording import RecordingSource, SessionRecording
from visioncore.spec import Sampling

VERSION = 1
"""Raised when the same steps come to yield otherwise; stores of recordings with steps are prepared anew then."""


class PreparedSource(RecordingSource):
    """A `RecordingSource` whose sessions go through steps, one after the other.

    Args:
        steps: their configs, each with its `type`; at least one.

    Raises:
        ConfigError: a step that needs the whole screen stands after one that follows the gaze.
    """

    def __init__(self, source: RecordingSource, steps: Sequence[BaseStepConfig]) -> None:
        self._source, self._steps = source, tuple(steps)
        follows: str | None = None
        for number, step in enumerate(self._steps):
            if step.needs_screen and follows is not None:
                raise ConfigError(
                    f"preparation step {number} ({_name(step)}) needs to know where the screen is, and stands after "
                    f"{follows}, whose frames follow the gaze; put it before"
                )
            if not step.leaves_screen:
                follows = _name(step)

    def sampling(self) -> Sampling:
        """After the last step."""
        return self._samplings[-1]

    def session_ids(self) -> tuple[str, ...]:
        """Those of the source."""
        return self._source.session_ids()

    def fingerprint(self, session_id: str) -> str:
        """Of the session in its source, and of all steps with their settings."""
        content = [
            VERSION,
            dump_config(self._source.sampling()),
            self._source.fingerprint(session_id),
            [dump_config(step) for step in self._steps],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """What the source refuses."""
        self._source.check()

    def session(self, session_id: str) -> SessionRecording:
        """The session after the last step; signals are read when they are asked for.

        Raises:
            DataError: of the source, or of a step.
        """
        recording = self._source.session(session_id)
        try:
            require_trials(recording.trials, recording.n_bins, f"session '{session_id}'")
            for step, sampling in zip(self._steps, self._samplings, strict=False):
                recording = step.apply(recording, sampling)
        except BaseException:
            recording.close()
            raise
        return recording

    @cached_property
    def _samplings(self) -> list[Sampling]:
        """Before the first step, and after each."""
        found = [self._source.sampling()]
        for step in self._steps:
            found.append(step.sampling(found[-1]))
        return found


def _name(step: BaseStepConfig) -> str:
    return str(dump_config(step)["type"])
