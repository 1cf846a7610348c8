"""Live MPEG-TS: one source at a time, a ring of chunks, many viewers."""
