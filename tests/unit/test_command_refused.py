"""What a template must not make FFmpeg do, and why only an allow-list can tell."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.errors import BadTemplate, InvalidField
from m3u_proxy.ffmpeg.command import filters, options
from m3u_proxy.ffmpeg.command.arguments import shown
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.render import Rendered, hls_argv, pipe_argv, render
from m3u_proxy.ffmpeg.command.shape import HlsOptions

URL = "http://p.example/live/u/p/1.ts?token=s3cret"
SHAPE = HlsOptions(segment_duration=2.0, window=6, keep_extra=2)
V9 = (9, 0)
SIDES = (options.GLOBAL, options.STREAM_INPUT, options.GENERATED_INPUT, options.OUTPUT, options.HLS)


def rendered(template: str, *, output_format: str = "mpegts", **variables: str) -> Rendered:
    return render(template, variables, input_url=URL, output_format=output_format)


REFUSED = [
    # inputs
    "-c copy -f mpegts pipe:1",
    "-i {input_url} -i {input_url} -c copy",
    "-i {input_url} -i file:///etc/passwd",
    "-i {input_url} -i http://other.example/x.ts",
    "-i concat:a|b",
    "-i pipe:0",
    "-i {input_url}x -c copy",
    "-i",
    "-i {input_url} -f lavfi -i movie=/etc/passwd",
    "-i {input_url} -f lavfi -i scale=1:1",
    "-i {input_url} -f lavfi -i anullsrc,ametadata=mode=print:file=x",
    "-i {input_url} -f concat -safe 0 -i list.txt",
    "-protocol_whitelist ALL -f lavfi -i anullsrc -i {input_url}",
    "-i {input_url} -c copy pipe:1 -i {input_url}",
    # outputs
    "-i {input_url} -c copy -f mpegts /tmp/x.ts",
    "-i {input_url} -c copy -f mpegts x.ts",
    "-i {input_url} -c copy -f mpegts pipe:2",
    "-i {input_url} -c copy pipe:1 pipe:1",
    "-i {input_url} -c copy pipe:1 -c copy out.ts",
    "-i {input_url} -c copy -f hls /srv/index.m3u8",
    "-i {input_url} -c copy -f hls ../index.m3u8",
    "-i {input_url} -c copy -f hls x/../../index.m3u8",
    "-i {input_url} -c copy -f hls http://other.example/index.m3u8",
    "-i {input_url} -c copy -f hls file:index.m3u8",
    "-i {input_url} -c copy -f hls a.m3u8 b.m3u8",
    "-i {input_url} -c copy -f hls -hls_segment_filename /tmp/%d.ts x.m3u8",
    "-i {input_url} -c copy -f hls -hls_segment_filename ../%d.ts x.m3u8",
    "-i {input_url} -c copy -f hls -hls_fmp4_init_filename ../../i.mp4 x.m3u8",
    "-i {input_url} -c copy -f tee '[f=mpegts]a|[f=mpegts]b'",
    "-i {input_url} -c copy -f rtsp rtsp://other.example/x",
    "-i {input_url} -c copy -f segment x%d.ts",
    "-i {input_url} -c copy -f null -",
    "-i {input_url} -c copy -f mpegts -f hls",
    "-i {input_url} -c copy -hls_flags delete_segments -f mpegts",
    # HLS options with side effects
    "-i {input_url} -c copy -f hls -hls_key_info_file k x.m3u8",
    "-i {input_url} -c copy -f hls -hls_enc 1 x.m3u8",
    "-i {input_url} -c copy -f hls -hls_segment_options a=b x.m3u8",
    "-i {input_url} -c copy -f hls -method PUT x.m3u8",
    "-i {input_url} -c copy -f hls -http_user_agent x x.m3u8",
    "-i {input_url} -c copy -f hls -master_pl_name m.m3u8 x.m3u8",
    "-i {input_url} -c copy -f hls -var_stream_map v:0,a:0 x.m3u8",
    "-i {input_url} -c copy -f hls -hls_base_url http://other.example/ x.m3u8",
    "-i {input_url} -c copy -f hls -hls_flags single_file x.m3u8",
    "-i {input_url} -c copy -f hls -hls_flags periodic_rekey x.m3u8",
    # options that read, write or send
    "-i {input_url} -attach x -c copy -f matroska",
    "-dump_attachment:t x -i {input_url} -c copy",
    "-progress http://other.example/ -i {input_url} -c copy",
    "-report -i {input_url} -c copy",
    "-i {input_url} -pass 1 -passlogfile x",
    "-vstats_file x -i {input_url}",
    "-i {input_url} -filter_script:v x",
    "-i {input_url} -filter_complex_script x",
    "-i {input_url} -/filter:v x",
    "-i {input_url} -sdp_file x",
    "--help -i {input_url}",
    "-i {input_url} -c copy -invented 1",
    "-i {input_url} -hls_time",
    # values
    "-i {input_url} -b:v 1M;touch",
    "-i {input_url} -c:v ../x",
    "-i {input_url} -vf movie=/etc/passwd",
    "-i {input_url} -vf drawtext=textfile=/etc/passwd",
    "-i {input_url} -vf subtitles=x.srt",
    "-i {input_url} -vf scale=/w=x",
    "-i {input_url} -vf lut3d=x.cube",
    "-i {input_url} -af loudnorm=stats_file=x",
    "-i {input_url} -af loudnorm=-16:-1.5:11:0:0:0:0:0:1:0:none:x",
    "-i {input_url} -vf zmq",
    "-i {input_url} -x264-params keyint=50:stats=x",
    "-i {input_url} -x265-params csv=x",
    "-i {input_url} -metadata title=http://other.example/",
    "-i {input_url} -metadata comment={input_url}",
    "-i {input_url} -hwaccel_device /dev/sda",
    "-init_hw_device vaapi=x:/etc/passwd -i {input_url}",
    "-i {input_url} -map_metadata /etc/passwd",
    "-i {input_url} -force_key_frames chapters:/x",
    "-i {input_url} -bsf:v noise=drop=1",
    # values that would become more than values
    "-i {input_url} {extra|-y} pipe:1",
    "-i {input_url} -{extra|an} pipe:1",
    "-i {input_url} -c {extra|copy -y x}",
    "-i {input_url} -preset {empty|} -f mpegts",
]


@pytest.mark.parametrize("template", REFUSED)
def test_everything_else_is_refused(template: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        rendered(template)
    assert URL not in caught.value.detail
    assert "s3cret" not in caught.value.detail


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("-i {input_url} -attach x -f mkv", "-attach"),
        ("-i {input_url} -vf movie=x", "movie"),
        ("-i {input_url} -f hls ../index.m3u8", "../index.m3u8"),
        ("-i {input_url} -f tee x", "tee"),
        ("-i file:///etc/passwd", "file:"),
        ("-i {input_url} -c:v '$(touch s)'", "$(touch s)"),
    ],
)
def test_the_refusal_names_the_argument(template: str, named: str) -> None:
    with pytest.raises(BadTemplate, match=re.escape(named)):
        rendered(template)


def test_variables_and_format_are_fields_of_the_request() -> None:
    with pytest.raises(InvalidField) as caught:
        rendered("-i {input_url} -b:v {video_bitrate|2M}", video_bitrate="1M -i file:///etc/passwd")
    assert caught.value.field == "profile_variables.video_bitrate"
    with pytest.raises(InvalidField) as caught:
        rendered("-i {input_url}", output_format="mp4 -y /x")
    assert caught.value.field == "output_format"


@pytest.mark.parametrize(
    "text", ["$(touch s)", "`touch s`", ";touch s", "|touch s", ">s", "&touch${IFS}s", "-y"]
)
def test_a_free_variable_must_fit_where_it_stands(text: str) -> None:
    with pytest.raises(BadTemplate):
        rendered("-i {input_url} -preset {extra} -f mpegts {output_args}", extra=f"fast {text}")
    assert rendered("-i {input_url} -metadata title={extra}", extra=text).arguments[-1] == f"title={text}"


def test_addresses_are_not_repeated() -> None:
    assert shown("http://user:pass@host/live/u/p/1.ts") == "'http:…'"
    assert shown("movie=http\\://user@host/x") == "'movie=http\\\\:…'"
    assert len(shown("x" * 1000)) < 80


# ------------------------------------------------------------------ why an allow-list

DENIED = re.compile(
    r"movie|textfile|fontfile|subtitles|file:|https?:|concat|\.\.|(^| )/|-attach|-dump_attachment|-progress|"
    r"-report|-passlogfile|-vstats|-filter_script|-filter_complex_script|-sdp_file|tee|-i .*-i "
)
"""What somebody would forbid who had read a list of FFmpeg's dangers."""


