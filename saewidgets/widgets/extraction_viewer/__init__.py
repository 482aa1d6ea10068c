"""ExtractionViewer: its state, its commands, its pages of features."""
