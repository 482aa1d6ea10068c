"""The parts of `ws.features` and `ws.evaluate`: lists of features, examples, live text, evaluations."""
