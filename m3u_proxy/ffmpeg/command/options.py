"""Which FFmpeg options a template may use: an allow-list with a pattern for every value. Pure.

What is not written here is refused, so an option that a later FFmpeg invents is refused too. None of the
patterns can hold a path or an address, but for the few that say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from m3u_proxy.ffmpeg.command import filters

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One option. ``check`` judges the value; ``None`` means that there is none."""

    check: Check | None
    keep: bool = True
    """False: accepted and left out, because the proxy does it itself or it makes no sense here."""
    per_stream: bool = False
    """Whether a stream specifier may follow the name."""


def _like(pattern: str) -> Check:
    matches = re.compile(pattern, re.ASCII).fullmatch
    return lambda value: matches(value) is not None


def _one_of(words: str) -> Check:
    return frozenset(words.split()).__contains__


def _flags(words: str) -> Check:
    """Names joined by ``+`` and ``-``, in FFmpeg's way of writing a set of flags."""
    known = frozenset(words.split())
    shape = re.compile(r"[+-]?[a-z0-9_]+([+-][a-z0-9_]+)*")
    return lambda value: bool(shape.fullmatch(value)) and known.issuperset(re.findall(r"[a-z0-9_]+", value))


def flags_set(value: str) -> list[str]:
    """``a+b-c`` -> ``a``, ``b``: the flags that a checked value turns on."""
    return re.findall(r"(?:^|\+)([a-z0-9_]+)", value)


def _parameters(names: str) -> Check:
    """``name=value:name=value``, as encoders' private parameter strings are written."""
    known = frozenset(names.split())
    value = re.compile(r"[A-Za-z0-9.,+-]{1,32}")

    def check(text: str) -> bool:
        pairs = [part.partition("=") for part in text.split(":")]
        return all(name in known and (not equals or value.fullmatch(word)) for name, equals, word in pairs)

    return check


def _filter_graph(text: str) -> bool:
    return filters.refused(text) is None


