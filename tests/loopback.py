"""A web server on this machine that can be made to misbehave, and small files to download."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_ptsam.datasets import bbbc039

Fault = Literal["absent", "broken", "truncated", "short", "changed", "longer", "silent"]


class Server(ThreadingHTTPServer):
    """Serves bytes by path.

    Attributes
    ----------
    content
        What there is, by path without the first slash.
    faults
        What goes wrong with a path; under "" what goes wrong with all.
    asked
        Paths that were asked for.
    ranges
        Whether it can send a part of a file; and the parts that it was asked for.
    hold
        Answers wait for it; set from the start.
    """

    daemon_threads = True
    block_on_close = True

    def __init__(self, content: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []
        self.ranges, self.asked_ranges = False, list[str]()
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path).lstrip("/")
        self.server.asked.append(path)
        self.server.hold.wait(20)
        fault = self.server.faults.get(path) or self.server.faults.get("")
        body = self.server.content.get(path)
        if fault == "absent" or body is None:
            self.send_error(404)
            return
        if fault == "broken":
            self.send_error(500)
            return
        if fault == "silent":
            self.server.hold.clear()
            self.server.hold.wait(20)
        if fault == "changed":
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault == "short":
            body = body[:-1]
        if fault == "longer":
            body += b"more" * 100_000
        begin, whole = self._range(), len(body)
        if begin >= whole > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = body[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "truncated":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def _range(self) -> int:
        """The first byte that is asked for."""
        asked = self.headers.get("Range", "")
        if not asked:
            return 0
        self.server.asked_ranges.append(asked)
        return int(asked.removeprefix("bytes=").removesuffix("-")) if self.server.ranges else 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[Server]:
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()


def small_files() -> dict[str, bytes]:
    """Two images and masks of 40 x 48 pixels, by path; the names have blanks, as the real ones."""
    content = {}
    for number in range(2):
        image, red = io.BytesIO(), np.zeros((40, 48, 4), np.uint8)
        tifffile.imwrite(image, np.full((40, 48), 100 + number, np.uint16))
        red[2:10, 2:10, 0] = 1
        red[2:10, 10:20, 0] = 2  # touches the first
        red[20:28, 2:10, 0] = 1  # has the value of the first
        red[30:34, 30:36, 0] = 3  # 24 pixels: debris
        red[..., 1:] = 255
        mask = io.BytesIO()
        Image.fromarray(red, "RGBA").save(mask, "PNG")
        content[f"cell nuclei/images/{number}.tif"] = image.getvalue()
        content[f"cell nuclei/masks/{number}.png"] = mask.getvalue()
    return content


@pytest.fixture(name="server")
def server_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Serves small files, to which the download is pinned."""
    files = [
        bbbc039.RemoteFile(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in small_files().items()
    ]
    monkeypatch.setattr(bbbc039, "remote_files", lambda: files)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(bbbc039.CACHE_VARIABLE, str(tmp_path / "cache"))
    with serving(small_files()) as server:
        monkeypatch.setenv(bbbc039.URL_VARIABLE, server.url)
        yield server


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """Where the server's files are kept."""
    return tmp_path / "cache" / "bbbc039"


def names(folder: Path) -> list[str]:
    """Of the files in a folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
