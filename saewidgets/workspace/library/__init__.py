"""What `ws.saes` does, one thing per module: bringing SAEs in, reading them, taking them out."""
