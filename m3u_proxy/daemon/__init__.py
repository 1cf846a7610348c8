"""The daemon put together: from settings to everything that runs, and back."""
