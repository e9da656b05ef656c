"""A crowd of connections for tests of faults: `python -m tests.integration.crowd KIND PORT NUMBER`.

    idle    opens NUMBER connections, says so, keeps them until its stdin is closed
    drip    the same, and sends one byte a second on each
    churn   makes, uses and closes NUMBER connections one after another, several at a time, and says how long
            that took

Reports are lines of JSON on stdout.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import sys
import time

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame

AT_A_TIME = 200
"""So many connection attempts are under way at once: less than the server's backlog."""

REQUEST = encode_frame(Frame.request(RequestCode.GET_BROKER_CONFIG))


def report(**facts: float) -> None:
    print(json.dumps(facts), flush=True)


def begin(port: int) -> socket.socket:
    """A connection under way."""
    connection = socket.socket()
    connection.setblocking(False)
    number = connection.connect_ex(("127.0.0.1", port))
    if number not in (0, errno.EINPROGRESS):
        raise OSError(number, "connect")
    return connection


def open_all(port: int, number: int) -> list[socket.socket]:
    """All connections, made."""
    made: list[socket.socket] = []
    with selectors.DefaultSelector() as selector:
        begun = 0
        while len(made) < number:
            while begun < number and begun - len(made) < AT_A_TIME:
                selector.register(begin(port), selectors.EVENT_WRITE)
                begun += 1
            for key, _ in selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                selector.unregister(connection)
                problem = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if problem:
                    raise OSError(problem, "connect")
                made.append(connection)
    return made


def stdin_is_closed(wait_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        return bool(selector.select(wait_s))


def still_open(connections: list[socket.socket]) -> int:
    """How many have not been closed by the server."""
    alive = 0
    for connection in connections:
        try:
            alive += bool(connection.recv(1))
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
    return alive


def idle(port: int, number: int) -> None:
    started_s = time.monotonic()
    connections = open_all(port, number)
    report(open=len(connections), took_s=time.monotonic() - started_s)
    while not stdin_is_closed(60):
        pass
    report(open=still_open(connections))


def drip(port: int, number: int) -> None:
    connections = open_all(port, number)
    report(open=len(connections))
    frame = (1000).to_bytes(4, "big") + bytes(1000)
    sent = 0
    while not stdin_is_closed(1.0):
        for connection in connections:
            try:
                connection.send(frame[sent : sent + 1])
            except OSError:
                pass
        sent += 1
    report(open=still_open(connections), sent=sent)


def churn(port: int, number: int) -> None:
    """Each connection asks one question, gets its answer, and goes."""
    started_s = time.monotonic()
    begun = done = refused = 0
    with selectors.DefaultSelector() as selector:
        while done < number:
            while begun < number and begun - done < AT_A_TIME:
                selector.register(begin(port), selectors.EVENT_WRITE)
                begun += 1
            for key, events in selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    if events & selectors.EVENT_WRITE:
                        connection.send(REQUEST)
                        selector.modify(connection, selectors.EVENT_READ)
                        continue
                    refused += not connection.recv(1 << 16)
                except OSError:
                    refused += 1
                selector.unregister(connection)
                connection.close()
                done += 1
    report(served=number - refused, took_s=time.monotonic() - started_s)


if __name__ == "__main__":
    {"idle": idle, "drip": drip, "churn": churn}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
