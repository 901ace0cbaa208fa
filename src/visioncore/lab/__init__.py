"""The in-silico lab: what one does with a twin. Everything is causal, in degrees and Hertz, and says which behaviour
was assumed.
"""

from visioncore.lab.analysis import Analysis, Drawn, KeptAnalysis
from visioncore.lab.display import Display
from visioncore.lab.rig import Rig, UnitName, units_of

__all__ = ["Analysis", "Display", "Drawn", "KeptAnalysis", "Rig", "UnitName", "units_of"]
