"""One FFmpeg as a child: confined, fed, drained, reaped."""
