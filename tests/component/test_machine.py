"""What is told and made before the daemon starts, by the commands themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.may_block  # commands, one after the other, and nothing else in the loop

NO_CAPABILITY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""root without its capabilities is a user like any other: files of others stay closed to it."""


def command(
    *arguments: str, wrapper: tuple[str, ...] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    """``m3u-proxy`` in an environment that holds nothing else."""
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "m3u_proxy", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_directory_is_made_readable_and_left_out_of_version_control(tmp_path: Path) -> None:
    root = tmp_path / "new" / "segments"
    done = command("prepare", HLS_TEMP_DIR=str(root), wrapper=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    assert (done.returncode, done.stderr) == (0, "")
    assert root.stat().st_mode & 0o777 == 0o755
    assert (root / ".gitignore").read_text() == "*\n"
    assert os.listdir(root) == [".gitignore"]
    assert f"{root} (mode 0755, of user {os.geteuid()})" in done.stdout
    assert "GiB free\n" in done.stdout


def test_a_gitignore_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.ts\n")
    assert command("prepare", HLS_TEMP_DIR=str(tmp_path)).returncode == 0
    assert (tmp_path / ".gitignore").read_text() == "*.ts\n"


@pytest.mark.parametrize(
    ("warning", "critical", "word"),
    [("1", "1", ""), (str(10**15), "1", "WARNING: low"), ("1", str(10**15), "CRITICAL:")],
)
def test_little_space_is_called_so(tmp_path: Path, warning: str, critical: str, word: str) -> None:
    done = command(
        "prepare", HLS_TEMP_DIR=str(tmp_path), DISK_WARNING_BYTES=warning, DISK_CRITICAL_BYTES=critical
    )
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "GiB free" in line]
    assert line.partition("free")[2].strip().startswith(word)
    assert ("WARNING" in line, "CRITICAL" in line) == (word[:7] == "WARNING", word[:8] == "CRITICAL")


def test_settings_for_the_daemon_are_all_there_is_on_standard_output(tmp_path: Path) -> None:
    done = command(
        "prepare", "--env", HLS_TEMP_DIR=str(tmp_path), HW_ACCEL_AVAILABLE="yes", HW_ACCEL_TYPE="vaapi"
    )
    assert done.stdout.splitlines() == [
        "HW_ACCEL_AVAILABLE=true",
        "HW_ACCEL_TYPE=vaapi",
        "HW_ACCEL_DEVICE=/dev/dri/renderD128",
    ]
    assert "encodes    vaapi on /dev/dri/renderD128" in done.stderr


def test_hardware_is_told_without_making_anything(tmp_path: Path) -> None:
    done = command("hardware", HLS_TEMP_DIR=str(tmp_path / "segments"), HW_ACCEL_AVAILABLE="no")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Hardware\n  FFmpeg     ")
    assert "  encodes    the processor\n" in done.stdout
    assert os.listdir(tmp_path) == []


def test_without_ffmpeg_it_is_said(tmp_path: Path) -> None:
    done = command("hardware", STATE_DIR=str(tmp_path), FFMPEG_PATH="/nonexistent/ffmpeg")
    assert (done.returncode, done.stderr) == (0, "")
    assert "FFmpeg     none" in done.stdout


def test_a_bad_setting_is_one_line_and_exit_2() -> None:
    """F107."""
    done = command("prepare", HLS_TEMP_DIR="/")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("HLS_TEMP_DIR: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.needs("tmpfs")
def test_a_volume_that_is_read_only_is_one_line(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"'
    done = command(
        "prepare", HLS_TEMP_DIR=str(tmp_path), wrapper=("unshare", "-m", "sh", "-c", mounted, str(tmp_path))
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"m3u-proxy: {tmp_path} cannot be used as a directory for streams: Read-only file system\n"
    )


@pytest.mark.needs("root", "setpriv")
@pytest.mark.parametrize("folder", ["", "segments"])
def test_a_volume_of_somebody_else_is_one_line_that_says_whose(tmp_path: Path, folder: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    os.chown(volume, 4711, 4711)
    done = command("prepare", HLS_TEMP_DIR=str(volume / folder), wrapper=NO_CAPABILITY)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"Permission denied; {volume} belongs to user 4711, this is user 0")
