"""The subcommands' part of the command line."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from m3u_proxy.client import commands
from m3u_proxy.client.api import Api, ClientError, find_daemon
from m3u_proxy.client.top import top

Command = Callable[[Api, Namespace, TextIO], int]

FAILED = 1


def add_commands(subparsers: Any) -> None:
    """Add every subcommand that speaks to a running daemon."""
    add = _command(subparsers, "add", commands.add, "add a stream that stays until it is removed")
    _source(add)
    add.add_argument("--name", help="what to call it")
    add.add_argument("--failover", action="append", default=[], metavar="URL", help="next source; repeatable")
    add.add_argument("--profile", help="transcode: a profile's name, or FFmpeg options that begin with -")
    add.add_argument("--format", default="mpegts", help="container of a transcode: mpegts (default), hls …")
    _command(subparsers, "ls", commands.ls, "list the streams")
    rm = _command(subparsers, "rm", commands.rm, "remove streams; their viewers are cut")
    rm.add_argument("stream", nargs="+", help="id, the beginning of one, or a name")
    failover = _command(subparsers, "failover", commands.failover, "take a stream's next source now")
    failover.add_argument("stream", help="id, the beginning of one, or a name")
    view = _command(subparsers, "top", top, "watch streams, viewers and bit rates")
    view.add_argument("--interval", type=_seconds, default=2.0, help="seconds between two looks (2)")
    view.add_argument("--once", action="store_true", help="one view, after that interval")
    check = _command(subparsers, "check", commands.check, "find out whether a source can be played")
    _source(check, or_else=" of the source, or the word lineup: every channel there is")
    check.add_argument("--group", help="of the lineup, only this group")
    _command(subparsers, "health", commands.health, "exit code 0 while the daemon serves")


def _command(subparsers: Any, name: str, run: Command, what: str) -> ArgumentParser:
    parser: ArgumentParser = subparsers.add_parser(name, help=what, description=what)
    parser.add_argument("--url", help="address of the daemon (M3U_PROXY_URL, else this machine at PORT)")
    parser.add_argument("--token", help="its API_TOKEN, if it has one (API_TOKEN)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)
    return parser


def _source(parser: ArgumentParser, or_else: str = " of the source") -> None:
    parser.add_argument("address", metavar="URL", help=f"http or https address{or_else}")
    parser.add_argument("--user-agent", help="who to be towards the provider")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent to the provider"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.2 <= seconds <= 3600:
        raise ArgumentTypeError("a number of seconds from 0.2 to 3600")
    return seconds


def run(given: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Carry a subcommand out. Exit codes: 0 done, 1 failed, with one line on stderr that says why."""
    token = given.token or environ.get("API_TOKEN", "").strip() or None
    command: Command = given.run
    try:
        return command(Api(given.url or find_daemon(environ), token), given, out)
    except ClientError as error:
        sys.stderr.write(f"m3u-proxy: {error}\n")
        return FAILED
