"""The bqplot figures: curves of runs, and the Pareto view."""
