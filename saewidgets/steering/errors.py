"""What can go wrong while a steered model runs."""

from __future__ import annotations

from saewidgets.errors import SAEWidgetsError


class SteeringError(SAEWidgetsError):
    """A steered model would have run without being steered as asked; it was stopped instead."""
