"""What `ws.extractions` stands on: the handle of an extraction, its jobs, its estimate, and the demo."""
