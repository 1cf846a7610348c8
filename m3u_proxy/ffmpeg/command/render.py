"""FFmpeg command lines: a template, checked and judged, and the argv that is really run. Pure.

The input is where the proxy offers the stream, on standard input or on the loopback; the output is standard
output or files with fixed names in the working directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from m3u_proxy.errors import BadTemplate
from m3u_proxy.ffmpeg.command.arguments import Command, Setting, read, shown
from m3u_proxy.ffmpeg.command.containers import FORMATS, PIPED
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.options import HLS, flags_set, is_relative_name
from m3u_proxy.ffmpeg.command.shape import HlsOptions, segment_names
from m3u_proxy.ffmpeg.command.template import check_format, check_variables, fill

PLAYLIST = "index.m3u8"
INIT = "init.mp4"
HLS_TYPE = "application/vnd.apple.mpegurl"

KEY_FRAME_SECONDS = 2.0
"""Distance of keyframes in piped output whose template names none: joiners wait for the next one."""
FRAGMENT_MICROSECONDS = 4_000_000
"""Longest fragment of MP4, more than between two keyframes as a rule."""

_AUDIO_ONLY = frozenset({"mp3", "adts"})
_STANDARD_OUTPUT = frozenset({"pipe:1", "pipe:", "-"})
_FRAGMENTED = frozenset({"frag_keyframe", "frag_every_frame", "frag_custom", "dash", "cmaf"})
_HEADS = frozenset({"empty_moov", "delay_moov"})
_UNPACKED = ("-bsf:a", "aac_adtstoasc")
_JUDGED_ONCE = ("f", "movflags", "hls_time", "hls_list_size", "hls_segment_type", "hls_delete_threshold")

_SYNC_METHODS = {"0": "passthrough", "1": "cfr", "2": "vfr", "-1": "auto"}
_FPS_MODE_SINCE = (5, 1)
_OPENS_DEVICE = frozenset({"init_hw_device", "vaapi_device", "qsv_device", "hwaccel"})
_HARDWARE = ("_nvenc", "_vaapi", "_qsv", "_cuvid")
# Encoders whose forced keyframes are no random-access points unless they are told to make them so.
_FORCED_IDR = {"libx265": "forced-idr", "nvenc": "forced-idr", "qsv": "forced_idr"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template after splitting, filling and checking."""

    arguments: tuple[str, ...]
    """As the caller wrote it; the command really run differs."""
    output: Literal["hls", "pipe"]
    container: str
    """``hls``, or the format of the pipe as the caller named it."""
    content_type: str
    """Of the piped body, or of the playlist."""
    command: Command

    def setting(self, name: str) -> str | None:
        """Value of an output option that can occur only once."""
        return next((one.value for one in self.command.output if one.name == name), None)


def uses_hardware(rendered: Rendered) -> bool:
    """Whether a graphics card's driver is loaded, which maps more memory than it uses."""
    command = rendered.command
    settings = [
        *command.preamble,
        *command.output,
        *(one for each in command.inputs for one in each.settings),
    ]
    return any(
        one.name in _OPENS_DEVICE or (one.value or "").endswith(_HARDWARE) or "hwupload" in (one.value or "")
        for one in settings
    )


def render(template: str, variables: Mapping[str, str], *, input_url: str, output_format: str) -> Rendered:
    """Fill ``template`` and check the result against the allow-list.

    ``input_url`` is the stream's own URL, the only one that may stand in it. ``variables`` win over the given
    values ``input_url``, ``output_args`` and ``format``.

    Raises:
        InvalidField: for ``output_format`` or ``profile_variables.<name>``.
        BadTemplate: names the argument that is not allowed.
    """
    check_format("output_format", output_format)
    check_variables(variables)
    values = {"input_url": input_url, "output_args": "pipe:1", "format": output_format, **variables}
    arguments = fill(template, values)
    command = read(arguments, {input_url, values["input_url"]} - {""})
    for name in _JUDGED_ONCE:
        if sum(one.name == name for one in command.output) > 1:
            raise BadTemplate(f"-{name} is given twice for the output")
    texts = tuple(one.text for one in arguments)
    if _is_hls(command):
        _check_hls(command)
        return Rendered(texts, "hls", "hls", HLS_TYPE, command)
    container = _check_pipe(command)
    return Rendered(texts, "pipe", container, PIPED[container].content_type, command)


