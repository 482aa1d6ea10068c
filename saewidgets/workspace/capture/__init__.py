"""The parts of `ws.activations`: captures and imports as jobs, hidden states, stores as corpora."""