@pytest.mark.parametrize(
    ("template", "danger"),
    [
        ("-i {input_url} -/filter:v graph.txt", "reads a graph from a file (FFmpeg 7)"),
        ("-i {input_url} -af loudnorm=stats_file=x", "writes a file (FFmpeg 8)"),
        ("-i {input_url} -vf scale=/w=secret.txt", "reads a file (FFmpeg 8)"),
        ("-i {input_url} -enc_stats_post x", "writes a file (FFmpeg 6)"),
        ("-print_graphs_file x -i {input_url}", "writes a file (FFmpeg 8)"),
        ("-i {input_url} -x264-params log-file=x", "writes a file"),
        ("-i {input_url} -c:v libx265 -x265-params csv=x:csv-log-level=2", "writes a file"),
        ("-i {input_url} -c:v libx265 -x265-stats x", "writes a file (FFmpeg 7)"),
        ("-i {input_url} -vf lut3d=x.cube", "reads a file"),
        ("-i {input_url} -vf psnr=f=x", "writes a file"),
        ("-i {input_url} -vf metadata=print:file=x", "writes a file"),
        ("-i {input_url} -vf zmq=b=tcp\\\\://0.0.0.0\\\\:5555", "opens a port"),
        ("-i {input_url} -f hls -hls_key_info_file k x.m3u8", "reads keys"),
        (
            "-i {input_url} -f hls -var_stream_map v:0 -master_pl_name m.m3u8 x%v.m3u8",
            "writes more playlists",
        ),
        ("-i {input_url} -f segment x%d.ts", "writes names of its own"),
        ("-i {input_url} -f stream_segment -segment_list l x%d.ts", "writes names of its own"),
        ("-i {input_url} -fpre x.ffpreset", "reads options from a file"),
        ("-i {input_url} x.ts", "writes a file"),
        ("-i {input_url} -f rtp rtp:other", "sends elsewhere"),
        ("-i data:text/plain,x", "reads another input"),
        ("-i {input_url} -f fifo -fifo_format mpegts x", "wraps another muxer"),
    ],
)
def test_a_deny_list_would_let_this_through(template: str, danger: str) -> None:
    assert danger
    assert not DENIED.search(template), "a better example is needed: this one is on the list"
    with pytest.raises(BadTemplate):
        rendered(template)


