"""A name server for tests, on the address given and port 53, over UDP and TCP.

short.example has an A record, long.example a TXT record that only TCP carries, fails.example is SERVFAIL, and nothing else
exists. It writes a line when it is ready.
"""
import socket
import struct
import sys
import threading


def reply(query, tcp):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    question, qtype = query[12:at + 5], struct.unpack(">H", query[at + 1:at + 3])[0]
    name, flags, records = ".".join(labels), 0x8180, b""
    if name == "short.example" and qtype == 1:
        records = struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + socket.inet_aton("192.0.2.7")
    elif name == "long.example" and qtype == 16 and not tcp:
        flags |= 0x0200
    elif name == "long.example" and qtype == 16:
        text = (b"\xff" + b"t" * 255) * 12
        records = struct.pack(">HHHIH", 0xc00c, 16, 1, 60, len(text)) + text
    elif name == "fails.example":
        flags |= 2
    elif name not in ("short.example", "long.example"):
        flags |= 3
    header = query[:2] + struct.pack(">HHHHH", flags, 1, 1 if records else 0, 0, 0)
    return header + question + records


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def serve_connection(connection):
    try:
        while True:
            answer = reply(exactly(connection, struct.unpack(">H", exactly(connection, 2))[0]), True)
            connection.sendall(struct.pack(">H", len(answer)) + answer)
    except (EOFError, OSError):
        connection.close()


def serve_tcp(listener):
    while True:
        threading.Thread(target=serve_connection, args=[listener.accept()[0]], daemon=True).start()


address = (sys.argv[1], 53)
listener = socket.create_server(address)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(address)
threading.Thread(target=serve_tcp, args=[listener], daemon=True).start()
print("ready", flush=True)
while True:
    query, sender = datagrams.recvfrom(4096)
    datagrams.sendto(reply(query, False), sender)
