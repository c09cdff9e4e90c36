import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest

from faceveil import cache, weights
from faceveil.errors import SettingError, WeightsError
from faceveil.recognizers import card

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, from where the Range header says; /cut breaks off after 1000 bytes, /slow waits first."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.starts.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        if self.path == "/slow":
            time.sleep(0.2)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + 1000] if self.path == "/cut" else CONTENT[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.starts = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEVEIL_MIRROR", str(tmp_path / "mirror"))


def file(server: ThreadingHTTPServer, path: str = "/whole", sha256: str = SHA256) -> weights.File:
    return weights.File("some.pt", sha256, url=f"http://127.0.0.1:{server.server_port}{path}")


def test_downloads_tell_how_far_they_are_and_are_found_afterwards(server):
    seen: list[tuple[int, int]] = []
    path = weights.download(file(server), lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert weights.locate(file(server)) == path


def test_a_download_that_broke_off_goes_on_where_it_stopped(server):
    with pytest.raises(WeightsError, match="run the same again to go on"):
        weights.download(file(server, "/cut"))
    assert weights.locate(file(server)) is None
    assert weights.download(file(server)).read_bytes() == CONTENT
    assert server.starts == [0, 1000]


def test_where_nobody_is_trusted_another_try_is_not_the_advice(server, monkeypatch):
    def refuse(*_, **__):
        raise URLError(ssl.SSLCertVerificationError("unable to get local issuer certificate"))

    monkeypatch.setattr(weights, "urlopen", refuse)
    with pytest.raises(WeightsError, match=r"local issuer certificate.*; SSL_CERT_FILE names the authorities to trust"):
        weights.download(file(server))


def test_a_download_that_only_lacked_its_name_is_not_fetched_again(server):
    path = weights.download(file(server))
    path.rename(path.with_suffix(".part"))
    assert weights.download(file(server)).read_bytes() == CONTENT
    assert server.starts == [0]


@pytest.mark.parametrize(
    "damaged", [bytes(1000), bytes(len(CONTENT)), bytes(len(CONTENT) + 1)], ids=["short", "full", "long"]
)
def test_a_part_of_another_file_is_fetched_anew(server, damaged):
    part = weights.download(file(server)).with_suffix(".part")
    part.with_suffix("").rename(part)
    part.write_bytes(damaged)
    assert weights.download(file(server)).read_bytes() == CONTENT
    assert server.starts == [0, len(damaged), 0]
    assert not part.exists()


def test_two_downloads_fetch_once(server):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(weights.download, [file(server, "/slow")] * 2)
    assert first == second
    assert first.read_bytes() == CONTENT
    assert server.starts == [0]


def test_a_cache_that_cannot_be_written_says_so(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be written .* FACEVEIL_CACHE"):
        weights.download(file(server))


def test_another_file_than_the_cards_is_refused_and_forgotten(server):
    other = file(server, sha256="0" * 64)
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256[:12]}..., not 000000000000"):
        weights.download(other)
    assert not list(weights.folder().rglob("*.part"))


def test_the_mirror_counts_by_name_and_hash(server, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "some.pt").write_bytes(b"other weights")
    assert weights.locate(file(server)) is None
    (mirror / "some.pt").write_bytes(CONTENT)
    assert weights.locate(file(server)) == mirror / "some.pt"


def test_a_file_without_an_address_is_not_fetched():
    with pytest.raises(WeightsError, match="no public address"):
        weights.download(weights.File("some.pt", SHA256))


def test_a_missing_package_says_how_to_install_it():
    with pytest.raises(WeightsError, match="pip install no_such_package"):
        weights.locate(weights.File("some.dat", SHA256, package="no_such_package"))


def test_the_threshold_that_authors_recommend_comes_before_ours():
    """dlib's is 0.6 (its face recognition example)."""
    dlib = card.read("dlib")
    assert dlib.threshold == 0.6
    assert replace(dlib, thresholds={"far_1e-3": 0.547, "published": 0.6}).threshold == 0.6
    assert replace(dlib, thresholds={"far_1e-2": 0.7, "far_1e-3": 0.547}).threshold == 0.547


def test_who_has_no_home_is_told_what_to_set(monkeypatch):
    def homeless(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(cache, "user_cache_dir", homeless)
    assert weights.folder().is_absolute()
    monkeypatch.delenv("FACEVEIL_CACHE")
    with pytest.raises(SettingError, match="let FACEVEIL_CACHE name one"):
        weights.folder()
