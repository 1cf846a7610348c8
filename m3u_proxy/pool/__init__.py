"""What viewers share: one running thing per stream, whatever the number of viewers."""
