"""What `ws.activations` stands on: captures and imports as jobs."""
