"""What every test gets: both loops, skips by name, and a look at what was left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx

from tests.support import leaks

uvloop.new_event_loop().close()  # libuv makes a pipe for the whole process on first use: not a leak of a test

_COMMANDS = {
    "chromium": "chromium",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffprobe",
    "netns": "ip",
    "nginx": "nginx",
    "supervisord": "supervisord",
    "tmpfs": "mount",
}
_AS_ROOT = {"root", "tmpfs", "netns"}


def _missing(need: str) -> str | None:
    """What keeps a test with this need from running."""
    if need in _AS_ROOT and os.geteuid() != 0:
        return "root"
    command = _COMMANDS.get(need)
    if command is not None and shutil.which(command) is None:
        return need
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        missing = [what for need in marker.args if (what := _missing(need))]
        if missing:
            pytest.skip("needs " + ", ".join(missing))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Modules with real sockets and processes run on both loops, all others on the one we ship."""
    del config
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if "component" in item.path.parts:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No thread, child process or descriptor of a test outlives it."""
    before = leaks.look()
    yield
    leaks.check(before)


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """A blocking call in the loop fails the test, except where a test says why not."""
    if (
        request.node.get_closest_marker("may_block")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield None
        return
    with blockbuster_ctx("m3u_proxy") as detector:
        # Spawning belongs to the main thread, and takes a millisecond.
        detector.functions["os.read"].can_block_in("subprocess.py", {"_execute_child"})
        yield detector
