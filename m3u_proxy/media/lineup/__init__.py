"""Lists of channels as extended M3U: read, and written. Pure."""
