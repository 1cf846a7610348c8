"""Answers read as the editor reads them: a key it takes without a fallback must be there, of its type.

Every reader takes the JSON of an answer, raises `Unreadable` with everything that is wrong, and returns what
the editor keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
Check = Callable[[Any], bool]


class Unreadable(AssertionError):
    """What the editor's page would break on."""


def _of(kind: type) -> Check:
    return lambda value: type(value) is kind  # a boolean is no number, nor a number text


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _moment(value: Any) -> bool:
    """ISO 8601 with its offset, which is UTC."""
    try:
        return datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


def _texts(value: Any) -> bool:
    return type(value) is dict and all(type(one) is str for pair in value.items() for one in pair)


def _one_of(*words: str) -> Check:
    return lambda value: type(value) is str and value in words


_text, _flag, _list = _of(str), _of(bool), _of(list)
KINDS = ("Live Continuous", "VOD", "HLS", "Transcoding")
STREAM: Mapping[str, Check] = {
    "stream_id": _text,
    "original_url": _text,
    "current_url": _text,
    "client_count": _count,
    "total_bytes_served": _count,
    "total_segments_served": _count,
    "error_count": _count,
    "is_active": _flag,
    "has_failover": _flag,
    "stream_type": _one_of(*KINDS),
    "created_at": _moment,
    "metadata": _texts,
}
CLIENT: Mapping[str, Check] = {
    "stream_id": _text,
    "ip_address": _text,
    "created_at": _moment,
    "last_access": _moment,
    "bytes_served": _count,
}
MATCH: Mapping[str, Check] = {"stream_id": _text, "client_count": _count, "metadata": _texts}
DELETED: Mapping[str, Check] = {"deleted_count": _count}
ACCELERATION: Mapping[str, Check] = {"enabled": _flag}
ACCELERATED: Mapping[str, Check] = {"type": _text, "device": _text}
POOLING: Mapping[str, Check] = {"pooling_enabled": _flag}
POOLED: Mapping[str, Check] = {"max_clients_per_stream": _count, "sharing_strategy": _text}


def _wrong(row: Any, wanted: Mapping[str, Check], where: str) -> list[str]:
    if type(row) is not dict:
        return [f"{where} is no object: {row!r}"]
    missing = [f"{where}.{name} is missing" for name in wanted if name not in row]
    bad = [
        f"{where}.{name} = {row[name]!r}"
        for name, fits in wanted.items()
        if name in row and not fits(row[name])
    ]
    return missing + bad


def _read(row: Any, wanted: Mapping[str, Check], where: str) -> Row:
    if wrong := _wrong(row, wanted, where):
        raise Unreadable("; ".join(wrong))
    kept: Row = row
    return kept


def _rows(answer: Any, name: str, wanted: Mapping[str, Check]) -> list[Row]:
    rows = _read(answer, {name: _list}, "answer")[name]
    return [_read(row, wanted, f"{name}[{number}]") for number, row in enumerate(rows)]


def created(answer: Any) -> str:
    """``POST /streams``, ``/transcode``: the id, of which a URL is made that passes every nginx."""
    stream_id: str = _read(answer, {"stream_id": _text}, "answer")["stream_id"]
    if len(stream_id) != 32 or set(stream_id) - set("0123456789abcdef"):
        raise Unreadable(f"no id that an nginx passes on: {stream_id!r}")
    return stream_id


def streams(answer: Any) -> list[Row]:
    """``GET /streams``: rows of the monitor page."""
    _read(answer, {"total": _count}, "answer")
    return _rows(answer, "streams", STREAM)


def clients(answer: Any) -> list[Row]:
    """``GET /clients``."""
    _read(answer, {"total_clients": _count}, "answer")
    return _rows(answer, "clients", CLIENT)


def matching(answer: Any) -> list[Row]:
    """``GET /streams/by-metadata``: what the pool look-up goes through."""
    _read(answer, {"total_matching": _count, "total_clients": _count}, "answer")
    return _rows(answer, "matching_streams", MATCH)


def counts(answer: Any, *values: str) -> dict[str, int]:
    """``GET /streams/counts-by-metadata``: a number for each value that was asked for."""
    found = _read(answer, {"counts": _of(dict)}, "answer")["counts"]
    return dict(_read(found, dict.fromkeys(values, _count), "counts"))


def deleted(answer: Any) -> int:
    """``DELETE /streams/by-metadata`` and ``oldest-by-metadata``: how many."""
    number: int = _read(answer, DELETED, "answer")["deleted_count"]
    return number


def info(answer: Any) -> Row:
    """``GET /info``: more keys are read where something is on."""
    parts = {"version": _text, "hardware_acceleration": _of(dict), "redis": _of(dict)}
    read = _read(answer, parts, "info")
    hardware = _read(read["hardware_acceleration"], ACCELERATION, "hardware_acceleration")
    if hardware["enabled"]:
        _read(hardware, ACCELERATED, "hardware_acceleration")
    redis = _read(read["redis"], POOLING, "redis")
    if redis["pooling_enabled"]:
        _read(redis, POOLED, "redis")
    return read


def age(row: Row) -> float:
    """Seconds since a row's ``created_at``, as the monitor shows them."""
    return (datetime.now(UTC) - datetime.fromisoformat(row["created_at"])).total_seconds()


def reusable(rows: list[Row], *, channel: object, playlist: object, profile: object = None) -> str | None:
    """The stream that the pool look-up takes: the first that fits, by text, and strictly ``"true"``."""
    for row in rows:
        said = row["metadata"]
        is_transcoded = said.get("transcoding") == "true"
        fits = (said.get("original_channel_id"), said.get("original_playlist_uuid")) == (
            str(channel),
            str(playlist),
        )
        wanted = profile is not None
        if fits and is_transcoded == wanted and (not wanted or said.get("profile_id") == str(profile)):
            return str(row["stream_id"])
    return None
