"""The in-silico lab: what one does with a twin. Everything is causal, in degrees and Hertz, and says which behaviour
was assumed.
"""

from visioncore.lab.analysis import Analysis, Drawn, KeptAnalysis
from visioncore.lab.display import Display
from visioncore.lab.look import PARTS, look
from visioncore.lab.rig import Rig, UnitName, units_of
from visioncore.lab.tuning import Battery, Tuning, tune

__all__ = [
    "PARTS",
    "Analysis",
    "Battery",
    "Display",
    "Drawn",
    "KeptAnalysis",
    "Rig",
    "Tuning",
    "UnitName",
    "look",
    "tune",
    "units_of",
]
