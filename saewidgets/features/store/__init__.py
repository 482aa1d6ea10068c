"""An extraction on disk: the layout of its folder, writing and reading it."""
