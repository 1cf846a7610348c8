"""Which FFmpeg filters and filter options a template may use, and the parser that decides it. Pure.

The parser accepts a subset of FFmpeg's filter graph syntax, so that it cannot read a graph differently from
FFmpeg: quotes work on the level of the graph only, and a backslash may stand before a comma only.
"""

from __future__ import annotations

import re

_VIDEO = """
bwdif: mode parity deint
colorspace: all space trc primaries range format fast dither iall ispace itrc iprimaries irange
crop: w h out_w out_h x y keep_aspect exact
deblock: filter block alpha beta gamma delta planes
decimate: cycle dupthresh scthresh blockx blocky mixed
drawbox: x y w h width height color c thickness t
eq: contrast brightness saturation gamma gamma_r gamma_g gamma_b gamma_weight eval
estdif: mode parity deint
fade: type t start_frame s nb_frames n alpha start_time st duration d color c
fieldmatch: order mode field mchroma combmatch
format: pix_fmts color_spaces color_ranges
fps: fps start_time round eof_action
framerate: fps interp_start interp_end scene flags
hflip:
hqdn3d: luma_spatial chroma_spatial luma_tmp chroma_tmp
hue: h s H b
idet: intl_thres prog_thres rep_thres half_life
nlmeans: s p pc r rc
null:
overlay: x y eof_action eval shortest format repeatlast alpha
pad: w h width height x y color eval aspect
scale: w width h height flags interl size s in_color_matrix out_color_matrix in_range out_range eval \
  force_original_aspect_ratio force_divisible_by
select: expr e outputs n
setdar: dar ratio r max
setfield: mode
setparams: field_mode range color_primaries color_trc colorspace
setpts: expr
setrange: range
setsar: sar ratio r max
settb: expr tb
split: outputs
tonemap: tonemap param desat peak
tpad: start stop start_mode stop_mode start_duration stop_duration color
transpose: dir passthrough
trim: start end duration start_pts end_pts start_frame end_frame
unsharp: luma_msize_x lx luma_msize_y ly luma_amount la chroma_msize_x cx chroma_msize_y cy chroma_amount ca
vflip:
w3fdif: filter mode parity deint
yadif: mode parity deint
zscale: w width h height size s range r primaries p transfer t matrix m rangein rin primariesin pin \
  transferin tin matrixin min dither d filter f npl agamma
"""

_HARDWARE = """
bwdif_cuda: mode parity deint
deinterlace_qsv: mode
deinterlace_vaapi: mode rate auto
hwdownload:
hwmap: mode derive_device reverse
hwupload: derive_device extra_hw_frames
hwupload_cuda: device
overlay_cuda: x y eof_action eval shortest repeatlast
overlay_qsv: x y w h alpha eof_action shortest repeatlast
overlay_vaapi: x y w h alpha eof_action shortest repeatlast
scale_cuda: w h interp_algo format passthrough param force_original_aspect_ratio force_divisible_by
scale_npp: w h format interp_algo force_original_aspect_ratio force_divisible_by eval
scale_qsv: w h format mode
scale_vaapi: w h format mode out_color_matrix out_range out_color_primaries out_color_transfer \
  force_original_aspect_ratio force_divisible_by
tonemap_vaapi: format matrix m primaries p transfer t
vpp_qsv: deinterlace denoise detail framerate procamp hue saturation contrast brightness transpose \
  cw ch cx cy w width h height format async_depth scale_mode rate tonemap
yadif_cuda: mode parity deint
"""

_AUDIO = """
acompressor: level_in mode threshold ratio attack release makeup knee link detection level_sc mix
adelay: delays all
aformat: sample_fmts f sample_rates r channel_layouts cl
afade: type t start_sample ss nb_samples ns start_time st duration d curve c
alimiter: level_in level_out limit attack release asc asc_level level
amerge: inputs
amix: inputs duration dropout_transition weights normalize
anull:
apad: packet_size pad_len whole_len pad_dur whole_dur
aresample: sample_rate osr ocl out_chlayout osf out_sample_fmt resampler async min_comp min_hard_comp \
  comp_duration max_soft_comp first_pts dither_method matrix_encoding
aselect: expr e outputs n
asetnsamples: nb_out_samples n pad p
asetpts: expr
asetrate: sample_rate r
asettb: expr tb
asplit: outputs
atempo: tempo
atrim: start end duration start_pts end_pts start_sample end_sample
bass: frequency f width_type t width w gain g
channelmap: map channel_layout
channelsplit: channel_layout channels
compand: attacks decays points soft-knee gain volume delay
concat: n v a unsafe
dynaudnorm: framelen f gausssize g peak p maxgain m targetrms r coupling n correctdc c altboundary b \
  compress s threshold t
equalizer: frequency f width_type t width w gain g
highpass: frequency f poles p width_type t width w
loudnorm: I i LRA lra TP tp measured_I measured_i measured_LRA measured_lra measured_TP measured_tp \
  measured_thresh offset linear dual_mono print_format
lowpass: frequency f poles p width_type t width w
pan:
speechnorm: peak p expansion e compression c threshold t raise r fall f
treble: frequency f width_type t width w gain g
volume: volume precision eval
"""

