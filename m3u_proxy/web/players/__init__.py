"""What gives out media and lineups: to players, and to FFmpeg on the loopback."""
