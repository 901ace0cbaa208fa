"""Weights & Biases; the extra `wandb` has what it needs."""

from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from visioncore.errors import ConfigError
from visioncore.files import write_text
from visioncore.run_folder import RunFolder
from visioncore.training.launch import is_first_process
from visioncore.training.loggers.base import BaseLoggerConfig


class WandbConfig(BaseLoggerConfig):
    """One run on the server for a run folder, however often it goes on. `WANDB_MODE=offline` keeps it in `logs/wandb`,
    for `wandb sync`.
    """

    type: Literal["wandb"] = "wandb"
    project: str = "visioncore"
    entity: str | None = None
    """The user or team; W&B's own default when left out."""

    def require(self) -> None:
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise ConfigError(
                "training.loggers has one of type 'wandb': pip install 'visioncore[wandb]'"
            ) from None

    def build(self, folder: RunFolder, from_step: int) -> Any:
        self.require()
        from lightning.pytorch.loggers import WandbLogger

        class Run(WandbLogger):
            def finalize(self, status: str) -> None:
                super().finalize(status)
                if self._experiment is not None:
                    # Another run of this process would go on in it.
                    self._experiment.finish(exit_code=0 if status == "success" else 1)
                    self._experiment = None

        folder.logs.mkdir(parents=True, exist_ok=True)
        recorded = folder.claimed_by()
        return Run(
            project=self.project,
            entity=self.entity,
            name=folder.model_name,
            id=_run_id(folder.logs / "wandb_id.txt") if is_first_process() else None,
            save_dir=folder.logs,
            config=None if recorded is None else recorded.to_json(),
        )


def _run_id(path: Path) -> str:
    """The run's on the server, made up once."""
    if not path.exists():
        write_text(path, f"{uuid4().hex[:12]}\n")
    return path.read_text(encoding="utf-8").strip()
