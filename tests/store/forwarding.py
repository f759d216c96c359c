"""HTTP servers that stand in ClickHouse's way: they hand requests on to it, and may do what goes wrong on the way."""

from __future__ import annotations

import http.client
import http.server
import socket
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlsplit

_LIMIT_S = 60.0
_OF_A_HOP = {"host", "connection", "transfer-encoding", "content-length"}


class Answer(NamedTuple):
    """What ClickHouse says."""

    code: int
    headers: list[tuple[str, str]]
    content: bytes


class Answering(http.server.BaseHTTPRequestHandler):
    """Takes a request in, and leaves what to answer to `respond`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            body = self._chunks() if "Transfer-Encoding" in self.headers else b""
        self.respond(body)

    do_GET = do_POST  # noqa: N815

    def respond(self, body: bytes) -> None:
        """Answer, or do not."""
        raise NotImplementedError

    def answer(self, answer: Answer) -> None:
        """Send an answer back."""
        self.begin(answer)
        self.wfile.write(answer.content)

    def begin(self, answer: Answer) -> None:
        """Send all of an answer but its content."""
        self.send_response(answer.code)
        for name, value in answer.headers:
            if name.lower() not in _OF_A_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()

    def refuse(self, code: int, sentence: str) -> None:
        """Answer with an exception, as ClickHouse does."""
        self.answer(Answer(500, [("X-ClickHouse-Exception-Code", str(code))], f"Code: {code}. {sentence}\n".encode()))

    def drop(self) -> None:
        """End the connection without a word."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    @property
    def token(self) -> str:
        """Under which token the request inserts a block; "" where it does not."""
        return dict(parse_qsl(urlsplit(self.path).query)).get("insert_deduplication_token", "")

    @property
    def table(self) -> str:
        """Into which table the request inserts: of the files' blocks or "ledger"; "" where it does not."""
        parts = self.token.split(":")
        return parts[0] if parts[0] in ("", "ledger") else parts[1]

    def log_message(self, *_: object) -> None:
        pass

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Forwarding(Answering):
    """Hands every request on to the server at `port`."""

    port: ClassVar[int]

    def respond(self, body: bytes) -> None:
        self.answer(self.forward(body))

    def forward(self, body: bytes) -> Answer:
        """Have the server do what is asked."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LIMIT_S)
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()
