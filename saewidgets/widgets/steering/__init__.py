"""`Steering`: the widget, its state and its commands."""
