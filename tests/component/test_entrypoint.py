"""The entry point of the container, in a real shell."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).resolve().parents[2] / "docker" / "entrypoint.sh"
HEAVY = 45.0

pytestmark = pytest.mark.may_block  # a shell and what it starts, one after the other

NO_CAPABILITY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What the image sets, and ``m3u-proxy`` on the path."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "m3u-proxy").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m m3u_proxy "$@"\n')
    (commands / "m3u-proxy").chmod(0o755)
    return {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "STATE_DIR": str(tmp_path / "data"),
        "HLS_TEMP_DIR": str(tmp_path / "segments"),
    }


def enter(
    environ: dict[str, str], *arguments: str, wrapper: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*wrapper, "sh", str(ENTRYPOINT), *arguments],
        env=environ, capture_output=True, text=True, check=False, timeout=HEAVY,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("serve",)])
def test_it_reports_and_becomes_the_daemon(environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        ["sh", str(ENTRYPOINT), *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if "listens on" in line:
                break
        told = Path(f"/proc/{process.pid}/environ").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(HEAVY) == 0
    assert lines[0] == "Segments"
    assert "Hardware" in lines
    assert [line for line in lines if line.startswith("  encodes    ")]
    assert "HW_ACCEL_AVAILABLE=" in told, "the process is the daemon itself, and need not look again"
    assert Path(environ["HLS_TEMP_DIR"], ".gitignore").exists()


def test_another_command_is_run_as_it_stands(environ: dict[str, str]) -> None:
    done = enter(environ, "sh", "-c", 'echo "$0 $1"', "a b", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b c\n", "")
    assert not Path(environ["HLS_TEMP_DIR"]).exists()


def test_an_option_is_the_daemons(environ: dict[str, str]) -> None:
    assert enter(environ, "--version").stdout.startswith("m3u-proxy ")


def test_what_runs_supervisord_is_prepared_too(environ: dict[str, str]) -> None:
    stand_in = Path(environ["PATH"].partition(":")[0], "supervisord")
    stand_in.write_text('#!/bin/sh\necho "$HW_ACCEL_AVAILABLE $*"\n')
    stand_in.chmod(0o755)
    done = enter(environ | {"HW_ACCEL_AVAILABLE": "no"}, "supervisord", "-c", "supervisord.conf")
    assert done.stdout == "false -c supervisord.conf\n"


def test_a_bad_setting_is_one_line_and_exit_2(environ: dict[str, str]) -> None:
    """F107."""
    began = time.monotonic()
    done = enter(environ | {"HLS_GC_INTERVAL": "soon"})
    assert time.monotonic() - began < HEAVY / 2
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("HLS_GC_INTERVAL: 'soon' is not allowed")


@pytest.mark.needs("tmpfs")
def test_a_volume_that_is_read_only(environ: dict[str, str], tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    mount = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"', str(volume))
    done = enter(environ | {"HLS_TEMP_DIR": str(volume / "segments")}, wrapper=mount)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("Read-only file system")


@pytest.mark.needs("root", "setpriv")
def test_a_volume_of_somebody_else(environ: dict[str, str], tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    os.chown(volume, 4711, 4711)
    done = enter(environ | {"HLS_TEMP_DIR": str(volume)}, wrapper=NO_CAPABILITY)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"{volume} belongs to user 4711" in line


def test_a_port_that_is_taken(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = enter(environ | {"PORT": str(port)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"m3u-proxy: cannot listen on 127.0.0.1 port {port}: ")


def test_a_port_for_metrics_that_is_taken(environ: dict[str, str]) -> None:
    """It is told before anything begins: nobody is let in for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = enter(environ | {"METRICS_PORT": str(port)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"m3u-proxy: cannot listen on 127.0.0.1 port {port}: ")
    assert "segments in" not in done.stdout


def test_two_settings_of_one_port(environ: dict[str, str]) -> None:
    done = enter(environ | {"PORT": "18085", "METRICS_PORT": "18085"})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "m3u-proxy: PORT and METRICS_PORT are both 18085"


def test_what_is_wrong_with_ffmpeg_and_hardware_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    """Settings are believed, and what they name may still not be there."""
    no_ffmpeg = enter(environ | {"FFMPEG_PATH": str(tmp_path / "nothing")}, "m3u-proxy", "prepare").stdout
    assert "FFmpeg     none, nothing can be transcoded: FFMPEG_PATH" in no_ffmpeg
    device = str(tmp_path / "renderD128")
    said = {"HW_ACCEL_AVAILABLE": "true", "HW_ACCEL_TYPE": "vaapi", "HW_ACCEL_DEVICE": device}
    report = enter(environ | said, "m3u-proxy", "prepare").stdout
    assert f"encodes    vaapi on {device}  WARNING: there is no such device" in report


def test_it_is_plain_posix_shell() -> None:
    shell = shutil.which("dash") or "sh"
    subprocess.run([shell, "-n", str(ENTRYPOINT)], check=True)
    assert ENTRYPOINT.read_text().startswith("#!/bin/sh\n")
