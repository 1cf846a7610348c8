"""What the subcommands do. Each answers the exit code and writes to the streams it is handed."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, TextIO

from m3u_proxy.client.api import Api, ClientError, segment
from m3u_proxy.client.streams import find, listing, name_of
from m3u_proxy.client.survey import check_lineup
from m3u_proxy.client.text import clean, period, rate

DONE, FAILED = 0, 1
LINEUP = "lineup"
"""Instead of a URL: every channel that the daemon has."""


def add(api: Api, given: Namespace, out: TextIO) -> int:
    """``add URL``: a stream that stays until it is removed."""
    body: dict[str, object] = {"url": given.address, "permanent": True, "failover_urls": given.failover}
    if given.name:
        body["metadata"] = {"title": given.name}
    if given.user_agent:
        body["user_agent"] = given.user_agent
    if given.header:
        body["headers"] = dict(_header(line) for line in given.header)
    if given.profile:
        body |= {"profile": given.profile, "output_format": given.format}
    made = api.post("/transcode" if given.profile else "/streams", body)
    if given.json:
        return _dump(made, out)
    out.write(f"Added {made['stream_id']}\n  play  {api.url}{made['stream_endpoint']}\n")
    return DONE


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise ClientError(f"--header {line!r} is not like 'Name: value'")
    return name.strip(), value.strip()


def ls(api: Api, given: Namespace, out: TextIO) -> int:
    """``ls``: every stream that is listed."""
    streams = api.get("/streams")["streams"]
    if given.json:
        return _dump(streams, out)
    out.write(listing(streams))
    return DONE


def rm(api: Api, given: Namespace, out: TextIO) -> int:
    """``rm STREAM…``: its viewers are cut, its source is closed."""
    removed = []
    for wanted in given.stream:
        stream = find(api, wanted)
        api.delete(f"/streams/{segment(stream['stream_id'])}")
        removed.append(stream["stream_id"])
        if not given.json:
            out.write(f"Removed {stream['stream_id']}  {clean(name_of(stream))}\n")
    return _dump({"removed": removed}, out) if given.json else DONE


def failover(api: Api, given: Namespace, out: TextIO) -> int:
    """``failover STREAM``: take its next source now; viewers stay."""
    stream = find(api, given.stream)
    answer = api.post(f"/streams/{segment(stream['stream_id'])}/failover")
    if given.json:
        return _dump(answer, out)
    viewers = answer["active_clients"]
    kept = "1 viewer stays" if viewers == 1 else f"{viewers} viewers stay"
    out.write(f"{clean(name_of(stream))}: source {answer['failover_index'] + 1} now; {kept}\n")
    return DONE


def check(api: Api, given: Namespace, out: TextIO) -> int:
    """``check URL``: can it be played, and what would the pool do; 1 if it cannot. ``check lineup``: all."""
    if given.address == LINEUP:
        return check_lineup(api, given, out)
    body: dict[str, object] = {"url": given.address, "user_agent": given.user_agent}
    body["headers"] = dict(_header(line) for line in given.header)
    found = api.post("/check", body)
    code = DONE if found["playable"] else FAILED
    if given.json:
        _dump(found, out)
        return code
    out.write("".join(f"{label:<12}{text}\n" for label, text in _findings(found) if text))
    return code


def _findings(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a check has found, line by line; a line without text is left out."""
    pool = found["pool"]
    limit = pool["connections_allowed"]
    wait = found["first_byte_ms"]
    first = "open already" if found["was_running"] else "" if wait is None else f"after {wait} ms"
    return [
        ("playable", "yes" if found["playable"] else f"no: {clean(found['detail'])} ({found['reason']})"),
        ("kind", found["kind"]),
        *((track["kind"], _track(track)) for track in found["tracks"]),
        ("bit rate", rate(found["bitrate"]) if found["bitrate"] else ""),
        ("length", period(found["duration"]) if found["duration"] else ""),
        ("first byte", first),
        ("the pool", pool["sharing"] if found["playable"] else ""),
        ("account", f"{pool['account']}: {pool['connections_in_use']} of {limit} in use" if limit else ""),
    ]


def _track(track: Mapping[str, Any]) -> str:
    parts = [clean(track["codec"])]
    if track["width"]:
        parts.append(f"{track['width']}x{track['height']}")
    if track["frame_rate"] and track["kind"] == "video":
        parts.append(f"{track['frame_rate']:g} frames/s")
    if track["channels"]:
        parts.append(f"{track['channels']} channels, {track['sample_rate']} Hz")
    if track["language"]:
        parts.append(clean(track["language"]))
    return ", ".join(parts)


def health(api: Api, given: Namespace, out: TextIO) -> int:
    """``health``: 0 while the daemon serves, for the health check of a container."""
    found = api.get("/health")
    if given.json:
        _dump(found, out)
    else:
        out.write(f"{found['status']}\n")
    return DONE if found["status"] in ("healthy", "degraded") else FAILED


def _dump(value: object, out: TextIO) -> int:
    json.dump(value, out, indent=2, ensure_ascii=False)
    out.write("\n")
    return DONE
