"""`TrainingPanel`: the widget, its state, its commands, its form and the comparison of runs."""
