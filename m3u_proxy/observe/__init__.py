"""Sinks for what happened: metrics."""
