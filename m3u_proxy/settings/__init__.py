"""Settings: the only reader of the environment. ``load`` is the one way to get a ``Settings``."""

from m3u_proxy.settings.fields import Settings
from m3u_proxy.settings.loading import env_example, load, print_env
from m3u_proxy.settings.types import SettingsError

__all__ = ["Settings", "SettingsError", "env_example", "load", "print_env"]