_GENERATORS = """
anoisesrc: sample_rate r amplitude a duration d color colour c seed s nb_samples n
anullsrc: channel_layout cl sample_rate r nb_samples n duration d
color: color c size s rate r duration d sar
nullsrc: size s rate r duration d sar
rgbtestsrc: size s rate r duration d sar
sine: frequency f beep_factor b sample_rate r duration d samples_per_frame
smptebars: size s rate r duration d sar
smptehdbars: size s rate r duration d sar
testsrc: size s rate r duration d sar decimals n
testsrc2: size s rate r duration d sar alpha
"""


def _table(text: str) -> dict[str, frozenset[str]]:
    rows = (line.partition(":") for line in text.strip().replace("\\\n", "").splitlines())
    return {name: frozenset([*options.split(), "enable"]) for name, _, options in rows}


GENERATORS = _table(_GENERATORS)
"""Sources for ``-f lavfi``: filter -> the options that may be named."""
FILTERS = _table(_VIDEO + _HARDWARE + _AUDIO) | GENERATORS

NAMED_ONLY = frozenset({"loudnorm"})
"""Filters that also have an option for a file to write: options by position would reach it."""

_LABELS = r"(?:\[[A-Za-z0-9_:]{1,32}\]\s*)*"
_FILTER = re.compile(
    rf"\s*{_LABELS}(?P<name>[a-z0-9_]+)(?:@[A-Za-z0-9_]{{1,32}})?"
    rf"(?:\s*=(?P<options>(?:[^\[\],;'\\]|'(?:[^'\\]|\\,)*'|\\,)*))?\s*{_LABELS}\s*(?P<end>[,;]|$)"
)
_QUOTED = re.compile(r"'([^']*)'|\\(,)")
_ESCAPED_COMMA = "\\,"
_KEY = re.compile(r"([A-Za-z0-9_/.-]*)\s*=(.*)")
_VALUE = re.compile(r"[A-Za-z0-9_.(#+-][A-Za-z0-9_.()+*/,<>|&?!%^@# -]*")
_PAN = re.compile(r"[A-Za-z0-9.()]+(?:\|[A-Za-z0-9]+[=<][A-Za-z0-9.+* -]+)+")


def refused(graph: str) -> str | None:
    """Why ``graph`` is not allowed, or ``None`` if it is."""
    position = 0
    while True:
        match = _FILTER.match(graph, position)
        if match is None:
            return "not a plain filter graph"
        name = match["name"]
        if name not in FILTERS:
            return f"filter {name[:32]!r} is not allowed"
        reason = _refused_options(name, match["options"])
        if reason is not None:
            return reason
        if not match["end"]:
            return None
        position = match.end()


def is_generator(graph: str) -> bool:
    """Whether ``graph`` begins with a source of its own; says nothing about whether it is allowed."""
    match = _FILTER.match(graph)
    return match is not None and match["name"] in GENERATORS


def _refused_options(name: str, options: str | None) -> str | None:
    if options is None:
        return None
    plain = _QUOTED.sub(r"\1\2", options).replace(_ESCAPED_COMMA, ",")
    if name == "pan":
        return None if _PAN.fullmatch(plain.strip()) else "the options of filter 'pan' are malformed"
    for option in map(str.strip, plain.split(":")):
        named = _KEY.fullmatch(option)
        value = named[2] if named else option
        if named and named[1] not in FILTERS[name]:
            return f"option {named[1][:32]!r} of filter {name!r} is not allowed"
        if not named and name in NAMED_ONLY:
            return f"filter {name!r} takes options by name only"
        if not _VALUE.fullmatch(value.strip()):
            return f"the options of filter {name!r} are malformed"
    return None
