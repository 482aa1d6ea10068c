"""`ExtractionViewer`: the widget, its state, its commands and the pages of features."""
