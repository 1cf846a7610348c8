"""The fence around a child, by both launchers, and the starts that fail."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from m3u_proxy.errors import Unavailable
from m3u_proxy.ffmpeg.process import confine
from m3u_proxy.ffmpeg.process.child import Exit
from m3u_proxy.ffmpeg.process.confine import Confinement
from tests.support import children
from tests.support.children import MIB, child_of, make, output_of
from tests.support.fake_ffmpeg import FakeFFmpeg, alive, until

NEEDED_SIGNALS = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ))
"""Others may have been ignored by whoever started us: SIGINT behind a shell's ``&``, say."""


@pytest.fixture(autouse=True)
def spawning_blocks(no_blocking_calls: BlockBuster | None) -> None:
    """For 1 ms, by decision: it belongs to the main thread."""
    children.allow_spawning(no_blocking_calls)


@pytest.fixture
def fake(tmp_path: Path) -> FakeFFmpeg:
    return FakeFFmpeg(tmp_path)


@pytest.fixture(params=["setpriv", "prctl"])
def any_launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways to confine; without ``PATH`` there is no setpriv."""
    if request.param == "prctl":
        monkeypatch.setenv("PATH", "/nonexistent")
    elif shutil.which("setpriv") is None:
        pytest.skip("no setpriv here")
    confine.launcher.cache_clear()
    yield request.param
    confine.launcher.cache_clear()


# ---- the fence ----


@pytest.mark.usefixtures("any_launcher")
async def test_it_gets_what_it_needs_and_nothing_else(
    fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A61."""
    secrets = {"API_TOKEN": "canary-1", "REDIS_PASSWORD": "canary-2", "LD_PRELOAD": "", "FFREPORT": "file=x"}
    kept = {"HOME": "/home/x", "TZ": "UTC", "LC_ALL": "C.UTF-8", "LIBVA_DRIVER_NAME": "iHD"}
    for name, value in (secrets | kept).items():
        monkeypatch.setenv(name, value)

    cwd = tmp_path / "run"
    cwd.mkdir()
    secret, other_end = os.pipe()
    os.set_inheritable(secret, True)
    child = make(
        lambda fd: [str(fake.path), "-progress", f"pipe:{fd}"],
        cwd,
        confinement=Confinement(marker="instance-7", umask=0o027),
        stdout=True,
    )
    child.start()
    found = await fake.run()
    await child.stop()
    os.close(secret)
    os.close(other_end)
    environ = found["environ"]
    assert kept.items() <= environ.items()
    assert environ["M3U_PROXY_INSTANCE"] == "instance-7"
    assert not secrets.keys() & environ.keys()
    assert "canary" not in str(found)
    assert found["pid"] == found["sid"] == child.pid
    assert (found["cwd"], found["umask"]) == (str(cwd), 0o027)
    assert set(found["fds"]) == {"0", "1", "2", found["argv"][-1].removeprefix("pipe:")}
    assert all(target.startswith("pipe:") for target in found["fds"].values())


@pytest.mark.usefixtures("any_launcher")
async def test_it_has_no_privileges_and_usual_signals(tmp_path: Path) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in (await output_of("/bin/cat", "/proc/self/status", cwd=tmp_path)).splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    for name in ("SigIgn", "SigBlk"):
        assert int(status[name], 16) & NEEDED_SIGNALS == 0, name


async def test_its_limits(tmp_path: Path) -> None:
    fence = Confinement(marker="test", address_space=512 * MIB, file_size=MIB)
    show = ("/bin/sh", "-c", "read go; exec cat /proc/self/limits")
    loose = await output_of(*show, cwd=tmp_path)
    tight = await output_of(*show, cwd=tmp_path, confinement=fence)
    assert limits(loose)["Max core file size"] == ["0", "0"]
    assert limits(loose)["Max address space"] == ["unlimited", "unlimited"]
    assert limits(tight)["Max address space"] == [str(512 * MIB)] * 2
    assert limits(tight)["Max file size"] == [str(MIB)] * 2


def limits(text: str) -> dict[str, list[str]]:
    return {line[:26].strip(): line[26:68].split() for line in text.splitlines()}


@pytest.mark.usefixtures("any_launcher")
async def test_a_file_beyond_its_limit_ends_it(tmp_path: Path) -> None:
    """A81."""
    child = make(
        ["/bin/sh", "-c", "read go; exec /bin/dd if=/dev/zero of=segment.ts bs=65536 count=64"],
        tmp_path,
        confinement=Confinement(marker="test", file_size=MIB),
    )
    child.start()
    child.close_stdin()
    assert await child.wait() == Exit(None, signal.SIGXFSZ, "signal")
    assert (tmp_path / "segment.ts").stat().st_size == MIB
    await child.stop()


