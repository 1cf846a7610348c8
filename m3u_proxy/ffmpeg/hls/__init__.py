"""The writer of a playlist and segments, with one FFmpeg behind it after another."""
