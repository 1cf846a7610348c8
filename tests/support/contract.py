"""Every route of the contract, by hand: who may call it."""

from __future__ import annotations

PROTECTED = {
    ("GET", "/metrics"),
    ("POST", "/streams"),
    ("GET", "/streams"),
    ("GET", "/streams/by-metadata"),
    ("DELETE", "/streams/by-metadata"),
    ("GET", "/streams/counts-by-metadata"),
    ("DELETE", "/streams/oldest-by-metadata"),
    ("GET", "/streams/{id}"),
    ("DELETE", "/streams/{id}"),
    ("POST", "/streams/{id}/failover"),
    ("GET", "/streams/{id}/timeline"),
    ("GET", "/clients"),
    ("GET", "/info"),
    ("POST", "/test-connection"),
    ("GET", "/validate-cookies-file"),
    ("GET", "/stats"),
    ("GET", "/stats/clients"),
    ("GET", "/stats/streams"),
    ("GET", "/stats/detailed"),
    ("GET", "/stats/performance"),
    ("DELETE", "/hls/{id}/clients/{client}"),
    ("POST", "/transcode"),
    ("POST", "/check"),
    ("GET", "/transcode/profiles"),
    ("POST", "/webhooks"),
    ("GET", "/webhooks"),
    ("DELETE", "/webhooks"),
    ("POST", "/webhooks/test"),
    ("GET", "/api/v1/channels"),
    ("POST", "/api/v1/channels"),
    ("POST", "/api/v1/channels/import"),
    ("GET", "/api/v1/channels/{key}"),
    ("PUT", "/api/v1/channels/{key}"),
    ("DELETE", "/api/v1/channels/{key}"),
    ("GET", "/api/v1/channels/start-stream/{key}"),
    ("POST", "/api/v1/channels/start-stream/{key}"),
    ("GET", "/api/v1/channels/stop-stream/{key}"),
    ("POST", "/api/v1/channels/stop-stream/{key}"),
    ("GET", "/api/v1/channels/stream-status/{key}"),
    ("GET", "/api/v1/channels/streams-status"),
    ("POST", "/api/v1/channels/check"),
    ("GET", "/api/v1/channels/check/{job}"),
    ("DELETE", "/api/v1/channels/check/{job}"),
}
PUBLIC = {
    ("GET", "/"),  # a browser is sent to the page, all others need the token
    ("GET", "/health"),  # the short form
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/openapi.json"),
    ("GET", "/ui"),  # its data needs the token
    ("GET", "/static/{name}"),  # a fixed table of files
    ("GET", "/favicon.ico"),
    ("GET", "/stream/{id}"),
    ("GET", "/hls/{id}/playlist.m3u8"),
    ("GET", "/hls/{id}/segment.ts"),
    ("GET", "/hls/{id}/segment.m4s"),
    ("GET", "/hls/{id}/segment.mp4"),
    ("GET", "/hls/{id}/segment"),
    ("GET", "/playlist.m3u"),
    ("GET", "/api/v1/channels/static-hls-m3u"),
    ("GET", "/xmltv"),
    ("GET", "/hls_streams/{key}/master.m3u8"),
    ("GET", "/hls_streams/{key}/{segment}"),
}
PREFIX = "/m3u-proxy"


def both_forms(routes: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """With HEAD, and with and without the root path."""
    heads = {("HEAD", path) for method, path in routes if method == "GET"}
    return {(method, prefix + path) for prefix in ("", PREFIX) for method, path in routes | heads}
