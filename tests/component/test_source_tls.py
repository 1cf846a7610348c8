"""TLS towards a provider."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from m3u_proxy.errors import UpstreamError
from tests.support.answer import CHUNK
from tests.support.attempts import CLOSED_WITHIN, at, ending, opened
from tests.support.origin import Answer, Origin


async def test_a_plain_server_behind_https_is_a_tls_failure() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        error, _ = await ending(at(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert error.reason == "tls"


async def test_a_handshake_broken_off_is_a_tls_failure() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        error, _ = await ending(at(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert error.reason == "tls"


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        f"openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=localhost -days 2"
        f" -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@needs_openssl
async def test_an_untrusted_certificate(self_signed: ssl.SSLContext) -> None:
    async with Origin(tls=self_signed) as origin:
        error, _ = await ending(at(origin.url("/")))
        assert (error.reason, error.detail) == ("tls", "The provider's certificate is not trusted")
        assert origin.path("/").requests == []


@needs_openssl
async def test_tls_without_verification_is_read_and_closed_at_once(self_signed: ssl.SSLContext) -> None:
    async with Origin(tls=self_signed) as origin:
        origin.on("/", Answer(ts=True))
        source = at(origin.url("/"), tls_verify=False)
        async with opened(source):
            origin.step()
            assert await source.read() == origin.ts[:CHUNK]
        await origin.until(lambda: origin.path("/").live == 0, CLOSED_WITHIN)


@needs_openssl
async def test_a_tls_peer_that_never_says_goodbye_is_not_waited_for(self_signed: ssl.SSLContext) -> None:
    done = threading.Event()

    def answer_and_freeze(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with self_signed.wrap_socket(raw, server_side=True) as peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            done.wait(10.0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        frozen = asyncio.create_task(asyncio.to_thread(answer_and_freeze, listener))
        source = at(f"https://127.0.0.1:{listener.getsockname()[1]}/", tls_verify=False)
        try:
            await source.open()
            assert await source.read() == b"abc"
            with pytest.raises(UpstreamError, match="ended"):
                await source.read()
            async with asyncio.timeout(CLOSED_WITHIN):
                await source.aclose()
        finally:
            done.set()
            await frozen
