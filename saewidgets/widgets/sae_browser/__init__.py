"""`SAEBrowser`: the widget, its state, its commands and uploads."""
