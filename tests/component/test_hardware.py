"""What encodes here, found out with stand-ins for devices and with the real FFmpeg."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3u_proxy.ffmpeg.binary import FFmpeg, locate
from m3u_proxy.ffmpeg.hardware import Hardware, detect, named

ENCODERS = frozenset({"libx264", "h264_nvenc", "h264_vaapi", "h264_qsv"})
WORKS_WITH = """#!/bin/sh
case "$*" in *{encoder}*) exit 0 ;; esac
echo "[AVHWDeviceContext] No VA display found" >&2
exit 1
"""


def stand_in(tmp_path: Path, encoder: str, encoders: frozenset[str] = ENCODERS) -> FFmpeg:
    """An FFmpeg whose build names every encoder, and that can use one."""
    path = tmp_path / "ffmpeg"
    path.write_text(WORKS_WITH.format(encoder=encoder))
    path.chmod(0o755)
    return FFmpeg(str(path), "9.0", (9, 0), "ffmpeg version 9.0", "setting", encoders, frozenset())


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A machine with two render nodes and a card of NVIDIA."""
    folder = tmp_path / "dev"
    (folder / "dri").mkdir(parents=True)
    for name in ("nvidiactl", "dri/renderD128", "dri/renderD129", "dri/card0"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("works", "type_", "device"),
    [
        pytest.param("h264_nvenc", "nvidia", "", id="nvidia"),
        pytest.param("h264_vaapi", "vaapi", "renderD128", id="vaapi"),
        pytest.param("renderD129", "vaapi", "renderD129", id="second-node"),
        pytest.param("h264_qsv", "qsv", "", id="quick-sync"),
    ],
)
async def test_what_works_is_taken(
    tmp_path: Path, devices: Path, works: str, type_: str, device: str
) -> None:
    found = await detect(stand_in(tmp_path, works), devices)
    assert found.is_available
    assert found.type == type_
    assert Path(found.device).name == device
    assert found.arguments == (["-vaapi_device", found.device] if type_ == "vaapi" else [])


async def test_a_device_without_driver_is_explained(tmp_path: Path, devices: Path) -> None:
    found = await detect(stand_in(tmp_path, "nothing"), devices)
    assert not found.is_available
    assert found.type == "cpu"
    assert "No VA display found" in found.reason
    assert "renderD128" in found.reason


async def test_an_encoder_that_the_build_lacks_is_not_tried(tmp_path: Path, devices: Path) -> None:
    found = await detect(stand_in(tmp_path, "h264_nvenc", frozenset({"libx264"})), devices)
    assert not found.is_available
    assert "this FFmpeg has no h264_nvenc" in found.reason


async def test_without_devices_nothing_is_started(tmp_path: Path) -> None:
    absent = FFmpeg(str(tmp_path / "absent"), "9.0", (9, 0), "", "setting", ENCODERS, frozenset())
    assert await detect(absent, tmp_path) == Hardware()


async def test_the_real_ffmpeg_finds_no_card_behind_a_plain_file(devices: Path) -> None:
    ffmpeg = (await locate(None, None)).ffmpeg
    assert ffmpeg is not None
    found = await detect(ffmpeg, devices)
    assert not found.is_available
    assert found.reason


@pytest.mark.parametrize(
    ("kind", "device", "expected"),
    [
        ("nvidia", "", Hardware("nvidia", "nvidia", "")),
        ("Intel", "/dev/dri/renderD129", Hardware("intel", "vaapi", "/dev/dri/renderD129")),
        ("amd", "", Hardware("amd", "vaapi", "/dev/dri/renderD128")),
        ("qsv", "", Hardware("qsv", "qsv", "")),
        ("cpu", "", Hardware("cpu", "cpu", "")),
        ("abacus", "", Hardware("abacus", "cpu", "")),
    ],
)
def test_what_an_entry_script_names(kind: str, device: str, expected: Hardware) -> None:
    assert named(kind, device) == expected
