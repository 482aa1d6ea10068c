"""TrainingPanel: its state, its commands, its cards and its form."""
