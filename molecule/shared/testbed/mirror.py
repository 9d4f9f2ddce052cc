# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror inside a closed network, over HTTP: packages, a pip index, and a Hub that the real client
downloads from.

    mirror.py PORT FOLDER

FOLDER/hub/ORG/NAME is a model; FOLDER/hub/ORG/NAME.token holds the token without which it answers 401;
NAME.cut holds two numbers: after so many bytes the answers are cut off, so many times for each file, as over
a bad line. FOLDER/wheels becomes a pip index below /simple. Everything else is served as it lies there.
NAME.slow makes its files come at a few MB a second.
Requests are written to standard output, without headers but Range, and after each of them how many bytes were
sent ("ADDRESS sent NUMBER PATH RANGE").
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections import Counter
from functools import cache
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

API = re.compile(r"/api/models/(?P<model>[\w.-]+/[\w.-]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)")
FILE = re.compile(r"/(?P<model>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
# Files above this size are kept in LFS by the Hub: their ETag is the SHA-256, that of the others git's own
# hash.
LFS_BYTES = 1 << 16
SLOW_BYTES, SLOW_PAUSE = 1 << 20, 0.5


@cache
def digests(path: Path, _changed: int) -> tuple[str, str]:
    """git's hash of a file, and its SHA-256."""
    data = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    git.update(data)
    return git.hexdigest(), hashlib.sha256(data).hexdigest()


def entry(folder: Path, path: Path) -> dict[str, object]:
    """A file as the Hub lists it."""
    git, sha256 = digests(path, path.stat().st_mtime_ns)
    size = path.stat().st_size
    listed: dict[str, object] = {
        "type": "file",
        "path": str(path.relative_to(folder)),
        "size": size,
        "oid": git,
    }
    if size > LFS_BYTES:
        listed["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return listed


def files(folder: Path) -> list[Path]:
    """The files of a model."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def commit(folder: Path) -> str:
    """What stands for the commit: it changes with any file."""
    parts = [
        f"{path.relative_to(folder)} {digests(path, path.stat().st_mtime_ns)[0]}" for path in files(folder)
    ]
    return hashlib.sha1("\n".join(parts).encode(), usedforsecurity=False).hexdigest()


class Counting:
    """A connection that counts what is sent."""

    def __init__(self, inner: BinaryIO) -> None:
        self.inner, self.count = inner, 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return self.inner.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class Mirror(SimpleHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    cut: Counter[str] = Counter()  # shared by all requests on purpose

    def setup(self) -> None:
        super().setup()
        self.wfile = Counting(self.wfile)  # type: ignore[assignment]

    def end_headers(self) -> None:
        super().end_headers()
        # What counts is the content.
        self.wfile.count = 0  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.wfile.count = 0  # type: ignore[attr-defined]
        try:
            self._answer()
        finally:
            span = self.headers.get("Range", "")
            count = self.wfile.count  # type: ignore[attr-defined]
            print(self.client_address[0], "sent", count, urlsplit(self.path).path, span, flush=True)

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, file = API.fullmatch(path), FILE.fullmatch(path)
        if api or file:
            match = api or file
            assert match
            folder = Path(self.directory) / "hub" / match["model"]
            if not folder.is_dir():
                self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
            elif not self._allowed(folder):
                self._refuse(
                    HTTPStatus.UNAUTHORIZED,
                    "GatedRepo",
                    "Access to this model is restricted: authenticate first.",
                )
            elif match["revision"] not in ("main", commit(folder)):
                self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {match['revision']}")
            elif file:
                self._file(folder, folder / file["file"])
            elif match["what"] == "tree":
                self._json([entry(folder, path) for path in files(folder)])
            else:
                siblings = [{"rfilename": str(path.relative_to(folder))} for path in files(folder)]
                self._json(
                    {
                        "_id": "0",
                        "id": match["model"],
                        "sha": commit(folder),
                        "private": False,
                        "siblings": siblings,
                    }
                )
        elif path.startswith("/simple/"):
            self._index(path.removeprefix("/simple/").strip("/"))
        elif self.command == "HEAD":
            super().do_HEAD()
        else:
            super().do_GET()

    def _allowed(self, folder: Path) -> bool:
        token = folder.with_name(f"{folder.name}.token")
        return (
            not token.exists()
            or self.headers.get("Authorization") == f"Bearer {token.read_text(encoding='utf-8').strip()}"
        )

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        self._json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    def _json(
        self, content: object, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
    ) -> None:
        self._send(json.dumps(content).encode(), "application/json", status, headers or {})

    def _send(self, data: bytes, kind: str, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _file(self, folder: Path, path: Path) -> None:
        if not path.is_file():
            self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
            return
        git, sha256 = digests(path, path.stat().st_mtime_ns)
        data = path.read_bytes()
        headers = {
            "X-Repo-Commit": commit(folder),
            "ETag": f'"{sha256 if len(data) > LFS_BYTES else git}"',
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = HTTPStatus.OK
        if asked:
            end = min(int(asked[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {asked[1]}-{end}/{len(data)}"
            data, status = data[int(asked[1]) : end + 1], HTTPStatus.PARTIAL_CONTENT
        cut = folder.with_name(f"{folder.name}.cut")
        limit, times = map(int, cut.read_text(encoding="utf-8").split()) if cut.exists() else (0, 0)
        key = f"{self.client_address[0]} {path}"
        if self.command == "GET" and self.cut[key] < times and len(data) > limit:
            self.cut[key] += 1
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[:limit])
            self.close_connection = True
            return
        if self.command == "GET" and folder.with_name(f"{folder.name}.slow").exists():
            self._slowly(data, status, headers)
            return
        self._send(data, "application/octet-stream", status, headers)

    def _slowly(self, data: bytes, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(data), SLOW_BYTES):
            self.wfile.write(data[start : start + SLOW_BYTES])
            time.sleep(SLOW_PAUSE)

    def _index(self, project: str) -> None:
        """The files of one project, as pip reads them (PEP 503)."""
        wheels = sorted((Path(self.directory) / "wheels").glob("*.whl"))
        mine = [
            wheel.name
            for wheel in wheels
            if re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower() == project
        ]
        links = "".join(f'<a href="/wheels/{name.replace("+", "%2B")}">{name}</a>\n' for name in mine)
        status = HTTPStatus.OK if mine else HTTPStatus.NOT_FOUND
        self._send(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n".encode(), "text/html", status, {})

    def log_message(self, form: str, *words: object) -> None:
        span = self.headers.get("Range", "") if getattr(self, "headers", None) else ""
        print(self.client_address[0], form % words, span, flush=True)


def main(port: str, folder: str) -> None:
    """Serve until stopped."""

    def handler(*words: object) -> Mirror:
        return Mirror(*words, directory=folder)  # type: ignore[arg-type]

    ThreadingHTTPServer(("0.0.0.0", int(port)), handler).serve_forever()  # noqa: S104 - inside the test bed


if __name__ == "__main__":
    main(*sys.argv[1:])
