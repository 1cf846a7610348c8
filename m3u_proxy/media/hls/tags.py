"""Tags with an attribute list, and what becomes of each (RFC 8216 §4.3, 8216bis §4.4). Pure.

An attribute list is written as it was read, but for the URI, offsets that were implied, and what a player
behind this proxy must not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from m3u_proxy.media.hls.attributes import byte_range, parse_list, unquoted, write_byte_range, write_list
from m3u_proxy.media.hls.draft import Draft
from m3u_proxy.media.hls.guard import is_clean
from m3u_proxy.media.hls.model import ALL_KEYS, MAPS, Role, SlotKind

Handler = Callable[[Draft, str, str, str], None]
"""Takes the draft, the tag's name with its ``#``, its value, and the line's end."""

_FOREIGN_KEYS: Final = ("data:", "skd:", "urn:")
_MAX_BANDWIDTH_DIGITS: Final = 18


def repair_bandwidth(attributes: dict[str, str]) -> None:
    """Players refuse a variant without a decimal BANDWIDTH (§4.3.4.2), which says nothing about its media."""
    value = attributes.get("BANDWIDTH", "")
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_BANDWIDTH_DIGITS):
        attributes["BANDWIDTH"] = "1"


def _with_any_uri(draft: Draft, value: str) -> dict[str, str]:
    """The attributes of a tag that needs a URI; an empty one, which is refused later, where it has none."""
    attributes = draft.attributes(value)
    attributes.setdefault("URI", "")
    return attributes


def _with_uri(role: Role, kind: SlotKind, draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    if kind is SlotKind.I_FRAMES:
        repair_bandwidth(attributes)
    draft.reference(kind, role, tag, attributes, end)


def _media(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = draft.attributes(value)
    if "URI" in attributes:
        draft.reference(SlotKind.RENDITION, Role.PLAYLIST, tag, attributes, end)
    elif draft.reveals(attributes):
        draft.refuse()
    else:  # the variants' own segments hold it
        line = f"{tag}:{write_list(attributes)}{end}"
        draft.slot(SlotKind.RENDITION, line, attributes=attributes)


def _session_data(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = draft.attributes(value)
    if "URI" in attributes:
        draft.reference(SlotKind.OTHER, Role.DATA, tag, attributes, end)
    elif draft.reveals(attributes):
        draft.refuse()
    else:
        draft.text.append(f"{tag}:{write_list(attributes)}{end}")


def _key(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    if attributes.get("METHOD") == "NONE":
        draft.slot(SlotKind.KEY, f"{tag}:METHOD=NONE{end}", scope=ALL_KEYS)
        return
    draft.has_keys = True
    scope = f"KEYFORMAT={unquoted(attributes.get('KEYFORMAT', 'identity'))}"
    _with_key(draft, SlotKind.KEY, tag, attributes, end, scope)


def _session_key(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    if attributes.get("METHOD") == "NONE":
        draft.refuse()  # §4.3.4.5 forbids it
        return
    draft.has_keys = True
    _with_key(draft, SlotKind.OTHER, tag, attributes, end)


def _with_key(
    draft: Draft, kind: SlotKind, tag: str, attributes: Mapping[str, str], end: str, scope: str = ""
) -> None:
    uri = unquoted(attributes["URI"])
    if "METHOD" not in attributes:
        draft.refuse(scope)
    elif not uri.lower().startswith(_FOREIGN_KEYS):
        draft.reference(kind, Role.KEY, tag, attributes, end, scope=scope)
    elif not is_clean(uri) or draft.guard.names_in(uri) or draft.reveals(attributes):
        draft.refuse(scope)
    else:  # no URL leads to it: it stands in the URI, or the player's key system finds it
        draft.slot(kind, f"{tag}:{write_list(attributes)}{end}", scope=scope)


def _map(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    draft.has_map = True
    span = None
    if "BYTERANGE" in attributes:
        span = byte_range(unquoted(attributes["BYTERANGE"]))
        _set_range(attributes, span)
    draft.reference(SlotKind.MAP, Role.MAP, tag, attributes, end, span=span, scope=MAPS)


def _part(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    span = None
    if "BYTERANGE" in attributes:
        span = draft.span(Role.PART, unquoted(attributes["URI"]), unquoted(attributes["BYTERANGE"]))
        _set_range(attributes, span)
    draft.reference(SlotKind.PART, Role.PART, tag, attributes, end, span=span)


def _set_range(attributes: dict[str, str], span: tuple[int, int] | None) -> None:
    """Name the offset; a range that is none makes the URI useless."""
    if span is None:
        attributes["URI"] = ""
    else:
        attributes["BYTERANGE"] = f'"{write_byte_range(span)}"'


def _preload_hint(draft: Draft, tag: str, value: str, end: str) -> None:
    attributes = _with_any_uri(draft, value)
    role = {"PART": Role.PART, "MAP": Role.MAP}.get(attributes.get("TYPE", ""))
    length = attributes.get("BYTERANGE-LENGTH")
    span = byte_range(f"{length or 1}@{attributes.get('BYTERANGE-START', '0')}")
    if role is None or span is None:
        draft.refuse()
        return
    kind = SlotKind.PART if role is Role.PART else SlotKind.OTHER
    draft.reference(kind, role, tag, attributes, end, span=span if length else None)


def _define(draft: Draft, _tag: str, value: str, _end: str) -> None:
    draft.variables.define(parse_list(value))


def _refused(draft: Draft, _tag: str, _value: str, _end: str) -> None:
    draft.refuse()


def _server_control(draft: Draft, tag: str, value: str, end: str) -> None:
    """Players that may block a reload hold a request open until new media is there (8216bis §6.2.5.2)."""
    attributes = draft.attributes(value)
    attributes.pop("CAN-BLOCK-RELOAD", None)
    if attributes:
        draft.free_line(f"{tag}:{write_list(attributes)}", end)


HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "#EXT-X-KEY": _key,
        "#EXT-X-SESSION-KEY": _session_key,
        "#EXT-X-MAP": _map,
        "#EXT-X-MEDIA": _media,
        "#EXT-X-I-FRAME-STREAM-INF": partial(_with_uri, Role.PLAYLIST, SlotKind.I_FRAMES),
        "#EXT-X-PART": _part,
        "#EXT-X-PRELOAD-HINT": _preload_hint,
        "#EXT-X-RENDITION-REPORT": partial(_with_uri, Role.PLAYLIST, SlotKind.OTHER),
        "#EXT-X-SESSION-DATA": _session_data,
        "#EXT-X-DEFINE": _define,
        "#EXT-X-CONTENT-STEERING": _refused,  # its server would send players to other hosts
        "#EXT-X-SERVER-CONTROL": _server_control,
    }
)
