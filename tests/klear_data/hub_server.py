"""A small Hugging Face Hub of data sets: the part of its HTTP interface that ``datasets`` reads through.

``serve(folder)`` serves ``folder/owner/name/…`` on a port of this machine; every commit asked for has the same files.
"""

import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
"""The commit that ``main`` stands for."""
_PATH = re.compile(
    r"/(?:api/)?datasets/(?P<id>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info|resolve)/(?P<rev>[^/]+)(?:/(?P<below>.*))?)?"
)
_UNUSED = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        match = _PATH.fullmatch(unquote(urlsplit(self.path).path))
        folder = self.server.root / match["id"] if match else None
        if folder is None or not folder.is_dir():
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = match["rev"] if re.fullmatch(r"[0-9a-f]{40}", match["rev"] or "") else COMMIT
        if match["what"] == "resolve":
            return self._file(folder / match["below"], commit)
        entries = _entries(folder)
        if match["what"] == "tree":
            return self._json([entry for entry in entries if entry["path"].startswith(match["below"] or "")])
        if match["what"] == "paths-info":
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
            return self._json([entry for entry in entries if entry["path"] in wanted])
        siblings = [{"rfilename": entry["path"]} for entry in entries if entry["type"] == "file"]
        return self._json({"_id": "0", "id": match["id"], "sha": commit, "siblings": siblings, **_UNUSED})

    do_HEAD = do_POST = do_GET

    def _file(self, path, commit):
        if not path.is_file():
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = path.read_bytes()
        headers = {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            return self._answer(200, data, headers)
        first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
        return self._answer(
            206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        )

    def _json(self, value):
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _entries(folder):
    return [
        {
            "type": "directory" if path.is_dir() else "file",
            "path": path.relative_to(folder).as_posix(),
            "oid": _digest(path.as_posix().encode()),
            "size": 0 if path.is_dir() else path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
    ]


def _digest(data):
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serve(root):
    """The URL of a Hub with the data sets below ``root``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.root = root
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
