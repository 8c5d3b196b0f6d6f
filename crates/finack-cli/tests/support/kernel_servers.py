# Servers on loopback, over the kernel's own TCP, that misbehave as finack's services of the same names do.
# Prints "NAME PORT" for each, and serves until stdin ends.
import socket
import struct
import sys
import threading
import time

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000
UNTIL_THE_END = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nThis is all.\n"


def request(c):
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        part = c.recv(65536)
        if not part:
            break
        got += part


def drain(c):
    while c.recv(65536):
        pass


def close(c):
    c.shutdown(socket.SHUT_WR)
    drain(c)
    c.close()


def abort(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def silent(c):
    drain(c)
    c.close()


def reset(c):
    request(c)
    abort(c)


def unread(c):
    c.recv(1, socket.MSG_PEEK)
    c.close()


def empty(c):
    request(c)
    close(c)


def nonsense(c):
    request(c)
    c.sendall(b"this is not HTTP\n")
    close(c)


def slow(c):
    request(c)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n" + b"y" * 44:
        c.sendall(bytes([byte]))
        time.sleep(0.1)
    close(c)


def reset_halfway(c):
    request(c)
    c.sendall(HALF)
    time.sleep(0.1)
    abort(c)


def truncated(c):
    request(c)
    c.sendall(HALF)
    close(c)


def zero_window(c):
    time.sleep(3600)


def half_closed(c):
    request(c)
    c.sendall(UNTIL_THE_END)
    close(c)


def still_sending(c):
    request(c)
    c.sendall(UNTIL_THE_END)
    while True:
        c.sendall(b"line\n")
        time.sleep(0.1)


def never_closing(c):
    request(c)
    c.sendall(UNTIL_THE_END)
    drain(c)
    time.sleep(3600)


def carry(behave, c):
    try:
        behave(c)
    except OSError:
        pass


def accept(s, behave):
    while True:
        c, _ = s.accept()
        threading.Thread(target=carry, args=(behave, c), daemon=True).start()


def serve(name, behave):
    s = socket.socket()
    if behave is zero_window:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.bind(("127.0.0.1", 0))
    s.listen(8)
    threading.Thread(target=accept, args=(s, behave), daemon=True).start()
    print(name, s.getsockname()[1])


for behave in [
    silent, reset, unread, empty, nonsense, slow, reset_halfway, truncated, zero_window, half_closed,
    still_sending, never_closing,
]:
    serve(behave.__name__.replace("_", "-"), behave)

# Bound, and nobody listens.
refused = socket.socket()
refused.bind(("127.0.0.1", 0))
print("refused", refused.getsockname()[1])

# Its queue is full: the kernel drops further SYNs.
blackhole = socket.socket()
blackhole.bind(("127.0.0.1", 0))
blackhole.listen(0)
waiting = []
for _ in range(4):
    waiting.append(socket.socket())
    waiting[-1].setblocking(False)
    waiting[-1].connect_ex(blackhole.getsockname())
print("blackhole", blackhole.getsockname()[1], flush=True)

sys.stdin.read()
