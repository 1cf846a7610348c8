"""The template language: placeholders first, then words, then values inside single words."""

from __future__ import annotations

import shlex
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from m3u_proxy.errors import BadTemplate, InvalidField
from m3u_proxy.ffmpeg.command.template import TEMPLATE_BYTES, check_format, check_variables, fill

URL = "http://p.example/live/u/p/1.ts?a=1&b='x y'"


def words(template: str, **values: str) -> list[str]:
    """The filled arguments as plain text."""
    return [one.text for one in fill(template, values)]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", []),
        ("  \t\n ", []),
        ("-i {input_url}", ["-i", URL]),
        ("-i '{input_url}'", ["-i", URL]),
        ('-i "{input_url}" -c copy', ["-i", URL, "-c", "copy"]),
        ("-crf {crf|23}", ["-crf", "23"]),
        ("-b:v {bitrate|2000k}", ["-b:v", "6000k"]),
        ("-x {unknown}", ["-x", "{unknown}"]),
        ("-x {unknown|}", ["-x"]),
        ("-x {empty|full}", ["-x"]),
        ("-x a{empty}b", ["-x", "ab"]),
        ("-x ''", ["-x", ""]),
        ("-vf scale={width|1280}:{height|720}", ["-vf", "scale=1280:720"]),
        ("-vf \"scale='min(1280,iw)':-2\"", ["-vf", "scale='min(1280,iw)':-2"]),
        ("-x {text|two words}", ["-x", "two words"]),
        ("-x {text|it's}", ["-x", "it's"]),
        ("-x {text|a|b}", ["-x", "a|b"]),
        ("-x {1a} {a-b} {} {{crf}}", ["-x", "{1a}", "{a-b}", "{}", "{{crf}}"]),
        (r"-x a\ b 'c\d' \{crf}", ["-x", "a b", r"c\d", "{crf}"]),
    ],
)
def test_arguments(template: str, expected: list[str]) -> None:
    assert words(template, input_url=URL, bitrate="6000k", empty="") == expected


def test_arguments_remember_whose_values_they_hold() -> None:
    found = fill("-vf scale={w|1}:{h|2} -an", {"w": "5"})
    assert [one.names for one in found] == [(), ("w", "h"), ()]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("-i {input_url} 'x", id="single-quote"),
        pytest.param('-i {input_url} "x', id="double-quote"),
        pytest.param("-i {input_url} x\\", id="backslash"),
        pytest.param("-i {input_url} " + "x" * TEMPLATE_BYTES, id="too-long"),
        pytest.param("-i {input_url} " + "é" * (TEMPLATE_BYTES // 2), id="too-many-bytes"),
        pytest.param("-i {input_url} \0", id="nul"),
        pytest.param("-i {input_url} \x1b[0m", id="escape"),
        pytest.param("-i {input_url} '\n'", id="newline-in-quotes"),
        pytest.param("-i {input_url} \ue000", id="private-use"),
        pytest.param("-i {input_url} \udc80", id="surrogate"),
        pytest.param("-i {input_url} " + "{long}" * 40, id="argument-too-long"),
    ],
)
def test_what_cannot_be_split_is_refused(template: str) -> None:
    with pytest.raises(BadTemplate):
        fill(template, {"input_url": URL, "long": "x" * 256})


def test_newlines_and_tabs_separate_like_blanks() -> None:
    assert words("-i {input_url}\r\n\t-c\ncopy", input_url="u") == ["-i", "u", "-c", "copy"]


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
plain_text = st.text(string.ascii_letters + string.punctuation.replace("{", "") + " ", max_size=80)


@given(any_text)
@example("1M -i file:///etc/passwd")
@example("' -y /x '")
@example('" -y "')
@example("\\")
@example("{crf|23}")
@example("$(touch s)")
def test_a_value_never_leaves_its_argument(value: str) -> None:
    try:
        found = words("-a {x} 'b {x}' -c{x} d", x=value)
    except BadTemplate:
        assert any(not char.isprintable() for char in value)
        return
    expected = ["-a", value, f"b {value}", f"-c{value}", "d"]
    assert found == [one for one in expected if one]


@given(plain_text)
def test_without_placeholders_the_text_is_split_like_a_shell_line(template: str) -> None:
    try:
        expected = shlex.split(template)
    except ValueError:
        with pytest.raises(BadTemplate):
            fill(template, {})
    else:
        assert words(template) == expected


@given(st.text(max_size=300), st.dictionaries(st.sampled_from("abc"), any_text))
def test_any_text_is_split_or_refused(template: str, values: dict[str, str]) -> None:
    try:
        found = fill("{a}" + template + "{b|x}", values)
    except BadTemplate:
        return
    assert all(isinstance(one.text, str) and (one.text or not one.names) for one in found)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"video_bitrate": "2M", "audio_bitrate": "128k", "bitrate": "6000", "maxrate": "5K", "bufsize": "9m"},
        {"crf": "23"},
        {"format": "mp4"},
        {"anything": "some text, even -i file:///etc/passwd"},
        {"input_url": "http://p.example/" + "x" * 2000},
    ],
)
def test_variables_that_are_allowed(variables: dict[str, str]) -> None:
    check_variables(variables)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("video_bitrate", "1M -i file:///etc/passwd"),
        ("video_bitrate", "2M\n"),
        ("video_bitrate", ""),
        ("video_bitrate", "٢M"),
        ("audio_bitrate", "-128k"),
        ("bitrate", "fast"),
        ("maxrate", "1M;touch s"),
        ("bufsize", "1MB"),
        ("crf", "23.5"),
        ("crf", "-1"),
        ("format", "tee"),
        ("format", "../x"),
        ("other", "x" * 257),
        ("other", "a\r\nb"),
        ("other", "a\0b"),
        ("input_url", "http://p.example/\n"),
    ],
)
def test_variables_are_typed(name: str, value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_variables({name: value})
    assert caught.value.field == f"profile_variables.{name}"


@pytest.mark.parametrize(
    "value", ["mp4 -y /x", "../x", "tee", "", "MPEGTS", "mpegts\n", "mpegts,hls", "null"]
)
def test_formats_are_an_enumeration(value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_format("output_format", value)
    assert caught.value.field == "output_format"