# ------------------------------------------------------------------ properties of the tables


def test_an_option_takes_a_value_on_every_side_or_on_none() -> None:
    for name in set().union(*SIDES):
        assert len({side[name].check is None for side in SIDES if name in side}) == 1, name


def test_no_kept_option_can_hold_a_path_or_an_address() -> None:
    evil = ["/etc/passwd", "../x", "file:x", "http://h/", "tcp://h:1", "pipe:3", "x\ny", "", "a b/c"]
    evil += [f"{start}{end}" for start in ("x=", "[v]", "'") for end in ("/etc/passwd", "http://h/")]
    for side in SIDES:
        for name, rule in side.items():
            if rule.check is not None and rule.keep:
                accepted = [one for one in evil if rule.check(one)]
                # Names with colons are harmless where no option is one of files; metadata is text.
                assert (
                    not [one for one in accepted if one not in ("file:x", "pipe:3")] or name == "metadata"
                ), name


@given(st.text(alphabet="scalepdmovi=:,;'[]\\/()|0123456789-+* @\n", max_size=60))
def test_any_filter_graph_is_judged(graph: str) -> None:
    if filters.refused(graph) is None:
        names = re.findall(r"[a-z0-9_]+", graph)
        assert set(names) & set(filters.FILTERS)
        assert "movie" not in re.split(r"[^a-z0-9_]+", graph)


words = st.sampled_from(
    [
        *(
            "-i",
            "{input_url}",
            "-f",
            "hls",
            "lavfi",
            "anullsrc",
            "-c",
            "copy",
            "-c:v",
            "libx264",
            "-map",
            "0:v",
        ),
        *("pipe:1", "-", "x.m3u8", "/x", "-y", "-vf", "scale=1:2", "movie=x", "-hls_time", "2", "-an", "-re"),
        *("-metadata", "a=b", "{a}", "{a|-y}", "-g", "50", "-movflags", "+faststart", "mp4", "'", "-fflags"),
    ]
)


@given(st.lists(words, max_size=14), st.text(max_size=12))
def test_any_template_is_refused_or_contained(parts: list[str], text: str) -> None:
    try:
        one = render(" ".join(parts), {"a": text}, input_url=URL, output_format="mpegts")
    except (BadTemplate, InvalidField):
        return
    if one.output == "hls":
        command = hls_argv("ffmpeg", one, SHAPE, source=Input(), progress_fd=7, version=V9)
        assert command[-1] == "index.m3u8"
    else:
        command = pipe_argv("ffmpeg", one, source=Input(), progress_fd=7, version=V9)
        assert command[-1] == "pipe:1"
    inputs = [after for before, after in pairwise(command) if before == "-i"]
    assert inputs.count("pipe:0") == 1
    assert set(inputs) <= {"pipe:0", "anullsrc"}
    assert not any("p.example" in part for part in command)
