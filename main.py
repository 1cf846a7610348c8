"""Drop-in entry point: ``python3 /opt/m3u-proxy/main.py`` from any working directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from m3u_proxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