def _is_hls(command: Command) -> bool:
    """Judged from the output side only: an ``.m3u8`` that is read says nothing about what is written."""
    for one in command.output:
        if one.name in ("hls_time", "hls_list_size") or (one.name == "f" and one.value == "hls"):
            return True
    return any(target.lower().endswith(".m3u8") for target in command.targets)


def _check_hls(command: Command) -> None:
    names = [target for target in command.targets if target not in _STANDARD_OUTPUT]
    if len(names) > 1:
        raise BadTemplate(f"a second output: {shown(names[1])}")
    for name in names:
        if not is_relative_name(name):
            raise BadTemplate(f"output {shown(name)} is outside the stream's own directory")
    for one in command.output:
        if one.name == "f" and one.value not in FORMATS:
            raise BadTemplate(f"output format {shown(one.value or '')} is not allowed")


def _check_pipe(command: Command) -> str:
    """The container as the template names it."""
    container = next((one.value or "" for one in command.output if one.name == "f"), "mpegts")
    if container not in PIPED:
        raise BadTemplate(f"output format {shown(container)} is not allowed")
    for one in command.output:
        if one.name in HLS:
            raise BadTemplate(f"-{one.name} belongs to HLS output")
    if len(command.targets) > 1:
        raise BadTemplate(f"a second output: {shown(command.targets[1])}")
    for target in command.targets:
        if target not in _STANDARD_OUTPUT:
            raise BadTemplate(f"output {shown(target)} is not the standard output, pipe:1")
    return container


def hls_argv(
    ffmpeg: str,
    rendered: Rendered,
    options: HlsOptions,
    *,
    source: Input,
    progress_fd: int,
    version: tuple[int, int],
    adts: bool = False,
    first: int = 0,
) -> list[str]:
    """The command that writes ``PLAYLIST`` and segments, numbered from ``first``, in its working directory.

    ``adts``: the source's audio is AAC in ADTS (stream type 0x0F, ISO/IEC 13818-1 table 2-34). Copied into
    fMP4 it needs a bit stream filter, which FFmpeg adds by itself in plain MP4 only, and other codecs forbid.
    """
    shape = options.of(rendered)
    is_fmp4 = rendered.setting("hls_segment_type") == "fmp4"
    return [
        *_front(ffmpeg, rendered, source, progress_fd),
        *_output(rendered, shape.segment_duration, version),
        *(_UNPACKED if adts and is_fmp4 and _is_packed(rendered) else ()),
        # A subtitle stream would get a playlist and segments of its own.
        *("-sn", "-dn", "-f", "hls"),
        *("-hls_time", f"{shape.segment_duration:g}", "-hls_list_size", str(shape.window)),
        *(("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", INIT) if is_fmp4 else ()),
        *segment_names(shape, suffix="m4s" if is_fmp4 else "ts", first=first),
        PLAYLIST,
    ]


def pipe_argv(
    ffmpeg: str,
    rendered: Rendered,
    *,
    source: Input,
    progress_fd: int,
    version: tuple[int, int],
    adts: bool = False,
) -> list[str]:
    """The command that writes the container to standard output; ``adts`` as for ``hls_argv``."""
    muxer = PIPED[rendered.container].muxer
    is_mp4 = muxer in ("mp4", "mov")
    return [
        *_front(ffmpeg, rendered, source, progress_fd),
        *_output(rendered, KEY_FRAME_SECONDS, version),
        *(_fragments(rendered) if is_mp4 else ()),
        *(_copied_adts(rendered, muxer) if adts else ()),
        *("-flush_packets", "1", "-f", muxer, "pipe:1"),
    ]


def _fragments(rendered: Rendered) -> Iterator[str]:
    """The template's own flags, without what a pipe cannot do, and what a body needs that is joined midway.

    That is a head without samples and fragments without positions in the file. ``empty_moov`` gives the head
    at once, but copied AAC and AC-3 tell their parameters too late for it: ``delay_moov``.
    """
    flags = [one for one in flags_set(rendered.setting("movflags") or "") if one != "faststart"]
    if not _FRAGMENTED.intersection(flags):
        flags.append("frag_keyframe")
    if _codec(rendered.command, "a") == "copy":
        flags.append("delay_moov")
    elif not _HEADS.intersection(flags):
        flags.append("empty_moov")
    yield from ("-movflags", "+" + "+".join(dict.fromkeys([*flags, "default_base_moof"])))
    if rendered.setting("frag_duration") is None:  # viewers of rare keyframes should not wait for the next
        yield from ("-frag_duration", str(FRAGMENT_MICROSECONDS))


