"""Channels: a lineup that is read, kept and given out again."""
