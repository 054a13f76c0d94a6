"""A call in a network namespace of its own that talks to a real server through a real proxy process.

It starts nothing that outlives it, and it runs as whichever user it finds itself.
"""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.sandboxes import ROOT
from workers.sandbox.egress.policy import Policy
from workers.sandbox.egress.proxy import EgressProxy, receive_listener

_CLIENT = """
import json, os, socket, sys, urllib.error, urllib.request
sys.path.insert(0, sys.argv[1])
from workers.sandbox import kernel
from workers.sandbox.egress.inside import hand_out_listener, proxy_environment
kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
hand_out_listener(int(sys.argv[2]))
os.environ.update(proxy_environment())
sys.stdin.readline()
def fetched(url):
    try:
        return urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return str(error)
said = {url: fetched(url) for url in sys.argv[4:]}
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2).close(); said["direct"] = "connected"
except OSError as error:
    said["direct"] = str(error)
held = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
said["descriptors"] = [os.readlink(f"/proc/self/fd/{fd}") for fd in held]
print(json.dumps(said))
"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def page_server() -> Iterator[int]:
    """A real HTTP server on the loopback device; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def confined_client(port: int, *urls: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """A process without a network that waits for a line, then fetches the urls; and what it hands out a listener on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        words = [sys.executable, "-B", "-c", _CLIENT, str(ROOT), str(theirs.fileno()), str(port), *urls]
        client = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        theirs.close()
        with client:
            try:
                yield client, ours
            finally:
                client.kill()


def scenario() -> dict[str, Any]:
    """Fetch an allowed and a refused page from within, and look at the proxy from outside."""
    with page_server() as port, closing(EgressProxy(policy_for(port))) as proxy:
        allowed, refused = f"http://localhost:{port}/", f"http://evil.test:{port}/"
        with confined_client(port, allowed, refused, "https://evil.test/") as (client, report):
            way = proxy.serve(receive_listener(report))
            said = json.loads(client.communicate("go\n", timeout=30)[0])
            told = way.end()
        folder = Path("/proc", str(proxy.pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return {
            "allowed": said[allowed],
            "refused": said[refused],
            "tunnel": said["https://evil.test/"],
            "direct": said["direct"],
            "descriptors": said["descriptors"],
            "told": told,
            "port": port,
            "uids": [int(uid) for uid in status["Uid"].split()],
            "no_new_privs": status["NoNewPrivs"].strip(),
        }


def policy_for(port: int) -> Policy:
    """A policy that lets tools reach this machine's own server by name."""
    return Policy(domains=("localhost",), ports=(port,), allow_private=True)