def _copied_adts(rendered: Rendered, muxer: str) -> tuple[str, ...]:
    """What becomes of AAC in ADTS where the template copies it.

    Matroska wants its parameters in the head, which a pipe cannot mend later: it is encoded anew.
    """
    if muxer == "matroska" and _codec(rendered.command, "a") == "copy":
        return ("-c:a", "aac")
    return _UNPACKED if muxer in ("mp4", "mov") and _is_packed(rendered) else ()


def _is_packed(rendered: Rendered) -> bool:
    """Whether AAC is copied as it is."""
    filtered = any(one.name == "bsf" and one.specifier[:2] in ("", ":a") for one in rendered.command.output)
    return _codec(rendered.command, "a") == "copy" and not filtered


def _front(ffmpeg: str, rendered: Rendered, source: Input, progress_fd: int) -> Iterator[str]:
    """Everything up to and with the last input."""
    yield from (ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning")
    yield from ("-progress", f"pipe:{progress_fd}")
    yield from _argv(one for one in rendered.command.preamble if one.name != "vsync")
    for one in rendered.command.inputs:
        if one.graph is not None:
            yield from (*_argv(one.settings), "-f", "lavfi", "-i", one.graph)
        else:
            yield from source.argv(one.settings)


def _output(rendered: Rendered, key_frames: float, version: tuple[int, int]) -> Iterator[str]:
    """The template's own output options, and what they lack."""
    command = rendered.command
    ours = {"f", "movflags", "flush_packets", "fps_mode", "vsync", *HLS}
    if _needs_maps(command):
        yield from ("-map", "0:v:0?", "-map", "0:a:0?")
    yield from _argv(one for one in command.output if one.name not in ours)
    for one in (*command.preamble, *command.output):
        if one.name in ("fps_mode", "vsync"):
            yield from _frame_rate_mode(one, version)
    yield from _key_frames(rendered, key_frames)


def _frame_rate_mode(setting: Setting, version: tuple[int, int]) -> tuple[str, ...]:
    """``-vsync`` is gone in FFmpeg 9, ``-fps_mode`` came with 5.1."""
    method = _SYNC_METHODS.get(setting.value or "", setting.value)
    if version < _FPS_MODE_SINCE:
        return Setting("vsync", "", method).argv
    return Setting("fps_mode", setting.specifier, method).argv


def _codec(command: Command, kind: str) -> str | None:
    """What the template says about one kind of stream: an encoder, ``copy``, ``none``, or nothing."""
    if any(one.name == f"{kind}n" for one in command.output):
        return "none"
    found = None
    for one in command.output:
        if one.name == "c" and (one.specifier == "" or one.specifier.startswith(f":{kind}")):
            found = one.value
    return found


def _needs_maps(command: Command) -> bool:
    """With filters that join streams, or several inputs, FFmpeg's own choice is what the author counts on."""
    if len(command.inputs) > 1 or any(one.name == "map" for one in command.output):
        return False
    if any(one.name == "filter_complex" for one in command.preamble):
        return False
    return not {_codec(command, "v"), _codec(command, "a")} <= {"copy", "none"}


def _key_frames(rendered: Rendered, seconds: float) -> Iterator[str]:
    """Keyframes where segments end and viewers join, unless the template places them itself."""
    codec = _codec(rendered.command, "v")
    if codec in ("copy", "none") or rendered.container in _AUDIO_ONLY:
        return
    for one in rendered.command.output:
        if one.name in ("g", "force_key_frames") or "keyint=" in (one.value or ""):
            return
    yield "-force_key_frames:v"
    # Not n_forced: with -copyts the clock starts anywhere, and every frame would be forced to catch up.
    yield f"expr:if(isnan(prev_forced_t),1,gte(abs(t-prev_forced_t),{seconds:g}))"
    for ending, option in _FORCED_IDR.items():
        if codec is not None and codec.endswith(ending):
            yield from (f"-{option}:v", "1")


def _argv(settings: Iterable[Setting]) -> Iterator[str]:
    for one in settings:
        yield from one.argv
