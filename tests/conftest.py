"""What every test gets: both loops, skips by name, and a look at what was left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from tests.support import leaks

uvloop.new_event_loop().close()  # libuv makes a pipe for the whole process on first use: not a leak of a test

CI = os.environ.get("CI", "").lower() in {"1", "true"}
"""Everything is there by then, so a test that does not run is an error."""

settings.register_profile("patient", deadline=None)  # how busy the machine is says nothing about an example
settings.load_profile("patient")

_COMMANDS = {"netns": "ip", "tmpfs": "mount"}
"""Needs that are not called like their command."""
_AS_ROOT = {"root", "tmpfs", "netns"}
_CAP_SYS_ADMIN = 21
"""capabilities(7): what mount(2) and unshare(2) ask for; root in a container may lack it."""


def _missing(need: str) -> str | None:
    """What keeps a test with this need from running."""
    if need in _AS_ROOT and os.geteuid() != 0:
        return "root"
    if need in {"tmpfs", "netns"} and not _has_capability(_CAP_SYS_ADMIN):
        return f"{need} (CAP_SYS_ADMIN)"
    if need == "root" or shutil.which(_COMMANDS.get(need, need)):
        return None
    return need


def _has_capability(number: int) -> bool:
    """Whether this process holds a capability, by the mask in proc(5)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(mask, 16) >> number & 1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        missing = [what for need in marker.args if (what := _missing(need))]
        if missing:
            pytest.skip("needs " + ", ".join(dict.fromkeys(missing)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``CI=true`` whatever is skipped, for whatever reason, has failed."""
    del item
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"with CI=true nothing is skipped: {reason}"
    return report


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
