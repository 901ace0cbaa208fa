"""Training: an experiment's configs, where the weights start, the Lightning module, the run folder."""
