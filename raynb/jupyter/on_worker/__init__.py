"""The parts of the notebook that run on a worker."""
