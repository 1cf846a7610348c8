"""The built-in profiles: named templates for ``POST /transcode``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Encoding = Literal["cpu", "nvidia", "vaapi", "qsv"]
"""Whose encoders: libx264 and libx265, NVENC, VA-API, Quick Sync."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A named template. ``parameters`` are the variables it knows, with their defaults."""

    name: str
    description: str
    template: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Encoder:
    """How one kind of hardware says the same thing. ``scale`` is filled with width and height.

    ``device`` opens it, in front of the input; ``upload`` brings pictures there where nothing scales them.
    """

    h264: str
    hevc: str
    quality: str
    low_latency: str
    scale: str
    device: str = ""
    upload: str = ""


_ENCODERS: dict[Encoding, _Encoder] = {
    # 4:2:0 with 8 bits is all that browsers and boxes decode, whatever the source has.
    "cpu": _Encoder(
        h264="-c:v libx264 -preset faster -pix_fmt yuv420p",
        hevc="-c:v libx265 -preset faster -pix_fmt yuv420p",
        quality="-crf {crf|23}",
        low_latency="-tune zerolatency",
        scale="-vf scale={}:{}",
    ),
    "nvidia": _Encoder(
        h264="-c:v h264_nvenc -preset fast -pix_fmt yuv420p",
        hevc="-c:v hevc_nvenc -preset fast -pix_fmt yuv420p",
        quality="-rc vbr -cq {crf|23} -b:v 0",
        low_latency="-tune ull -zerolatency 1 -delay 0",
        scale="-vf scale={}:{}",
    ),
    "vaapi": _Encoder(
        h264="-c:v h264_vaapi",
        hevc="-c:v hevc_vaapi",
        quality="-rc_mode CQP -qp {crf|23}",
        low_latency="-bf 0 -async_depth 1",
        scale="-vf format=nv12,hwupload,scale_vaapi=w={}:h={}",
        device="-vaapi_device {} ",
        upload="-vf format=nv12,hwupload",
    ),
    "qsv": _Encoder(
        h264="-c:v h264_qsv -preset faster -pix_fmt nv12",
        hevc="-c:v hevc_qsv -preset faster -pix_fmt nv12",
        quality="-global_quality {crf|23}",
        low_latency="-bf 0 -async_depth 1",
        scale="-vf scale={}:{}",
    ),
}

DEFAULT_VARIABLES: Mapping[str, str] = {
    "input_url": "",
    "output_args": "",
    "video_bitrate": "2M",
    "audio_bitrate": "128k",
    "format": "mp4",
    "crf": "23",
}

_FORMAT = "-f {format|mp4}"


def profiles(encoding: Encoding = "cpu", device: str = "") -> dict[str, Profile]:
    """The built-in profiles by name, with options that are valid for the encoders of ``encoding``."""
    encoder = _ENCODERS[encoding]
    front = encoder.device.format(device)
    hd, full_hd = encoder.scale.format(1280, 720), encoder.scale.format(1920, 1080)
    h264, hevc = (f"{encoder.upload} {codec}".strip() for codec in (encoder.h264, encoder.hevc))
    rows = [
        _profile(
            "default",
            "H.264 and AAC at the given bit rates",
            f"{h264} -b:v {{video_bitrate|2M}} -c:a aac -b:a {{audio_bitrate|128k}} {_FORMAT}",
            {"video_bitrate": "2M", "audio_bitrate": "128k", "format": "mp4"},
            front,
        ),
        _profile(
            "hq",
            "H.264 of constant quality and AAC at 192 kbit/s",
            f"{h264} {encoder.quality} -c:a aac -b:a 192k {_FORMAT}",
            {"crf": "23", "format": "mp4"},
            front,
        ),
        _profile(
            "lowlatency",
            "H.264 at 1 Mbit/s without look-ahead, and AAC, in MPEG-TS",
            f"{h264} {encoder.low_latency} -b:v 1M -c:a aac -b:a 96k -f mpegts",
            {},
            front,
        ),
        _profile(
            "720p",
            "H.264 at 1280x720 and 2.5 Mbit/s, and AAC",
            f"{encoder.h264} {hd} -b:v 2500k -c:a aac -b:a 128k {_FORMAT}",
            {"format": "mp4"},
            front,
        ),
        _profile(
            "1080p",
            "H.264 at 1920x1080 and 5 Mbit/s, and AAC",
            f"{encoder.h264} {full_hd} -b:v 5000k -c:a aac -b:a 192k {_FORMAT}",
            {"format": "mp4"},
            front,
        ),
        _profile(
            "hevc",
            "H.265 at 2 Mbit/s and AAC",
            f"{hevc} -b:v 2M -c:a aac -b:a 128k {_FORMAT}",
            {"format": "mp4"},
            front,
        ),
        _profile(
            "audio",
            "AAC without video",
            "-vn -c:a aac -b:a {audio_bitrate|192k} -f {format|adts}",
            {"audio_bitrate": "192k", "format": "adts"},
        ),
    ]
    return {one.name: one for one in rows}


def _profile(
    name: str, description: str, output: str, parameters: Mapping[str, str], front: str = ""
) -> Profile:
    return Profile(name, description, f"{front}-i {{input_url}} {output} {{output_args|}}", parameters)
