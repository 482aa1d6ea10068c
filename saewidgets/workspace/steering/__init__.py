"""Defines `ws.steering`: steering with SAEs of a workspace, by their ids, beside other jobs."""
