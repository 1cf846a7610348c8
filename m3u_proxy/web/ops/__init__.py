"""Operators: health, metrics, statistics, pages."""