INTEGER = _like(r"[+-]?\d{1,12}")
NUMBER = _like(r"[+-]?\d{1,12}(\.\d{1,9})?")
RATE = _like(r"\d{1,12}(\.\d{1,6})?[kKmM]?")
WORD = _like(r"[A-Za-z0-9+-][A-Za-z0-9_.:+-]{0,63}")
NAME = _like(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TIME = _like(r"-?\d{1,9}(:\d{1,2}){0,2}(\.\d{1,6})?(s|ms|us)?")
ANYTHING = _like(r".*")

_SIZE = _like(r"\d{1,5}x\d{1,5}|[a-z][a-z0-9]{1,11}")
_FRAME_RATE = _like(r"\d{1,6}(\.\d{1,6})?(/\d{1,6})?|ntsc|pal|film|ntsc-film")
_ASPECT = _like(r"\d{1,5}(\.\d{1,6})?([:/]\d{1,5})?")
_LAYOUT = _like(r"[A-Za-z0-9.+]{1,32}(\((side|back|front|wide)\))?")
_MAP = _like(
    r"-?\d{1,2}(:(p:\d{1,5}|i:(0x)?[0-9a-f]{1,6}|#(0x)?[0-9a-f]{1,6}))?(:[vVasdt])?(:\d{1,3})?"
    r"(:m:language:[A-Za-z]{2,3})?\??|\[[A-Za-z0-9_:]{1,32}\]"
)
_KEY_FRAMES = _like(r"expr:[A-Za-z0-9_.,()*/+<>-]{1,160}|source|\d[\d.:,]{0,159}")
_METADATA = _like(r"[A-Za-z][A-Za-z0-9_-]{0,31}=(?!.*://)[^\x00-\x1f\x7f]{0,200}")
_BIT_STREAM_FILTERS = _like(
    r"(?P<bsf>(h264|hevc)_mp4toannexb|aac_adtstoasc|dump_extra|extract_extradata|remove_extra|null|eac3_core|"
    r"dca_core|(h264|hevc|av1|mpeg2|vp9)_metadata(=[a-z0-9_]+=[A-Za-z0-9./]+(:[a-z0-9_]+=[A-Za-z0-9./]+)*)?|"
    r"filter_units=(pass|remove)_types=[0-9|-]+|vp9_superframe(_split)?|mpeg4_unpack_bframes|h264_redundant_pps)"
    r"(,(h264_mp4toannexb|hevc_mp4toannexb|aac_adtstoasc|dump_extra|extract_extradata|remove_extra|null))*"
)

# These three name a device node of the graphics card and nothing else of the file system.
_NODE = r"/dev/dri/(renderD|card)\d{1,3}"
_DEVICE = _like(rf"{_NODE}|\d{{1,2}}|[A-Za-z][A-Za-z0-9_]{{0,31}}")
_NEW_DEVICE = _like(
    rf"(vaapi|qsv|cuda|vulkan|drm|opencl|videotoolbox)(=[A-Za-z0-9_]{{1,32}})?"
    rf"(:({_NODE}|\d{{1,2}})|@[A-Za-z0-9_]{{1,32}})?(,[a-z_]{{1,32}}=[A-Za-z0-9_]{{1,32}})*"
)

_INPUT_FLAGS = (
    "genpts igndts discardcorrupt sortdts nobuffer nofillin noparse ignidx fastseek flush_packets "
    "bitexact autobsf"
)
# What we set anyway, or what makes no sense in a fresh directory with names of our own.
_HLS_FLAGS = (
    "delete_segments omit_endlist temp_file independent_segments program_date_time append_list "
    "discont_start round_durations split_by_time second_level_segment_index "
    "second_level_segment_duration second_level_segment_size"
)
_MOVFLAGS = (
    "faststart frag_keyframe frag_every_frame frag_custom empty_moov default_base_moof separate_moof "
    "dash cmaf omit_tfhd_offset negative_cts_offsets delay_moov global_sidx skip_sidx write_colr "
    "prefer_icc skip_trailer use_metadata_tags disable_chpl rtphint"
)
_X264 = (
    "keyint min-keyint no-scenecut scenecut open-gop bframes b-adapt b-pyramid ref aud crf qp bitrate "
    "vbv-maxrate vbv-bufsize vbv-init nal-hrd force-cfr filler rc-lookahead sync-lookahead "
    "sliced-threads slices threads lookahead-threads aq-mode aq-strength psy-rd deblock me merange "
    "subme trellis weightp weightb mbtree no-mbtree cabac no-cabac 8x8dct no-8x8dct ipratio pbratio "
    "qcomp qpmin qpmax level profile colorprim transfer colormatrix range annexb repeat-headers "
    "pic-struct intra-refresh tune preset log-level stitchable"
)
_X265 = (
    _X264 + " hrd log_level pools frame-threads wpp no-wpp sao no-sao rd rdoq-level strong-intra-smoothing "
    "no-open-gop bframe-bias hdr10 hdr10-opt level-idc high-tier info no-info asm vbv-end strict-cbr"
)
_SVTAV1 = (
    "tune film-grain keyint lookahead rc tbr mbr pred-struct fast-decode tile-columns tile-rows scd lp crf"
)

_PROTOCOLS = _like(r"(http|https|tcp|tls|crypto|pipe)(,(http|https|tcp|tls|crypto|pipe))*")


def _rules(
    names: str, check: Check | None, *, keep: bool = True, per_stream: bool = False
) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), Rule(check, keep, per_stream))


GLOBAL = {
    **_rules("y n hide_banner nostdin stats nostats", None, keep=False),
    **_rules("loglevel v stats_period", WORD, keep=False),
    **_rules("init_hw_device", _NEW_DEVICE),
    **_rules("filter_hw_device", NAME),
    **_rules("vaapi_device qsv_device", _DEVICE),
    **_rules("filter_complex_threads filter_threads", INTEGER),
    **_rules("copyts start_at_zero ignore_unknown", None),
    **_rules("dts_delta_threshold dts_error_threshold", NUMBER),
    **_rules("filter_complex", _filter_graph),
    **_rules("vsync", _one_of("0 1 2 -1 passthrough cfr vfr auto")),
}
"""Options that may stand anywhere."""

