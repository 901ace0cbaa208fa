"""A search over the keys of an experiment, on Optuna: trials in processes of their own, by one worker or several."""

from visioncore.search.findings import Found
from visioncore.search.page import write_page
from visioncore.search.space import SearchConfig, read_space
from visioncore.search.study import Study
from visioncore.search.training import Watched
from visioncore.search.worker import Search, work

__all__ = ["Found", "Search", "SearchConfig", "Study", "Watched", "read_space", "work", "write_page"]
