"""A UDP server for tests: answers each datagram with its sender's port, a space and the datagram itself.

Arguments: addresses. It prints the port, the same on all of them, when it is ready.
"""
import select
import socket
import sys


def bind_all(addresses, port):
    sockets = []
    for address in addresses:
        bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sockets.append(bound)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        bound.bind((address, port))
        port = bound.getsockname()[1]
    return sockets, port


while True:
    try:
        sockets, port = bind_all(sys.argv[1:], 0)
        break
    except OSError as error:
        if error.errno != 98:
            raise
print(port, flush=True)
while True:
    for ready in select.select(sockets, [], [])[0]:
        data, sender = ready.recvfrom(65535)
        prefix = b"%d " % sender[1]
        ready.sendto(prefix + data[:65507 - len(prefix)], sender)
