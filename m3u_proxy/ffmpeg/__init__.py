"""FFmpeg as a child: what it is told, how it is started, watched and ended."""
