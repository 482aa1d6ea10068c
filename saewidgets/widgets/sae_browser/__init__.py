"""SAEBrowser: its state, its commands, its cards."""
