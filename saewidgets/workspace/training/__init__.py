"""The parts of `ws.trainings`: the handle of a run, its job, its form and its estimates."""
