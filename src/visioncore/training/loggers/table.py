"""All numbers of a run as one table, in `logs/steps.csv`."""

import csv
from pathlib import Path
from typing import Any, Literal

from visioncore.files import write_text
from visioncore.run_folder import RunFolder
from visioncore.training.loggers.base import BaseLoggerConfig


class CsvConfig(BaseLoggerConfig):
    """A row per number: `step,name,value`."""

    type: Literal["csv"] = "csv"

    def build(self, folder: RunFolder, from_step: int) -> Any:
        from lightning.pytorch.loggers.logger import Logger
        from lightning.pytorch.utilities import rank_zero_only

        path = folder.logs / "steps.csv"

        class Table(Logger):
            name = version = "csv"
            begun = False

            def log_hyperparams(self, *_: Any, **__: Any) -> None:
                pass

            @rank_zero_only
            def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
                if not self.begun:
                    write_text(path, "".join(_lines_before(path, from_step)))
                    self.begun = True
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.writer(file, lineterminator="\n").writerows(
                        (step, name, float(value)) for name, value in metrics.items()
                    )

        return Table()


def _lines_before(path: Path, step: int) -> list[str]:
    """The header, and what the run had logged until then, without a line that a kill has left half-written."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if path.exists() else []
    whole = (line for line in lines if line.endswith("\n"))
    return ["step,name,value\n", *(line for line in whole if int(line.partition(",")[0]) < step)]
