"""A small HTTP server that speaks the chat part of OpenAI's API, and misbehaves on request."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

Answer = tuple[int, dict[str, str], bytes]
HANG_UP: Answer = (0, {}, b"")


def half(answer: Answer) -> Answer:
    """The same, but the connection closes in the middle of the body."""
    return -answer[0], *answer[1:]


Behaviour = Callable[[dict[str, Any], int], Answer | None]
"""(request, how often this very request came before) → what to answer instead, None for a proper completion."""


@dataclass
class ApiServer:
    """Answers each request by its messages and seed, so that equal requests get equal answers."""

    behaviour: Behaviour = lambda request, earlier: None
    message: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: {
        "content": f"{request['messages'][-1]['content']} \\boxed{{{request['seed'] % 1000}}}"
    }
    delay_s: float = 0.0
    drip_s: float = 0.0
    """Between two bytes of an answer."""
    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, request: dict[str, Any]) -> Answer:
        with self.lock:
            name = json.dumps(request, sort_keys=True)
            earlier = self._asked[name]
            self._asked[name] += 1
            self.seen.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            special = self.behaviour(request, earlier)
            if special is not None:
                return special
            time.sleep(self.delay_s)
            choice = {"index": 0, "message": {"role": "assistant", **self.message(request)}, "finish_reason": "stop"}
            return 200, {}, json.dumps({"choices": [choice], "usage": {"completion_tokens": 7}}).encode()
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def serving(server: ApiServer) -> Iterator[ApiServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200 if self.path == "/v1/models" else 404, {}, b'{"data": []}')

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.headers.append(dict(self.headers))
            if self.path != "/v1/chat/completions":
                self.reply(404, {}, b'{"detail": "Not Found"}')
                return
            status, headers, body = server.answer(request)
            if status == 0:  # hang up without a word
                self.close_connection = True
                return
            self.reply(status, headers, body)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(abs(status))
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            body = body if status > 0 else body[: len(body) // 2]
            for at in range(0, len(body), 1 if server.drip_s else max(len(body), 1)):
                self.wfile.write(body[at : at + 1] if server.drip_s else body)
                time.sleep(server.drip_s)
            self.close_connection |= status < 0

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128
        allow_reuse_address = True

        connections: ClassVar[list[socket.socket]] = []

        def process_request(self, request: Any, client_address: Any) -> None:
            self.connections.append(request)
            super().process_request(request, client_address)

        def die(self) -> None:
            """As a killed process does: nobody listens any more, and what was open breaks."""
            self.shutdown()
            self.server_close()
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed before

        def handle_error(self, *_: object) -> None:
            pass  # a client that was killed

    http = Quiet(("127.0.0.1", server.port), Handler)
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.die()
