"""What `ws.features` stands on: lists of features, labels, live text, exports."""
