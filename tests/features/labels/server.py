"""A server on the loopback interface that answers from a script and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What to send: `body` as JSON unless it is bytes; `cut` bytes are left out at the end; `pause` seconds before."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    pause: float = 0.0


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Scripted:
    """`respond` gets every request and returns its answer."""

    def __init__(self, respond: Callable[[Asked], Answer]) -> None:
        self.respond = respond
        self.seen: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(size)
                asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()},
                              json.loads(raw) if raw else None)
                server.seen.append(asked)
                answer = server.respond(asked)
                time.sleep(answer.pause)
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) - answer.cut])

            do_GET = do_POST = _answer  # noqa: N815 - names that the base class looks for

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(*answers: Answer | Callable[[Asked], Answer]) -> Iterator[Scripted]:
    """Answers in turn, the last one again and again; or one function of the request."""
    left = list(answers)

    def respond(asked: Asked) -> Answer:
        now = left.pop(0) if len(left) > 1 else left[0]
        return now if isinstance(now, Answer) else now(asked)

    server = Scripted(respond)
    try:
        yield server
    finally:
        server.close()


def chat(text: Any, **more: Any) -> Answer:
    """An answer as OpenAI's chat completions give it."""
    return Answer({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], **more})
