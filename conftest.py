"""Started by a Python without the package, pytest goes on in `.venv`, as the guide's command expects."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """The first hook of a run; replaces the process before any test module is imported."""
    if importlib.util.find_spec("visioncore") is not None:
        return
    python = Path(__file__).parent / ".venv" / "bin" / "python"
    if not python.exists():
        raise pytest.UsageError("VisionCore is not installed: run 'make install' first")
    capture = pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    os.execv(python, [str(python), "-m", "pytest", *sys.argv[1:]])
