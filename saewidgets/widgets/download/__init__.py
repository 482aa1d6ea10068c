"""DownloadFromHF: its state, its commands, its words."""
