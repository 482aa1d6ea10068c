"""Steering: its state, its commands, its words."""