STREAM_INPUT = {
    **_rules("re", None, keep=False),
    **_rules(
        "f user_agent headers referer cookies reconnect reconnect_at_eof reconnect_streamed "
        "multiple_requests reconnect_on_network_error reconnect_on_http_error reconnect_delay_max "
        "reconnect_max_retries timeout rw_timeout stimeout seekable http_seekable http_persistent icy "
        "max_reload live_start_index m3u8_hold_counters allowed_extensions extension_picky "
        "tls_verify rtsp_transport readrate readrate_initial_burst stream_loop",
        ANYTHING,
        keep=False,
    ),
    **_rules("protocol_whitelist", _PROTOCOLS, keep=False),
    **_rules("fflags", _flags(_INPUT_FLAGS)),
    **_rules("analyzeduration probesize", RATE),
    **_rules("fpsprobesize max_probe_packets max_delay thread_queue_size threads resync_size", INTEGER),
    **_rules("c", NAME, per_stream=True),
    **_rules("flags flags2 err_detect skip_frame skip_loop_filter strict ec", WORD, per_stream=True),
    **_rules("hwaccel hwaccel_output_format", NAME, per_stream=True),
    **_rules("hwaccel_device", _DEVICE, per_stream=True),
    **_rules("extra_hw_frames surfaces gpu async_depth deint", INTEGER),
    **_rules("drop_second_field scan_all_pmts merge_pmt_versions fix_teletext_pts", INTEGER),
    **_rules("correct_ts_overflow use_wallclock_as_timestamps", INTEGER),
    **_rules("autorotate noautorotate accurate_seek noaccurate_seek an vn sn dn", None),
    **_rules("itsoffset itsscale ss t to", TIME),
    **_rules("r", _FRAME_RATE, per_stream=True),
    **_rules("discard", NAME, per_stream=True),
}
"""Before the input that is the stream. What only concerns the network is left out: the proxy fetches."""

GENERATED_INPUT = {
    **_rules("f", _one_of("lavfi")),
    **_rules("re", None),
    **_rules("t to itsoffset", TIME),
    **_rules("r readrate", _FRAME_RATE),
    **_rules("thread_queue_size threads", INTEGER),
}

_MAPPING = {
    **_rules("map", _MAP),
    **_rules("map_metadata", _like(r"-1|\d(:[gsc](:[vas])?(:\d{1,2})?)?"), per_stream=True),
    **_rules("map_chapters", _like(r"-1|\d")),
    **_rules("metadata", _METADATA, per_stream=True),
    **_rules("disposition", WORD, per_stream=True),
    **_rules("an vn sn dn shortest copyinkf autoscale noautoscale", None),
    **_rules("ss t to muxdelay muxpreload", TIME),
    **_rules("max_muxing_queue_size max_delay avioflags flush_packets", WORD, per_stream=True),
    **_rules("max_interleave_delta avoid_negative_ts shortest_buf_duration", WORD),
    **_rules("fflags", _flags(_INPUT_FLAGS)),
    **_rules("bsf", _BIT_STREAM_FILTERS, per_stream=True),
}

