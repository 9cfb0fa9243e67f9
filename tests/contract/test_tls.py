"""Redis behind ops/redis/tls.conf: both sides show a certificate, and nothing else gets in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.errors import BusUnavailable, Misconfigured
from queuechat.protocol import Chunk, End
from tests.conftest import free_port
from tests.servers import OPS, Server, a_life, opened, our_settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")


def make(folder: Path, name: str, *more: str) -> None:
    """A key and a certificate, signed by `-CA` in `more` or by itself."""
    made = ("-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", "-days", "2", "-nodes")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    subprocess.run(["openssl", "req", "-x509", *key, *made, *more], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, Redis' and a client's certificate, and one of Redis for another host."""
    folder = tmp_path_factory.mktemp("certificates")
    make(folder, "ca")
    make(folder, "other-ca")
    signed, leaf = ("-CA", "ca.crt", "-CAkey", "ca.key"), ("-addext", "basicConstraints=critical,CA:false")
    make(folder, "redis", *signed, *leaf, "-addext", "subjectAltName=IP:127.0.0.1")
    make(folder, "elsewhere", *signed, *leaf, "-addext", "subjectAltName=DNS:elsewhere.example")
    make(folder, "client", *signed, *leaf)
    return folder


def serve(folder: Path, certificates: Path, name: str) -> Server:
    port = free_port()
    tls = ("--include", str(OPS / "tls.conf"), "--tls-port", str(port))
    files = ("--tls-cert-file", f"{certificates}/{name}.crt", "--tls-key-file", f"{certificates}/{name}.key")
    try:
        server = Server(folder, our_settings(folder), *tls, *files, "--tls-ca-cert-file", f"{certificates}/ca.crt")
    except RuntimeError as error:
        if "TLS" in str(error) or "tls-" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise
    server.port = port
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Server]:
    started = serve(tmp_path_factory.mktemp("tls"), certificates, "redis")
    yield started
    started.kill()


def at(server: Server, folder: Path, authority: str = "ca") -> str:
    files = f"ssl_ca_certs={folder}/{authority}.crt&ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/client.key"
    return f"rediss://127.0.0.1:{server.port}/0?{files}"


async def test_a_job_goes_from_the_queue_to_its_end_through_tls(server: Server, certificates: Path, model: str) -> None:
    url = at(server, certificates)
    async with opened(url) as front, opened(url) as back:
        assert [type(event) for event in await a_life(front, back, model)] == [Chunk, Chunk, End]


async def test_who_shows_no_certificate_does_not_get_in(server: Server, certificates: Path) -> None:
    with pytest.raises(BusUnavailable):
        async with opened(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={certificates}/ca.crt", patience_s=0):
            pass


async def test_who_speaks_no_tls_does_not_get_in(server: Server) -> None:
    with pytest.raises(BusUnavailable):
        async with opened(f"redis://127.0.0.1:{server.port}", patience_s=0):
            pass


async def test_a_server_of_another_authority_is_not_trusted(server: Server, certificates: Path) -> None:
    with pytest.raises(Misconfigured, match="ssl_ca_certs"):
        async with opened(at(server, certificates, "other-ca"), patience_s=0):
            pass


async def test_a_certificate_of_another_host_is_not_trusted_unless_one_says_so(
    tmp_path: Path, certificates: Path
) -> None:
    elsewhere = serve(tmp_path, certificates, "elsewhere")
    try:
        with pytest.raises(Misconfigured, match="not trusted"):
            async with opened(at(elsewhere, certificates), patience_s=0):
                pass
        async with opened(f"{at(elsewhere, certificates)}&ssl_check_hostname=false"):
            pass
    finally:
        elsewhere.kill()


def test_a_certificate_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"'/nowhere/ca\.crt' as ssl_ca_certs"):
        Bus("rediss://127.0.0.1/0?ssl_ca_certs=/nowhere/ca.crt")
