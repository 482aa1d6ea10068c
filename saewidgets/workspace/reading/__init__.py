"""What `ws.features` and `ws.evaluate` stand on: lists of features, examples, live text, evaluations."""
