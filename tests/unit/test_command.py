"""FFmpeg command lines: how a template's output is judged, and what is run in the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.profiles import DEFAULT_VARIABLES, Encoding, profiles
from m3u_proxy.ffmpeg.command.render import Rendered, hls_argv, pipe_argv, render, uses_hardware
from m3u_proxy.ffmpeg.command.shape import HlsOptions

URL = "http://p.example/live/u/p/1.ts?token=s3cret"
SHAPE = HlsOptions(segment_duration=2.0, window=6, keep_extra=2)
V5, V9, V4 = (5, 1), (9, 0), (4, 4)
STDIN = Input()

EDITOR = "-fflags +genpts -i {input_url} -c:v libx264 -preset faster -b:v {bitrate|2000k} -c:a aac "
PROFILES = profiles()
EDITOR_PRESETS = [
    EDITOR + "-b:a {audio_bitrate|128k} -f mpegts {output_args|pipe:1}",
    EDITOR + "-hls_time 2 -hls_list_size 30 -hls_flags program_date_time -f hls {output_args|index.m3u8}",
    EDITOR + "-hls_time 2 -hls_list_size 30 -hls_segment_type fmp4 -f hls {output_args|index.m3u8}",
    "-i {input_url} -c:v libx264 -preset faster -crf {crf|23} -maxrate {maxrate|2500k}"
    " -bufsize {bufsize|5000k} -c:a aac -b:a {audio_bitrate|192k} -f mpegts {output_args|pipe:1}",
    "-fflags +genpts+discardcorrupt+igndts -i {input_url} -c:v libx264 -preset medium -c:a aac"
    " -hls_time 2 -hls_list_size 30 -hls_flags program_date_time -hls_delete_threshold 5 -f hls"
    " {output_args}",
]


def rendered(template: str, *, output_format: str = "mpegts", **variables: str) -> Rendered:
    return render(template, variables, input_url=URL, output_format=output_format)


def argv(
    template: str,
    *,
    source: Input = STDIN,
    version: tuple[int, int] = V9,
    shape: HlsOptions = SHAPE,
    adts: bool = False,
) -> list[str]:
    one = rendered(template)
    if one.output == "hls":
        return hls_argv("ffmpeg", one, shape, source=source, progress_fd=7, version=version, adts=adts)
    return pipe_argv("ffmpeg", one, source=source, progress_fd=7, version=version)


def value(command: Sequence[str], option: str) -> str | None:
    """What follows ``option``; ``None`` if it is not there. More than once is an error of the test."""
    found = [after for before, after in pairwise(command) if before == option]
    assert len(found) <= 1, f"{option} is given {len(found)} times"
    return found[0] if found else None


def output_side(command: Sequence[str]) -> list[str]:
    """Everything after the last input."""
    last = max(index for index, one in enumerate(command) if one == "-i")
    return list(command[last + 2 :])


# ------------------------------------------------------------------ judging the output


@pytest.mark.parametrize(
    ("template", "output", "container", "content_type"),
    [
        ("-i {input_url}", "pipe", "mpegts", "video/mp2t"),
        ("-i {input_url} -c copy {output_args}", "pipe", "mpegts", "video/mp2t"),
        ("-i {input_url} -c copy -f mp4 -", "pipe", "mp4", "video/mp4"),
        ("-i {input_url} -f mov pipe:1", "pipe", "mov", "video/mp4"),
        ("-i {input_url} -f matroska", "pipe", "matroska", "video/x-matroska"),
        ("-i {input_url} -f mkv", "pipe", "mkv", "video/x-matroska"),
        ("-i {input_url} -f webm", "pipe", "webm", "video/webm"),
        ("-i {input_url} -f mpeg", "pipe", "mpeg", "video/mpeg"),
        ("-i {input_url} -f flv", "pipe", "flv", "video/x-flv"),
        ("-i {input_url} -f ogg", "pipe", "ogg", "video/ogg"),
        ("-i {input_url} -f mp3", "pipe", "mp3", "audio/mpeg"),
        ("-i {input_url} -f adts", "pipe", "adts", "audio/aac"),
        ("-f hls -i {input_url} -f mpegts", "pipe", "mpegts", "video/mp2t"),
        ("-f mpegts -i {input_url} -f hls", "hls", "hls", "application/vnd.apple.mpegurl"),
        ("-i {input_url} -f hls pipe:1", "hls", "hls", "application/vnd.apple.mpegurl"),
        ("-i {input_url} -hls_time 4 pipe:1", "hls", "hls", "application/vnd.apple.mpegurl"),
        ("-i {input_url} -hls_list_size 4", "hls", "hls", "application/vnd.apple.mpegurl"),
        ("-i {input_url} -c copy Stream.M3U8", "hls", "hls", "application/vnd.apple.mpegurl"),
        ("-i {input_url} -f hls x/index.m3u8 {output_args}", "hls", "hls", "application/vnd.apple.mpegurl"),
    ],
)
def test_output_is_judged_from_the_output_side(
    template: str, output: str, container: str, content_type: str
) -> None:
    one = rendered(template)
    assert (one.output, one.container, one.content_type) == (output, container, content_type)


def test_a_playlist_that_is_read_says_nothing_about_what_is_written() -> None:
    one = render("-i {input_url} -f mpegts", {}, input_url="http://p.example/a.m3u8", output_format="hls")
    assert one.output == "pipe"


def test_the_format_of_the_request_fills_the_template() -> None:
    template = "-i {input_url} -f {format|mp4} {output_args|}"
    assert rendered(template, output_format="hls").output == "hls"
    assert rendered(template, output_format="hls", format="webm").container == "webm"


def test_arguments_are_shown_as_the_caller_wrote_them() -> None:
    one = rendered("-re -i {input_url} -c:v {codec|copy} -f hls {output_args}")
    assert one.arguments == ("-re", "-i", URL, "-c:v", "copy", "-f", "hls", "pipe:1")


# ------------------------------------------------------------------ what is run


def test_the_input_is_always_our_stream_on_standard_input() -> None:
    command = argv(
        "-re -user_agent Box -headers 'X-A: b' -reconnect 1 -rw_timeout 5000000 -i {input_url} -c copy"
    )
    assert value(command, "-i") == "pipe:0"
    assert value(command[: command.index("-i")], "-f") == "mpegts"
    assert value(command, "-protocol_whitelist") == "pipe"
    assert not {"-re", "-user_agent", "-headers", "-reconnect", "-rw_timeout"} & set(command)
    assert not any("p.example" in one or "s3cret" in one for one in command)


@pytest.mark.parametrize(
    ("source", "protocols", "formats"),
    [
        (
            Input("http://127.0.0.1:1/t/index.m3u8", "hls", "http,tcp"),
            "http,tcp",
            "hls,mpegts,mov,aac,ac3,eac3,mp3,webvtt",
        ),
        (Input("http://127.0.0.1:1/t/file.mp4", "mov", "http,tcp", is_finite=True), "http,tcp", "mov"),
    ],
)
def test_an_address_of_ours_takes_the_place_of_standard_input(
    source: Input, protocols: str, formats: str
) -> None:
    command = argv("-re -reconnect 1 -extension_picky 0 -i {input_url} -c copy", source=source)
    before = command[: command.index("-i")]
    assert value(command, "-i") == source.url
    assert value(before, "-f") == source.demuxer
    assert value(before, "-protocol_whitelist") == protocols
    assert value(before, "-format_whitelist") == formats
    assert not any(one.startswith(("-reconnect", "-extension", "-allowed")) or one == "-re" for one in before)


def test_only_a_paced_input_is_read_at_its_own_speed() -> None:
    paced = Input("http://127.0.0.1:1/t/file.mp4", "mov", "http,tcp", is_paced=True, is_finite=True)
    for template in ("-i {input_url} -c copy", "-re -i {input_url} -c copy -f hls"):
        command = argv(template, source=paced)
        assert command[: command.index("-i")].count("-re") == 1
        assert "-re" not in argv(template)


@pytest.mark.parametrize("demuxer", ["mpegts", "hls", "mov", "matroska"])
def test_private_options_of_a_demuxer_go_to_no_other(demuxer: str) -> None:
    template = "-scan_all_pmts 1 -resync_size 65536 -max_delay 5 -i {input_url} -c copy"
    command = argv(template, source=Input("http://127.0.0.1:1/t/x", demuxer, "http,tcp"))
    assert ("-scan_all_pmts" in command) == ("-resync_size" in command) == (demuxer == "mpegts")
    assert value(command, "-max_delay") == "5"


def test_a_file_waits_for_nobody_and_is_analysed_as_ffmpeg_likes() -> None:
    film = Input("http://127.0.0.1:1/t/file.flv", "flv", "http,tcp", is_finite=True)
    assert value(argv("-i {input_url} -c copy"), "-analyzeduration") == "500000"
    assert value(argv("-i {input_url} -c copy", source=film), "-analyzeduration") is None
    assert value(argv("-probesize 10M -i {input_url} -c copy", source=film), "-probesize") == "10M"


def test_a_url_that_is_written_out_is_the_stream() -> None:
    assert argv(f"-i {URL} -c copy") == argv("-i {input_url} -c copy")


def test_ffmpeg_is_quiet_and_reports_progress_on_its_own_pipe() -> None:
    command = argv("-v debug -stats -y -i {input_url} -c copy")
    assert command[:6] == ["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"]
    assert value(command, "-progress") == "pipe:7"
    assert not {"-v", "-y", "-stats"} & set(command)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "+genpts"),
        ("-fflags nobuffer", "+genpts"),
        ("-fflags +genpts+discardcorrupt+igndts", "+genpts+discardcorrupt+igndts"),
        ("-fflags +nobuffer+discardcorrupt-fastseek", "+genpts+discardcorrupt"),
    ],
)
def test_input_flags_are_merged_without_nobuffer(given: str, expected: str) -> None:
    assert value(argv(f"{given} -i {{input_url}} -c copy"), "-fflags") == expected


def test_the_template_may_ask_for_a_longer_analysis() -> None:
    command = argv("-analyzeduration 5M -probesize 10M -thread_queue_size 512 -i {input_url} -c copy")
    before = command[: command.index("-i")]
    assert (value(before, "-analyzeduration"), value(before, "-probesize")) == ("5M", "10M")
    assert value(before, "-thread_queue_size") == "512"


def test_generated_inputs_keep_their_place() -> None:
    command = argv(
        "-f lavfi -i color=c=black:s=640x360 -hwaccel vaapi -i {input_url} -f lavfi -t 5 -i anullsrc "
        "-map 1:v -map 2:a -c copy -f mpegts pipe:1"
    )
    assert [after for before, after in pairwise(command) if before == "-i"] == [
        "color=c=black:s=640x360",
        "pipe:0",
        "anullsrc",
    ]
    assert value(command, "-hwaccel") == "vaapi"
    assert [after for before, after in pairwise(command) if before == "-map"] == ["1:v", "2:a"]


@pytest.mark.parametrize(
    ("template", "maps"),
    [
        ("-i {input_url}", ["0:v:0?", "0:a:0?"]),
        ("-i {input_url} -c:v libx264 -c:a copy", ["0:v:0?", "0:a:0?"]),
        ("-i {input_url} -vcodec copy", ["0:v:0?", "0:a:0?"]),
        ("-i {input_url} -c copy", []),
        ("-i {input_url} -c:v copy -acodec copy", []),
        ("-i {input_url} -vn -c:a copy", []),
        ("-i {input_url} -map 0:a -c:a aac", ["0:a"]),
        ("-i {input_url} -f lavfi -i anullsrc -c:v copy -c:a aac -shortest", []),
        ("-i {input_url} -filter_complex [0:v]scale=640:-2 -c:a aac", []),
    ],
)
def test_first_video_and_audio_are_mapped_unless_the_author_counts_on_something_else(
    template: str, maps: list[str]
) -> None:
    assert [after for before, after in pairwise(argv(template)) if before == "-map"] == maps


def test_hls_files_have_our_names_in_the_working_directory() -> None:
    command = output_side(
        argv(
            "-i {input_url} -c copy -f hls -hls_segment_filename x/%03d.ts -start_number 9 -strftime 1 l.m3u8"
        )
    )
    assert command[-1] == "index.m3u8"
    assert value(command, "-hls_segment_filename") == "segment_%d.ts"
    assert value(command, "-f") == "hls"
    assert not {"x/%03d.ts", "l.m3u8", "-start_number", "-strftime", "pipe:1"} & set(command)


def test_fragments_come_with_an_init_file() -> None:
    command = output_side(
        argv(
            "-i {input_url} -c copy -hls_segment_type fmp4 -hls_fmp4_init_filename i.mp4 -f hls {output_args}"
        )
    )
    assert value(command, "-hls_segment_filename") == "segment_%d.m4s"
    assert value(command, "-hls_fmp4_init_filename") == "init.mp4"
    assert value(command, "-hls_segment_type") == "fmp4"


def test_adts_is_unpacked_only_where_it_is_copied_into_fragments() -> None:
    fragments = "-i {input_url} -c copy -hls_segment_type fmp4 -f hls"
    assert value(argv(fragments, adts=True), "-bsf:a") == "aac_adtstoasc"
    assert value(argv(fragments), "-bsf:a") is None
    assert value(argv("-i {input_url} -c copy -f hls", adts=True), "-bsf:a") is None
    assert value(argv(fragments.replace("copy", "copy -c:a aac"), adts=True), "-bsf:a") is None
    own = fragments.replace("copy", "copy -bsf:a aac_adtstoasc")
    assert value(argv(own, adts=True), "-bsf:a") == "aac_adtstoasc"


def test_hls_flags_are_ours_whatever_the_template_says() -> None:
    for flags in (
        "",
        "-hls_flags program_date_time",
        "-hls_flags -delete_segments+split_by_time+append_list",
    ):
        command = argv(f"-i {{input_url}} -c copy {flags} -f hls")
        assert set((value(command, "-hls_flags") or "").split("+")) == {
            "delete_segments",
            "omit_endlist",
            "temp_file",
            "independent_segments",
            "program_date_time",
        }


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("-f hls", HlsOptions(2.0, 6, 2)),
        ("-hls_time 4 -hls_list_size 30 -f hls", HlsOptions(4.0, 30, 2)),
        ("-hls_time 0.1 -hls_list_size 1 -hls_delete_threshold 1", HlsOptions(0.5, 2, 2)),
        ("-hls_time 99 -hls_list_size 99999 -hls_delete_threshold 9999", HlsOptions(30.0, 300, 20)),
        ("-hls_list_size 0 -hls_delete_threshold 5", HlsOptions(2.0, 300, 5)),
    ],
)
def test_the_template_shapes_the_playlist_within_bounds(template: str, expected: HlsOptions) -> None:
    one = rendered(f"-i {{input_url}} -c copy {template} x.m3u8")
    assert SHAPE.of(one) == expected
    command = hls_argv("ffmpeg", one, SHAPE, source=Input(), progress_fd=7, version=V9)
    assert float(value(command, "-hls_time") or 0) == expected.segment_duration
    assert value(command, "-hls_list_size") == str(expected.window)
    assert value(command, "-hls_delete_threshold") == str(expected.keep_extra)


@pytest.mark.parametrize("setting", ["-vsync 1", "-vsync cfr", "-fps_mode cfr"])
def test_frame_rate_mode_is_said_in_the_words_of_the_version(setting: str) -> None:
    for place in (f"{setting} -i {{input_url}} -c copy", f"-i {{input_url}} -c copy {setting}"):
        if place.startswith("-fps"):
            continue  # an output option only
        assert value(output_side(argv(place, version=V9)), "-fps_mode") == "cfr"
        assert value(output_side(argv(place, version=V5)), "-fps_mode") == "cfr"
        assert value(output_side(argv(place, version=V4)), "-vsync") == "cfr"
        assert "-vsync" not in argv(place, version=V9)


@pytest.mark.parametrize(
    ("template", "forced"),
    [
        ("-i {input_url} -c:v libx264", True),
        ("-i {input_url} -c:a aac", True),
        ("-i {input_url} -c:v libx264 -f hls", True),
        ("-i {input_url} -c copy", False),
        ("-i {input_url} -vn -c:a aac", False),
        ("-i {input_url} -c:a libmp3lame -f mp3", False),
        ("-i {input_url} -c:v libx264 -g 50", False),
        ("-i {input_url} -c:v libx264 -x264-params keyint=50", False),
        ("-i {input_url} -c:v libx264 -force_key_frames expr:gte(t,n_forced*1)", False),
    ],
)
def test_keyframes_are_forced_where_video_is_encoded_and_nothing_is_said(template: str, forced: bool) -> None:
    expression = value(argv(template), "-force_key_frames:v")
    assert (expression is not None) == forced


def test_keyframes_fall_on_the_segments() -> None:
    assert (value(argv("-i {input_url} -hls_time 4 -f hls"), "-force_key_frames:v") or "").endswith("4))")


@pytest.mark.parametrize(
    ("codec", "option"),
    [("libx265", "-forced-idr:v"), ("h264_nvenc", "-forced-idr:v"), ("hevc_qsv", "-forced_idr:v")],
)
def test_forced_keyframes_can_be_joined_at(codec: str, option: str) -> None:
    assert value(argv(f"-i {{input_url}} -c:v {codec} -f hls"), option) == "1"


@pytest.mark.parametrize(
    ("template", "flags"),
    [
        ("-c:v copy -c:a aac -f mp4", {"frag_keyframe", "empty_moov", "default_base_moof"}),
        ("-c copy -f mov", {"frag_keyframe", "delay_moov", "default_base_moof"}),
        ("-c:a aac -movflags +faststart -f mp4", {"frag_keyframe", "empty_moov", "default_base_moof"}),
        ("-c copy -movflags dash -f mp4", {"dash", "delay_moov", "default_base_moof"}),
        (
            "-c:a aac -movflags frag_every_frame -f mp4",
            {"frag_every_frame", "empty_moov", "default_base_moof"},
        ),
        (
            "-c copy -movflags frag_keyframe+empty_moov -f mp4",
            {"frag_keyframe", "empty_moov", "delay_moov", "default_base_moof"},
        ),
    ],
)
def test_mp4_in_a_pipe_is_fragmented(template: str, flags: set[str]) -> None:
    command = argv(f"-i {{input_url}} {template}")
    assert set((value(command, "-movflags") or "").strip("+").split("+")) == flags
    assert value(command, "-frag_duration") == "4000000"
    assert command[-2:] == [rendered(f"-i {{input_url}} {template}").container, "pipe:1"]


def test_a_pipe_is_flushed_at_every_packet() -> None:
    command = output_side(argv("-i {input_url} -c copy -flush_packets 0 -f mkv"))
    assert value(command, "-flush_packets") == "1"
    assert command[-3:] == ["-f", "matroska", "pipe:1"]


def test_options_of_the_output_are_kept_in_order() -> None:
    command = output_side(
        argv("-i {input_url} -map 0:v -c:v libx264 -b:v 2M -vf yadif,scale=-2:720 -g 50 -an")
    )
    assert command[:10] == [
        *("-map", "0:v", "-c:v", "libx264", "-b:v", "2M", "-filter:v", "yadif,scale=-2:720", "-g", "50")
    ]


# ------------------------------------------------------------------ what is accepted


@pytest.mark.parametrize("template", EDITOR_PRESETS)
def test_the_presets_of_the_editor_are_accepted(template: str) -> None:
    assert rendered(template).output == ("hls" if "-f hls" in template else "pipe")


@pytest.mark.parametrize("name", ["default", "hq", "lowlatency", "720p", "1080p", "hevc", "audio"])
@pytest.mark.parametrize("output_format", ["mpegts", "mp4", "hls", "matroska"])
def test_built_in_profiles_render(name: str, output_format: str) -> None:
    template = PROFILES[name].template
    one = rendered(template, output_format=output_format)
    fixed = {"lowlatency": "mpegts"}
    assert one.container == fixed.get(name, output_format)
    assert set(PROFILES[name].parameters) <= set(DEFAULT_VARIABLES)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("default", ["-c:v", "libx264", "-b:v", "2M", "-b:a", "128k"]),
        ("hq", ["-crf", "23", "-b:a", "192k"]),
        ("lowlatency", ["-tune", "zerolatency", "-b:v", "1M", "-b:a", "96k"]),
        ("720p", ["-vf", "scale=1280:720", "-b:v", "2500k", "-b:a", "128k"]),
        ("1080p", ["-vf", "scale=1920:1080", "-b:v", "5000k", "-b:a", "192k"]),
        ("hevc", ["-c:v", "libx265", "-b:v", "2M", "-b:a", "128k"]),
        ("audio", ["-vn", "-c:a", "aac", "-b:a", "192k"]),
    ],
)
def test_built_in_profiles_say_what_they_promise(name: str, arguments: list[str]) -> None:
    found = list(rendered(PROFILES[name].template).arguments)
    missing = [pair for pair in arguments if pair not in found]
    assert missing == []


HARDWARE: list[tuple[Encoding, str, str, str]] = [
    ("nvidia", "h264_nvenc", "hevc_nvenc", "-cq"),
    ("vaapi", "h264_vaapi", "hevc_vaapi", "-qp"),
    ("qsv", "h264_qsv", "hevc_qsv", "-global_quality"),
]


@pytest.mark.parametrize(("encoding", "h264", "hevc", "quality"), HARDWARE)
@pytest.mark.parametrize("name", ["default", "hq", "lowlatency", "720p", "1080p", "hevc"])
def test_built_in_profiles_for_hardware(
    encoding: Encoding, h264: str, hevc: str, quality: str, name: str
) -> None:
    one = rendered(profiles(encoding, "/dev/dri/renderD128")[name].template)
    assert (hevc if name == "hevc" else h264) in one.arguments
    assert (quality in one.arguments) == (name == "hq")
    assert not {"-crf", "libx264", "libx265", "zerolatency"} & set(one.arguments)
    assert ("-vaapi_device" in one.arguments) == (encoding == "vaapi")
    assert sum(argument.startswith("-vf") for argument in one.arguments) <= 1
    assert uses_hardware(one)


def test_software_profiles_use_no_hardware() -> None:
    assert not any(uses_hardware(rendered(one.template)) for one in PROFILES.values())


@pytest.mark.parametrize(
    "template",
    [
        "-hwaccel vaapi -hwaccel_device /dev/dri/renderD128 -hwaccel_output_format vaapi -i {input_url}"
        " -vf scale_vaapi=w=1280:h=720:format=nv12 -c:v h264_vaapi -qp 23 -c:a aac",
        "-init_hw_device qsv=hw:/dev/dri/renderD128 -filter_hw_device hw -i {input_url} -c:v h264_qsv",
        "-hwaccel cuda -c:v h264_cuvid -i {input_url} -c:v h264_nvenc -preset p4 -rc vbr -cq 23",
        "-i {input_url} -map 0:v:0 -map 0:a:m:language:eng? -map -0:s -map 0:p:12 -map 0:i:0x101 -c copy",
        "-i {input_url} -metadata service_name='My channel' -metadata:s:a:0 language=eng -c copy",
        "-i {input_url} -c:v libx264 -x264-params keyint=50:no-scenecut -profile:v high -level 4.1"
        " -pix_fmt yuv420p -tune zerolatency -force_key_frames expr:gte(t,n_forced*2) -sc_threshold 0",
        "-i {input_url} -af loudnorm=I=-16:TP=-1.5:LRA=11,aresample=async=1:first_pts=0 -ac 2 -ar 48000",
        "-i {input_url} -filter_complex '[0:v]split=2[a][b];[a]scale=-2:720[v];[b]null[w]' -map '[v]'",
        "-i {input_url} -c copy -bsf:v h264_mp4toannexb -bsf:a aac_adtstoasc -f mp4",
        "-i {input_url} -vcodec libx264 -acodec aac -ab 128k -r 30000/1001 -s 1280x720 -aspect 16:9",
        "-i {input_url} -c:a ac3 -channel_layout 5.1(side) -strict -2 -c:v copy",
        "-i {input_url} -c copy -mpegts_flags +resend_headers -pat_period 0.1 -muxdelay 0 -f mpegts -y",
        "-i {input_url} -vf \"select='gt(scene\\,0.4)',pad=ceil(iw/2)*2:ceil(ih/2)*2,setsar=1\" -an",
    ],
)
def test_what_people_write_is_accepted(template: str) -> None:
    assert rendered(template).output == "pipe"
