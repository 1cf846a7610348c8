"""Stream-pooling proxy for IPTV."""

__version__ = "1.0.0.dev0"
