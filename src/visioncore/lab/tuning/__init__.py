"""The tuning battery that a lab runs in vivo, in silico: in degrees, Hertz and contrast, with published indices."""

from visioncore.lab.tuning.battery import tune
from visioncore.lab.tuning.gratings import GratingTuning
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.result import Tuning
from visioncore.lab.tuning.settings import Battery

__all__ = ["Battery", "GratingTuning", "Index", "Tuning", "tune"]
