"""The parts of `ws.extractions`: jobs of extractions and logit tables, the estimate, and the demo SAE."""
