"""`download`, against a server of our own that knows ranges, breaks off and lies."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from visioncore.data.download import Remote, download, remotes
from visioncore.errors import DataError

CONTENT = bytes(range(256)) * 20_000


class _Server:
    """What is served, by path, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.breaks_after: int | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, wanted = self.path.partition("?")[0], self.headers.get("Range")
                server.asked.append((path, wanted))
                if path not in server.files:
                    self.send_error(404)
                    return
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
                body = server.files[path][start:]
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.breaks_after])

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[_Server]:
    served = _Server()
    thread = threading.Thread(target=served.http.serve_forever)
    thread.start()
    yield served
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def _remote(server: _Server, content: bytes = CONTENT, **changes: Any) -> Remote:
    server.files["/file.bin"] = content
    given = {"url": f"{server.url}/file.bin", "name": "file.bin", "licence": "CC0", **changes}
    return Remote(**{"sha256": hashlib.sha256(CONTENT).hexdigest(), **given})


def test_a_download_that_breaks_off_goes_on_where_it_was(server: _Server, tmp_path: Path) -> None:
    remote = _remote(server)
    server.breaks_after = 3_000_000
    with pytest.raises(
        DataError, match=r"broke off after 3000000 of 5120000 bytes; the same command goes on"
    ):
        download(remote, tmp_path)
    assert not (tmp_path / "file.bin").exists()
    server.breaks_after = None
    told: list[tuple[int, int | None]] = []
    path = download(remote, tmp_path, lambda n, of: told.append((n, of)))
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.bin", "bytes=2999999-")
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_what_is_there_is_not_fetched_again(server: _Server, tmp_path: Path) -> None:
    remote = _remote(server)
    download(remote, tmp_path)
    n = len(server.asked)
    download(remote, tmp_path)
    assert len(server.asked) == n


def test_another_content_than_was_published_is_refused_and_removed(server: _Server, tmp_path: Path) -> None:
    remote = _remote(server, content=CONTENT[:-1] + b"x")
    with pytest.raises(DataError, match=r"SHA-256 .* was published; it was removed"):
        download(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_zip_without_a_published_checksum_is_refused(server: _Server, tmp_path: Path) -> None:
    archive = tmp_path / "whole.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data/videos/0.npy", CONTENT)
    broken = bytearray(archive.read_bytes())
    broken[5000] ^= 255
    remote = _remote(server, content=bytes(broken), name="mouse.zip", sha256=None)
    with pytest.raises(DataError, match=r"member data/videos/0\.npy is damaged"):
        download(remote, tmp_path / "out")


def test_a_file_of_the_dandi_archive_is_found_with_its_licence_and_checksum(
    server: _Server, tmp_path: Path
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    answers: dict[str, Any] = {
        "/dandisets/000402/versions/draft/assets/": {
            "results": [
                {"asset_id": "a-2", "path": "sub-1/one.nwb.old"},
                {"asset_id": "a-1", "path": "sub-1/one.nwb"},
            ]
        },
        "/assets/a-1/": {"digest": {"dandi:sha2-256": digest}},
        "/dandisets/000402/versions/draft/": {"license": ["spdx:CC-BY-4.0"]},
    }
    server.files |= {path: json.dumps(answer).encode() for path, answer in answers.items()}
    server.files["/assets/a-1/download/"] = CONTENT
    (remote,) = remotes("dandi:000402/sub-1/one.nwb", dandi=server.url)
    assert (remote.licence, remote.sha256) == ("CC-BY-4.0", digest)
    assert download(remote, tmp_path).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"no file 'sub-1/two\.nwb' \(near it: sub-1/one"):
        remotes("dandi:000402/sub-1/two.nwb", dandi=server.url)


def test_mice_are_known_by_number_and_an_unknown_name_says_what_there_is() -> None:
    assert len(remotes("sensorium2023")) == 10
    (mouse,) = remotes("sensorium2023/29515")
    assert mouse.name == "dynamic29515-10-12-Video-9b4f6a1a067fe51e15306b9628efea20.zip"
    assert "ND" in mouse.licence
    with pytest.raises(DataError, match="no such mouse; there are dynamic29515"):
        remotes("sensorium2023/1")
    with pytest.raises(DataError, match="expected sensorium2023"):
        remotes("sensorium2024")


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        download(Remote("http://127.0.0.1:9/x", "x", "CC0"), tmp_path)
