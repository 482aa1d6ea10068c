"""`DownloadFromHF`: the widget, its state and its commands."""
