"""Command line: serve, or speak to a daemon that does."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from m3u_proxy import __version__
from m3u_proxy.client import parser as client

DONE, FAILED, USAGE = 0, 1, 2
_LOOKS = {
    "hardware": "tell what encodes here",
    "prepare": "make the directory of segments; tell its free space, and what encodes here",
}
_EPILOG = """examples:
  m3u-proxy                                   serve on port 8085
  m3u-proxy --demo                            serve with a test channel to watch
  PORT=9000 m3u-proxy                         serve elsewhere
  m3u-proxy add http://provider.example/1.ts  add a stream to the daemon that runs here
  m3u-proxy top                               watch it

Settings come from the environment; see --print-env."""


def main(argv: list[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 1 failed, 2 bad settings or usage."""
    _open_what_is_closed()
    given = _parser().parse_args(argv)
    try:
        if given.command not in (None, "serve", *_LOOKS):
            code = client.run(given, os.environ, sys.stdout)
        else:
            code = _serve(given)
        sys.stdout.flush()
    except BrokenPipeError:  # `m3u-proxy ls | head`; nor is there anybody for what is written at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _open_what_is_closed() -> None:
    """Let standard input and outputs that were closed before the start lead nowhere.

    Else a socket would get the number of one: the log would be written to a viewer, and libuv aborts the
    process where it closes a descriptor below 3.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free, which is this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="m3u-proxy",
        description="Stream-pooling proxy for IPTV. Without a command it serves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"m3u-proxy {__version__}")
    _serving(parser, default=False)
    subparsers = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    _serving(subparsers.add_parser("serve", help="serve, the default"), default=argparse.SUPPRESS)
    client.add_commands(subparsers)
    for name, what in _LOOKS.items():
        look = subparsers.add_parser(name, help=what, description=what)
        look.add_argument(
            "--env", action="store_true", help="NAME=value on standard output, the rest on the other"
        )
    return parser


def _serving(parser: argparse.ArgumentParser, default: object) -> None:
    for name, what in (
        ("--demo", "add a test channel to watch"),
        ("--print-env", "print .env.example and exit"),
        ("--check-config", "print the settings in force and exit"),
    ):
        parser.add_argument(name, action="store_true", default=default, help=what)


def _serve(given: argparse.Namespace) -> int:
    # Half a second of imports that a subcommand need not wait for.
    settings = importlib.import_module("m3u_proxy.settings")
    if given.print_env:
        sys.stdout.write(settings.env_example())
        return DONE
    try:
        loaded = settings.load(os.environ)
    except settings.SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    if given.check_config:
        sys.stdout.write(settings.print_env(loaded))
        return DONE
    return _carry_out(given, loaded)


def _carry_out(given: argparse.Namespace, settings: Any) -> int:
    """Serve, or look at what is needed for it."""
    code: int
    if given.command in _LOOKS:
        look = getattr(importlib.import_module("m3u_proxy.daemon.machine"), given.command)
        code = look(settings, exported=given.env)
    else:
        code = importlib.import_module("m3u_proxy.daemon.serve").serve(settings, demo=given.demo)
    return code
