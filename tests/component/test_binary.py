"""Which FFmpeg is found, and what is said when none is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from m3u_proxy.ffmpeg import binary
from m3u_proxy.ffmpeg.binary import GIT_VERSION, locate, parse_version
from tests.support.fake_ffmpeg import FakeFFmpeg


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``PATH`` of its own, and no wheel."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # makes the import fail
    return directory


def put(path: Path) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("named", "info"),
    [
        ("5.1.9-0+deb12u1", (5, 1)),
        ("4.4.2-0ubuntu0.22.04.1", (4, 4)),
        ("n8.0", (8, 0)),
        ("n9.0.2-17-g2a571b6068-20260930", (9, 0)),
        ("7.0.2-static", (7, 0)),
        ("10.1", (10, 1)),
        ("N-12345-g0123abcdef", GIT_VERSION),
        ("git-2024-05-06-96449cf", GIT_VERSION),
        ("2024-05-06-git-96449cfeae-full_build", GIT_VERSION),
    ],
)
def test_versions(named: str, info: tuple[int, int]) -> None:
    assert parse_version(f"ffmpeg version {named} Copyright (c) 2000-2026") == (named, info)


@pytest.mark.parametrize("banner", ["", "ffprobe version 5.1", "busybox", "ffmpeg"])
def test_what_is_not_ffmpeg(banner: str) -> None:
    assert parse_version(banner) is None


async def test_found_in_path_and_asked_once(bin_dir: Path) -> None:
    fake = FakeFFmpeg(
        bin_dir, version="n8.0-3-gabc", encoders=["libx264", "h264_vaapi", "aac"], hwaccels=["vaapi", "qsv"]
    )
    ffprobe = put(bin_dir / "ffprobe")
    found = await locate(None, None)
    assert found.ffmpeg == binary.FFmpeg(
        path=str(fake.path),
        version="n8.0-3-gabc",
        version_info=(8, 0),
        banner="ffmpeg version n8.0-3-gabc Copyright (c) the fake developers",
        found_in="PATH",
        encoders=frozenset({"libx264", "h264_vaapi", "aac"}),
        hwaccels=frozenset({"vaapi", "qsv"}),
    )
    assert (found.ffprobe, found.reason) == (ffprobe, None)


async def test_a_setting_comes_first(bin_dir: Path, tmp_path: Path) -> None:
    FakeFFmpeg(bin_dir)
    mine = FakeFFmpeg(tmp_path, "ffmpeg-mine", version="6.1")
    put(bin_dir / "ffprobe")
    probe = put(tmp_path / "probe-mine")
    found = await locate(str(mine.path), probe)
    assert found.ffmpeg is not None
    assert (found.ffmpeg.path, found.ffmpeg.found_in, found.ffmpeg.version) == (
        str(mine.path),
        "setting",
        "6.1",
    )
    assert found.ffprobe == probe


@pytest.mark.parametrize("kind", ["missing", "not executable", "a directory"])
async def test_a_wrong_setting_is_final(bin_dir: Path, tmp_path: Path, kind: str) -> None:
    FakeFFmpeg(bin_dir)
    path = tmp_path / "wrong"
    if kind == "not executable":
        path.write_text("#!/bin/sh\n")
    elif kind == "a directory":
        path.mkdir()
    found = await locate(str(path), None)
    assert found.ffmpeg is None
    assert found.reason == "FFMPEG_PATH names no executable file"


async def test_a_wrong_ffprobe_costs_only_ffprobe(bin_dir: Path, tmp_path: Path) -> None:
    FakeFFmpeg(bin_dir)
    put(bin_dir / "ffprobe")
    found = await locate(None, str(tmp_path / "gone"))
    assert found.ffmpeg is not None
    assert (found.ffprobe, found.reason) == (None, "FFPROBE_PATH names no executable file")


async def test_the_wheel_comes_last(bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeFFmpeg(tmp_path, "ffmpeg-linux", version="n9.0.2")
    wheel = ModuleType("imageio_ffmpeg")
    wheel.get_ffmpeg_exe = lambda: str(fake.path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", wheel)
    found = await locate(None, None)
    assert found.ffmpeg is not None
    assert (found.ffmpeg.found_in, found.ffmpeg.path) == ("wheel", str(fake.path))
    in_path = FakeFFmpeg(bin_dir)
    found = await locate(None, None)
    assert found.ffmpeg is not None
    assert (found.ffmpeg.found_in, found.ffmpeg.path) == ("PATH", str(in_path.path))


async def test_ffprobe_beside_ffmpeg(bin_dir: Path, tmp_path: Path) -> None:
    mine = FakeFFmpeg(tmp_path)
    beside = put(tmp_path / "ffprobe")
    assert (await locate(str(mine.path), None)).ffprobe == beside
    in_path = put(bin_dir / "ffprobe")
    assert (await locate(str(mine.path), None)).ffprobe == in_path


@pytest.mark.usefixtures("bin_dir")
async def test_none_at_all_names_the_extra() -> None:
    found = await locate(None, None)
    assert (found.ffmpeg, found.ffprobe) == (None, None)
    assert found.reason is not None
    assert "m3u-proxy[ffmpeg]" in found.reason
    assert "FFMPEG_PATH" in found.reason


async def test_one_that_fails(bin_dir: Path) -> None:
    FakeFFmpeg(bin_dir, query_exit=127)
    found = await locate(None, None)
    assert found.ffmpeg is None
    assert found.reason is not None
    assert found.reason.startswith("FFmpeg ends with 127 on ")
    assert str(bin_dir) not in found.reason


async def test_one_that_hangs(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "QUERY_TIMEOUT", 0.3)
    FakeFFmpeg(bin_dir, query_hang=True)
    found = await locate(None, None)
    assert found.ffmpeg is None
    assert found.reason is not None
    assert found.reason.startswith("FFmpeg gives no answer to ")


async def test_something_else_by_that_name(bin_dir: Path) -> None:
    put(bin_dir / "ffmpeg")
    found = await locate(None, None)
    assert found.ffmpeg is None
    assert found.reason == "what was found as FFmpeg is something else"


async def test_a_file_no_machine_can_run(bin_dir: Path) -> None:
    (bin_dir / "ffmpeg").write_bytes(b"\x7fELF\x02\x01\x01 of another machine")
    (bin_dir / "ffmpeg").chmod(0o755)
    found = await locate(None, None)
    assert found.ffmpeg is None
    assert found.reason == "FFmpeg cannot be run: Exec format error"


async def test_secrets_are_not_shown_to_it(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "canary")
    (bin_dir / "ffmpeg").write_text('#!/bin/sh\necho "ffmpeg version 1.0-${API_TOKEN:-unset}"\n')
    (bin_dir / "ffmpeg").chmod(0o755)
    found = await locate(None, None)
    assert found.ffmpeg is not None
    assert found.ffmpeg.version == "1.0-unset"


@pytest.mark.needs("ffmpeg")
async def test_the_real_one() -> None:
    found = await locate(None, None)
    assert found.ffmpeg is not None
    assert found.reason is None
    assert {"aac", "mpeg2video"} <= found.ffmpeg.encoders
    assert found.ffmpeg.version in found.ffmpeg.banner
    assert found.ffmpeg.version_info >= (4, 0)