_ENCODING = {
    **_rules("c", NAME, per_stream=True),
    **_rules("b maxrate minrate bufsize", RATE, per_stream=True),
    **_rules("crf crf_max qp cq q qscale global_quality qmin qmax qdiff qcomp", NUMBER, per_stream=True),
    **_rules("g keyint_min bf refs threads slices sc_threshold", INTEGER, per_stream=True),
    **_rules("rc-lookahead rc_lookahead", INTEGER, per_stream=True),
    **_rules("preset tune profile level tag pix_fmt sample_fmt field_order strict", WORD, per_stream=True),
    **_rules("flags flags2 color_primaries color_trc colorspace color_range", WORD, per_stream=True),
    **_rules("chroma_sample_location compression_level bits_per_raw_sample", WORD, per_stream=True),
    **_rules("fps_mode", _one_of("0 1 2 -1 passthrough cfr vfr auto"), per_stream=True),
    **_rules("r fpsmax", _FRAME_RATE, per_stream=True),
    **_rules("s", _SIZE, per_stream=True),
    **_rules("aspect", _ASPECT, per_stream=True),
    **_rules("ac ar", INTEGER, per_stream=True),
    **_rules("channel_layout ch_layout", _LAYOUT, per_stream=True),
    **_rules("filter", _filter_graph, per_stream=True),
    **_rules("sws_flags", WORD),
    **_rules("force_key_frames", _KEY_FRAMES, per_stream=True),
    **_rules("frames vframes aframes", INTEGER, per_stream=True),
    **_rules("x264-params x264opts", _parameters(_X264), per_stream=True),
    **_rules("x265-params", _parameters(_X265), per_stream=True),
    **_rules("svtav1-params", _parameters(_SVTAV1), per_stream=True),
    # Private options of encoders: numbers and words, none of which names a file.
    **_rules(
        "8x8dct a53cc aq-mode aq-strength aud b-pyramid b_strategy bluray-compat coder deblock "
        "direct-pred fast-pskip forced-idr intra-refresh mbtree me_method me_range motion-est "
        "mixed-refs nal-hrd partitions psy psy-rd psy_rd subq trellis udu_sei weightb weightp b_adapt "
        "b_ref_mode cbr delay gpu init_qpB init_qpI init_qpP multipass no-scenecut nonref_p rc "
        "spatial-aq spatial_aq strict_gop surfaces temporal-aq temporal_aq weighted_pred zerolatency "
        "extra_sei tf_level lookahead_level adaptive_b adaptive_i async_depth b_depth blbrc extbrc "
        "forced_idr idr_interval look_ahead look_ahead_depth low_delay_brc low_power max_frame_size "
        "mbbrc p_strategy quality rc_mode rdo repeat_pps scenario sei auto-alt-ref cpu-used deadline "
        "error-resilient frame-parallel lag-in-frames row-mt speed static-thresh tile-columns "
        "tile-rows undershoot-pct overshoot-pct noise-sensitivity usage enable-tpl aac_coder aac_is "
        "aac_ms aac_pns aac_tns application cutoff fec frame_duration mapping_family packet_loss vbr "
        "abr joint_stereo reservoir dialnorm afterburner enc_time_base stereo_mode",
        WORD,
        per_stream=True,
    ),
}

_MUXING = {
    **_rules("movflags", _flags(_MOVFLAGS)),
    **_rules("frag_duration frag_size min_frag_duration", INTEGER),
    **_rules("video_track_timescale write_tmcd use_editlist", INTEGER),
    **_rules("brand id3v2_version write_xing write_id3v1 flvflags serial_offset page_duration", WORD),
    **_rules("cluster_size_limit cluster_time_limit dash live reserve_index_space", INTEGER),
    **_rules("mpegts_flags mpegts_service_type", WORD),
    **_rules(
        "mpegts_transport_stream_id mpegts_original_network_id mpegts_service_id mpegts_pmt_start_pid "
        "mpegts_start_pid mpegts_m2ts_mode mpegts_copyts muxrate pes_payload_size pcr_period "
        "tables_version",
        INTEGER,
    ),
    **_rules("pat_period sdt_period nit_period", NUMBER),
}

OUTPUT = _MAPPING | _ENCODING | _MUXING | _rules("f", NAME)

is_relative_name = _like(r"(?!.*\.\.)[A-Za-z0-9_%.+-][A-Za-z0-9_%.+/-]{0,99}")
"""Whether a value names a file below the working directory, and nothing else."""

HLS = {
    **_rules("hls_time", _like(r"\d{1,2}(\.\d{1,6})?")),
    **_rules("hls_list_size hls_delete_threshold", _like(r"\d{1,6}")),
    **_rules("hls_flags", _flags(_HLS_FLAGS)),
    **_rules("hls_segment_type", _one_of("mpegts fmp4")),
    **_rules("hls_segment_filename hls_fmp4_init_filename", is_relative_name),
    **_rules("hls_init_time hls_allow_cache start_number strftime strftime_mkdir", NUMBER),
    **_rules("hls_playlist_type hls_start_number_source", NAME),
}
"""On the output side of an HLS template. Names and numbers of files are ours, whatever is given."""

ALIASES = {
    "codec": "c",
    "vcodec": "c:v",
    "acodec": "c:a",
    "scodec": "c:s",
    "vf": "filter:v",
    "af": "filter:a",
    "lavfi": "filter_complex",
    "ab": "b:a",
    "vtag": "tag:v",
    "atag": "tag:a",
    "aq": "q:a",
}
"""Other spellings; everything else sees one name."""
