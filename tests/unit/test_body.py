"""Bodies that anybody may have sent, and what is said of the bad ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.web.body import DEPTH, BadBody, read_model
from m3u_proxy.web.schemas.streams import StreamRequest, TranscodeRequest

URL = "http://provider.example/live/u/p/101.ts"


def request(raw: bytes, **headers: str) -> web.Request:
    sent = make_mocked_request(
        "POST", "/streams", headers={n.replace("_", "-"): v for n, v in headers.items()}
    )
    sent._read_bytes = raw
    return sent


async def read(body: object, **headers: str) -> StreamRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await read_model(request(raw, **headers), StreamRequest)


async def read_transcode(**fields: object) -> TranscodeRequest:
    return await read_model(request(json.dumps({"url": URL, **fields}).encode()), TranscodeRequest)


async def refusal(body: object) -> list[dict[str, Any]]:
    with pytest.raises(BadBody) as caught:
        await read(body)
    assert json.dumps(caught.value.errors)  # it becomes the answer
    return caught.value.errors


async def test_a_body_with_nothing_but_a_url_has_the_defaults() -> None:
    body = await read({"url": URL})
    assert body.url == URL
    assert body.metadata is None
    assert (body.failover_urls, body.headers, body.permanent) == ([], {}, False)


@pytest.mark.parametrize(
    "field",
    [
        "failover_urls",
        "failover_resolver_url",
        "user_agent",
        "metadata",
        "headers",
        "permanent",
        "profile",
        "profile_variables",
        "output_format",
        "resolver",
    ],
)
async def test_null_means_the_default(field: str) -> None:
    assert await read_transcode(**{field: None}) == await read_transcode()


async def test_an_empty_list_is_an_empty_object() -> None:
    body = await read_transcode(metadata=[], headers=[], profile_variables=[])
    assert (body.metadata, body.headers, body.profile_variables) == ({}, {}, {})


async def test_an_empty_list_is_an_empty_body() -> None:
    [row] = await refusal([])
    assert (row["type"], row["loc"]) == ("missing", ["body", "url"])


async def test_what_is_not_known_is_ignored() -> None:
    assert await read({"url": URL, "no_such_field": {"a": [1]}, "x": None}) == await read({"url": URL})


async def test_metadata_are_text_the_way_python_prints_them() -> None:
    body = await read({"url": URL, "metadata": {"a": 7, "b": 1.0, "c": True, "d": "x", "e": False}})
    assert body.metadata == {"a": "7", "b": "1.0", "c": "True", "d": "x", "e": "False"}


@pytest.mark.parametrize("value", [None, [], ["a"], {}, {"a": 1}])
async def test_other_metadata_are_refused_by_name(value: object) -> None:
    [row] = await refusal({"url": URL, "metadata": {"good": 1, "k": value}})
    assert row["msg"].endswith("metadata value for 'k' must be string, int, float, or bool")
    assert row["loc"] == ["body", "metadata"]


async def test_metadata_are_bounded() -> None:
    assert (await read({"url": URL, "metadata": {str(n): "x" * 1024 for n in range(64)}})).metadata
    await refusal({"url": URL, "metadata": {str(n): "x" for n in range(65)}})
    await refusal({"url": URL, "metadata": {"a": "x" * 1025}})


async def test_numbers_in_headers_become_text_and_null_is_dropped() -> None:
    body = await read({"url": URL, "headers": {"X-A": 1, "X-B": None, "X-C": "c"}})
    assert body.headers == {"X-A": "1", "X-C": "c"}


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f", "日本", ["a"], {"a": 1}, True, "x" * 4097]
)
async def test_what_is_no_header_value_is_refused(value: object) -> None:
    [row] = await refusal({"url": URL, "headers": {"X-A": value}})
    assert row["loc"] == ["body", "headers"]


async def test_headers_are_counted() -> None:
    await read({"url": URL, "headers": {f"X-{n}": "a" for n in range(32)}})
    await refusal({"url": URL, "headers": {f"X-{n}": "a" for n in range(33)}})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "日本", 5])
async def test_a_user_agent_is_a_header_value_too(value: object) -> None:
    [row] = await refusal({"url": URL, "user_agent": value})
    assert row["loc"] == ["body", "user_agent"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"url": NaN}',
        b'{"url": Infinity}',
        b'{"url": -Infinity}',
        b'{"url": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: str(body[:12]),
)
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    [row] = await refusal(body)
    assert (row["type"], row["loc"]) == ("json_invalid", ["body"])


async def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        inner = b"[" * (levels - 1) + b"]" * (levels - 1)
        return b'{"url": "%s", "x": %s}' % (URL.encode(), inner)

    await read(nested(DEPTH))
    [row] = await refusal(nested(DEPTH + 1))
    assert row["type"] == "json_invalid"


@pytest.mark.parametrize("body", [b"null", b"1", b'"x"', b"true", b"[1]", b"[[]]"])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    [row] = await refusal(body)
    assert row["loc"] == ["body"]


@pytest.mark.parametrize("field", ["url", "failover_resolver_url", "output_format", "profile"])
async def test_half_a_character_is_refused(field: str) -> None:
    with pytest.raises(BadBody):
        await read_transcode(**{field: "http://h/\ud800"})


@pytest.mark.parametrize("field", ["metadata", "profile_variables"])
@pytest.mark.parametrize("value", [{"\ud800": "x"}, {"x": "\udfff"}])
async def test_half_a_character_in_a_name_or_value_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadBody) as caught:
        await read_transcode(**{field: value})
    assert json.dumps(caught.value.errors)


async def test_failovers_and_templates_are_bounded() -> None:
    await read({"url": URL, "failover_urls": [URL] * 64})
    await refusal({"url": URL, "failover_urls": [URL] * 65})
    await read_transcode(profile="x" * 4096)
    with pytest.raises(BadBody):
        await read_transcode(profile="x" * 4097)


async def test_only_known_resolvers_are_taken() -> None:
    assert (await read_transcode(resolver="ytdlp")).resolver == "ytdlp"
    with pytest.raises(BadBody):
        await read_transcode(resolver="curl")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; x",
    ],
)
async def test_what_a_form_on_another_page_can_send_is_no_json(kind: str) -> None:
    with pytest.raises(web.HTTPUnsupportedMediaType):
        await read({"url": URL}, Content_Type=kind)


async def test_an_encoded_body_is_not_unpacked() -> None:
    with pytest.raises(web.HTTPUnsupportedMediaType):
        await read({"url": URL}, Content_Encoding="gzip")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", "application/x-json"]
)
async def test_other_types_are_read(kind: str) -> None:
    assert (await read({"url": URL}, Content_Type=kind)).url == URL


# --- what is said of a bad body


async def test_every_fault_is_told_with_its_place() -> None:
    rows = await refusal({"url": 5, "failover_urls": [URL, 7]})
    assert [row["loc"] for row in rows] == [["body", "url"], ["body", "failover_urls", 1]]
    assert rows[0]["input"] == "5"


HIDDEN = "hush-hush"


@pytest.mark.parametrize(
    "body",
    [
        {"headers": {"X-Own": HIDDEN}},
        [{"headers": {"X-Own": HIDDEN}}],
        {"url": URL, "headers": {"X-Own": [HIDDEN]}},
        {"url": URL, "headers": HIDDEN},
        {"url": URL, "cookies": HIDDEN, "failover_urls": 1},
        {"url": {"cookies": HIDDEN}},
        {"url": [HIDDEN]},
        {"url": URL, "failover_urls": {"a": HIDDEN}},
        {"url": URL, "failover_urls": f"http://u:{HIDDEN}@provider.example/"},
        {"url": URL, "failover_urls": "http://" + "u" * 190 + f":{HIDDEN}@provider.example/"},
        {"url": URL, "failover_urls": f"http://provider.example/?password={HIDDEN}"},
        {"url": URL, "permanent": f"http://provider.example/live/{HIDDEN}/{HIDDEN}/1.ts"},
    ],
)
async def test_no_secret_is_repeated(body: object) -> None:
    assert HIDDEN[:5] not in json.dumps(await refusal(body))


async def test_what_is_repeated_is_short() -> None:
    [row] = await refusal({"url": URL, "permanent": "x" * 10_000})
    assert len(row["input"]) <= 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(TranscodeRequest.model_fields, JSON)))
async def test_any_json_is_a_body_or_told_in_json(body: dict[str, object]) -> None:
    try:
        found = await read_model(request(json.dumps(body).encode()), TranscodeRequest)
    except BadBody as error:
        refused = error.errors
    else:
        # what was taken can be written into a digest, a log line and an answer
        refused = [{"none": found.model_dump_json()}]
        found.url.encode()
        "".join([*(found.metadata or {}), *found.profile_variables]).encode()
    assert refused
    assert json.dumps(refused)
