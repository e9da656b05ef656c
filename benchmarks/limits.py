"""What this machine allows at best: copying, checksums, system calls, a loopback echo. Nothing of a broker.

    python -m benchmarks.limits

Each figure is the least of some rounds, CPU microseconds of this process for one step; of the echo the mean.
`docs/performance.md` holds them against what a message costs.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable

ROUNDS = 9
SEND_FRAME_BYTES = 465
"""A send of 128 bytes as a Java client writes it, with its header."""
RECORD_BYTES = 306
FRAMES_OF_A_READ = 64
PULLED = 32


def least_us(step: Callable[[], object], times: int) -> float:
    """CPU microseconds of this thread for one `step`."""
    found = []
    for _ in range(ROUNDS):
        began_s = time.thread_time()
        for _ in range(times):
            step()
        found.append((time.thread_time() - began_s) / times)
    return min(found) * 1e6


def say(what: str, us: float, messages: int = 1) -> None:
    a_message = f", {us / messages:.3f} us a message" if messages > 1 else ""
    print(f"{what}: {us:.2f} us{a_message}", flush=True)


def memory() -> None:
    frames = bytearray(SEND_FRAME_BYTES * FRAMES_OF_A_READ)
    say(f"copying the frames of a read ({len(frames)} bytes)", least_us(lambda: bytes(frames), 20_000), 64)
    body = bytes(128)
    say("CRC-32 of 128 bytes", least_us(lambda: zlib.crc32(body), 100_000))
    large = bytes(1024)
    say("CRC-32 of 1 KiB", least_us(lambda: zlib.crc32(large), 100_000))


def files(folder: str) -> None:
    descriptor = os.open(os.path.join(folder, "log"), os.O_RDWR | os.O_CREAT)
    try:
        data = bytes(RECORD_BYTES * FRAMES_OF_A_READ)
        at = [0]

        def write() -> None:
            os.pwrite(descriptor, data, at[0])
            at[0] = (at[0] + len(data)) % (64 << 20)

        say(f"pwrite of 64 records ({len(data)} bytes)", least_us(write, 2000), FRAMES_OF_A_READ)
        size = RECORD_BYTES * PULLED
        say(
            f"pread of 32 records ({size} bytes)",
            least_us(lambda: os.pread(descriptor, size, 0), 20_000),
            PULLED,
        )
        if hasattr(os, "RWF_NOWAIT"):

            def read() -> None:
                os.preadv(descriptor, (bytearray(size),), 0, os.RWF_NOWAIT)

            say("the same by preadv that does not wait", least_us(read, 20_000), PULLED)
    finally:
        os.close(descriptor)


def echo() -> None:
    """One end sends what a read of 64 sends holds, the other one answers; then a single frame."""
    for frames in (FRAMES_OF_A_READ, 1):
        size, times = SEND_FRAME_BYTES * frames, 4000
        near, far = _connected()
        answer = bytes(180 * frames)

        def serve(far: socket.socket = far, size: int = size, answer: bytes = answer) -> None:
            while _receive(far, size):
                far.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        request = bytes(size)
        used_s, began_s = time.process_time(), time.perf_counter()
        for _ in range(times):
            near.sendall(request)
            _receive(near, len(answer))
        used_s, took_s = time.process_time() - used_s, time.perf_counter() - began_s
        near.close()
        server.join()
        far.close()
        print(f"loopback echo of {frames} frames: {took_s / times * 1e6:.1f} us a round trip")
        say(f"  CPU of one end, {frames} frames", used_s / times / 2 * 1e6, frames)


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def _receive(connection: socket.socket, size: int) -> int:
    """Reads `size` bytes; 0 when the other end has closed."""
    left = size
    while left:
        received = len(connection.recv(left))
        if not received:
            return 0
        left -= received
    return size


def interpreter() -> None:
    def call() -> None:
        pass

    say("calling a Python function", least_us(call, 200_000))


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    memory()
    with tempfile.TemporaryDirectory() as folder:
        files(folder)
    echo()
    interpreter()


if __name__ == "__main__":
    main()
