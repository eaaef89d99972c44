#!/usr/bin/env python3
"""Takes part in evictd's drain: saves at the notice and answers when it is done.

Python's standard library only. Usage: drain_hook.py [SOCKET]
The protocol is described in docs/control-socket.md.
"""

import http.client
import json
import socket
import sys
import time

SOCKET = sys.argv[1] if len(sys.argv) > 1 else "/run/evictd/evictd.sock"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket of evictd."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def post(path, body, timeout):
    connection = UnixConnection("evictd", timeout=timeout)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(answer.read().decode())
    return answer


def events(stream):
    """The stream's events as (name, data)."""
    name = None
    for line in stream:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def save(run):
    """Put your own work here; it has run["timeoutSeconds"]."""
    print("saving for", run["event"]["EventId"], "attempt", run["attempt"], flush=True)


def take_part():
    # Three heartbeats that don't come: the daemon stands still, and a new connection is due.
    stream = post("/v1/hooks", {"name": "python-trainer", "timeout": "10s"}, timeout=30)
    for name, data in events(stream):
        if name == "registered":
            print("registered as", data["name"], flush=True)
        elif name == "run":
            try:
                save(data)
                done = {"ok": True}
            except Exception as error:
                done = {"ok": False, "detail": str(error)}
            post(f"/v1/hooks/{data['id']}/done", done, timeout=5).read()


while True:
    try:
        take_part()
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        print("evictd:", error, file=sys.stderr, flush=True)
    # It is started again, or not yet there.
    time.sleep(1)
