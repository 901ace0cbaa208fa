"""How a population represents what it sees: beside the recorded one, and beside a second predictor's."""

from visioncore.lab.representation.find import representation
from visioncore.lab.representation.result import Representation

__all__ = ["Representation", "representation"]
