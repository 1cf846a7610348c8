"""Pure formats: MPEG-TS and playlists. No I/O in here."""
