"""The `retina` format: recordings of retina laboratories, one HDF5 or MATLAB file per session.

Which layout a file has is told by the file: open-retina's (`open_retina.py`), that of the Baccus laboratory
(`baccus.py`), or that of Karamanlis et al. (`karamanlis.py`). Each names its datasets in a way that no other does.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from visioncore.data.align import ClockedSession
from visioncore.data.sources.baccus import BaccusFile
from visioncore.data.sources.clocked import ClockedSource, settings_without_places
from visioncore.data.sources.karamanlis import KaramanlisFile
from visioncore.data.sources.open_array_file import open_array_file
from visioncore.data.sources.open_retina import OpenRetinaFile
from visioncore.data.sources.retina_config import Place, RetinaSessionConfig, RetinaSettings
from visioncore.errors import DataError


class RetinaConfig(RetinaSettings):
    """Retina recordings as their laboratories share them."""

    def build(self, base_dir: Path) -> "RetinaSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return RetinaSource(self, base_dir)


class RetinaSource(ClockedSource):
    """A `RecordingSource` over retina files."""

    def __init__(self, config: RetinaConfig, base_dir: Path) -> None:
        self._config, self.base_dir = config, base_dir
        self.sessions, self.rate_hz = config.sessions, config.sampling_rate_hz

    def open(self, session: RetinaSessionConfig) -> ClockedSession:
        """A session; pictures and traces are read later.

        Raises:
            DataError: naming session, file and field.
        """
        return self._file(session).open()

    def files(self, session: RetinaSessionConfig) -> Iterable[Path]:
        """The session's file, and those of shared stimuli that it was shown."""
        return self._file(session).files()

    def settings(self, session: RetinaSessionConfig) -> Any:
        """All but the places of files."""
        return settings_without_places(self._config, session, ("path", "stimuli"))

    def check(self) -> None:
        """Refuse a name of a test stimulus that no session has.

        Raises:
            DataError: naming it, and what there is.
        """
        shown = {name for session in self._config.sessions for name in self._file(session).stimuli()}
        for name in self._config.test_names:
            if name not in shown:
                raise DataError(
                    f"test_names: no session has a stimulus '{name}'; there are {', '.join(sorted(shown))}"
                )

    def _file(self, session: RetinaSessionConfig) -> "BaccusFile | KaramanlisFile | OpenRetinaFile":
        path = self.path(session.path)
        arrays = open_array_file(path, session.id)
        for layout in (OpenRetinaFile, BaccusFile, KaramanlisFile):
            if layout.fits(arrays.names()):
                return layout(Place(path, self.base_dir, arrays), session, self._config)
        if "runningbin" in arrays.names():
            raise DataError(
                f"{arrays.where}: has counts (runningbin) and not the pictures that they answer: of the recordings of "
                "Karamanlis et al. only fixation movies (…_fixationmovie_data.mat) hold them"
            )
        raise DataError(
            f"{arrays.where}: is no retina file that is known: it has neither responses_<stimulus> (open-retina) nor "
            f"train/stimulus (Baccus) nor runningfixations (Karamanlis); it holds {', '.join(arrays.names()[:20])}. "
            "Name its arrays: type: arrays"
        )
