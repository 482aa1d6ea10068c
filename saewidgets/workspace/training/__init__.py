"""What `ws.trainings` stands on: the handle of a run, its job, its form and its estimates."""