PARENT = """
import asyncio, sys
from pathlib import Path
from m3u_proxy.ffmpeg.process.child import Child
from m3u_proxy.ffmpeg.process.confine import Confinement

async def main():
    child = Child([sys.argv[1]], cwd=Path(sys.argv[2]), confinement=Confinement(marker="test"),
                  stdin=False, stdout=False, on_stderr=len, on_progress=len)
    child.start()
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["at once", "later"])
async def test_kill_9_of_the_parent_kills_the_child(
    any_launcher: str, fake: FakeFFmpeg, tmp_path: Path, moment: str
) -> None:
    """F65: no child survives the daemon."""
    fake.set(ignore_sigterm=True)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(fake.path), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        if moment == "later":
            await fake.run()
            assert alive(pid)
        parent.kill()
    await until(lambda: not alive(pid))


@pytest.mark.usefixtures("any_launcher")
def test_a_child_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    orphan = [*confine.launcher(), str(os.getppid()), "/usr/bin/touch", str(sentinel)]
    subprocess.run(orphan, check=False, timeout=10)
    assert not sentinel.exists()
    subprocess.run(confine.wrap(["/usr/bin/touch", str(sentinel)]), check=True, timeout=10)
    assert sentinel.exists()


# ---- starts that fail ----


@pytest.mark.parametrize("kind", ["missing", "not executable", "a directory", "not in PATH"])
async def test_no_such_executable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ffmpeg"
    if kind == "not executable":
        path.write_text("#!/bin/sh\n")
    elif kind == "a directory":
        path.mkdir()
    child = make(["no-such-ffmpeg" if kind == "not in PATH" else str(path)], tmp_path, stdout=True)
    with pytest.raises(Unavailable) as caught:
        child.start()
    assert (caught.value.reason, caught.value.detail) == ("ffmpeg_missing", "ffmpeg unavailable")
    assert await child.stop() == Exit(None, None, "stopped")


async def test_a_bare_name_is_found_in_path(fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{fake.path.parent}:{os.environ['PATH']}")
    child = make(["ffmpeg"], fake.path.parent)
    child.start()
    assert (await fake.run())["argv"] == [str(fake.path)]
    await child.stop()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
@pytest.mark.parametrize("where", [(subprocess, "Popen"), (os, "pidfd_open")], ids=["fork", "pidfd"])
async def test_a_system_that_refuses(
    fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch, number: int, where: tuple[object, str]
) -> None:
    """F82: fork says EAGAIN."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    confine.launcher()
    monkeypatch.setattr(*where, refuse)
    child = child_of(fake, stdout=True)
    with pytest.raises(Unavailable) as caught:
        child.start()
    assert caught.value.reason == "spawn"
    assert caught.value.detail.endswith(os.strerror(number))
    assert caught.value.retry_after is not None
    # conftest finds a child, a zombie or a descriptor left behind


async def test_a_missing_directory(fake: FakeFFmpeg, tmp_path: Path) -> None:
    child = make([str(fake.path)], tmp_path / "gone")
    with pytest.raises(Unavailable) as caught:
        child.start()
    assert caught.value.reason == "spawn"
    assert str(tmp_path) not in caught.value.detail


async def test_only_the_main_thread_starts_children(fake: FakeFFmpeg) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(child_of(fake).start)


async def test_a_child_starts_once(fake: FakeFFmpeg) -> None:
    child = child_of(fake)
    with pytest.raises(RuntimeError):
        await child.wait()
    child.start()
    with pytest.raises(RuntimeError, match="once"):
        child.start()
    await child.stop()


# ---- the real thing ----


@pytest.mark.needs("ffmpeg")
async def test_ffmpeg_works_inside_the_fence(tmp_path: Path) -> None:
    source = "-f lavfi -i testsrc2=size=320x180:rate=25 -t 4 -c:v libx264 -preset ultrafast -g 25"
    output = "-f hls -hls_time 1 -hls_list_size 0 index.m3u8"
    stderr, progress = bytearray(), bytearray()
    child = make(
        lambda fd: ["ffmpeg", *f"-v warning -nostats -progress pipe:{fd} {source} {output}".split()],
        tmp_path,
        confinement=Confinement(marker="test", umask=0o022, address_space=2048 * MIB, file_size=64 * MIB),
        stdin=False,
        stderr=stderr,
        progress=progress,
    )
    child.start()
    assert await child.wait() == Exit(0, None, "eof"), stderr
    await child.stop()
    assert (tmp_path / "index.m3u8").read_text().count("#EXTINF:1.0") == 4
    assert (tmp_path / "index0.ts").stat().st_mode & 0o777 == 0o644
    assert progress.rstrip().endswith(b"progress=end")
