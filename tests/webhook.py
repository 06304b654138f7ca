"""A receiver of webhooks."""

import http.server
import json
import ssl
import threading
from email.message import Message
from typing import Any


class Webhook:
    """An HTTP server, or with a context one of HTTPS, that keeps what it gets, once ``status`` is 200."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.refused = 0
        self.waiting = 0
        self.fail_after: int | None = None
        self.headers: Message | None = None
        self.gate = threading.Event()
        self.gate.set()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.waiting += 1
                hook.gate.wait(30)
                hook.headers = self.headers
                status = 500 if len(hook.received) == hook.fail_after else hook.status
                if status == 200:
                    hook.received.append(json.loads(body))
                else:
                    hook.refused += 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Nobody reads it."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
