"""HLS sources: every playlist and segment fetched once for everybody."""
