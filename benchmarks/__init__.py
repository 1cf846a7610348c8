"""How fast the proxy is, against nginx on the same machine in the same run: ``python -m benchmarks``."""
