"""Sends a SYN to each special address that might mean the host, and says what comes back.

usage: special.py PORT4 PORT6: where the host's 127.0.0.1 and ::1 listen. Needs CAP_NET_RAW.
"""
import select
import socket
import struct
import sys
import time

PORT = {4: int(sys.argv[1]), 6: int(sys.argv[2])}
TARGETS = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.0.0.1", "224.0.0.1", "255.255.255.255", "198.18.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:192.0.2.1", "ff02::1", "ff05::1",
    "fe80::1234", "198.18.0.254", "fd66:696e:6163:6b00::254",
]
interface = next(name for _, name in socket.if_nameindex() if name != "lo")
link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
link.bind((interface, 3))


def link_address():
    with open("/proc/net/arp") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            if fields[5] == interface and fields[3] != "00:00:00:00:00:00":
                return bytes.fromhex(fields[3].replace(":", ""))
    return b"\xff" * 6


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(target, port):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    own = "fd66:696e:6163:6b00::2" if ":" in target else "198.18.0.2"
    source, to = socket.inet_pton(family, own), socket.inet_pton(family, target)
    segment = struct.pack("!HHIIHHHH", port, PORT[6 if ":" in target else 4], 1000, 0, 0x5002, 65535, 0, 0)
    pseudo = source + to + struct.pack("!II", len(segment), 6)
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    if ":" in target:
        return 0x86DD, struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + source + to + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, 6, 0) + source + to
    return 0x0800, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def answer(packet):
    """The program's port that an answer is about, and what it says."""
    v6 = packet[0] >> 4 == 6
    protocol, body = (packet[6], packet[40:]) if v6 else (packet[9], packet[20:])
    if protocol == 6:
        flags = [name for bit, name in ((2, "SYN"), (4, "RST"), (16, "ACK")) if body[13] & bit]
        return struct.unpack("!H", body[2:4])[0], ",".join(flags)
    if (protocol, body[0]) in ((1, 3), (58, 1)):
        quoted = body[8:]
        port = quoted[40:42] if v6 else quoted[20:22]
        return struct.unpack("!H", port)[0], f"ICMP {body[0]} {body[1]}"
    return None, ""


ports = {}
for number, target in enumerate(TARGETS):
    protocol, packet = syn(target, 50_000 + number)
    ports[50_000 + number] = target
    link.sendto(packet, (interface, protocol, 0, 0, link_address()))
until = time.time() + 1.5
while (left := until - time.time()) > 0 and select.select([link], [], [], left)[0]:
    packet, (_, _, kind, _, _) = link.recvfrom(65536)
    if kind != socket.PACKET_OUTGOING:
        port, what = answer(packet)
        if port in ports:
            print(ports[port], what)
