"""Servers on this machine alone, which stand for those that cannot be reached."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

S = TypeVar("S", bound="Loopback")


class Loopback:
    """What answers at `url` while it is entered; its handlers know it by `name`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], name: str) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (handler,), {name: self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self: S) -> S:
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Quiet(BaseHTTPRequestHandler):
    """A handler that tells the terminal nothing."""

    def log_message(self, *_: Any) -> None:
        pass
