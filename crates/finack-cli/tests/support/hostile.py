"""Sends malformed and misleading packets to finack from inside its private network.

usage: hostile.py SEED COUNT. The same seed sends the same packets. Needs CAP_NET_RAW.
"""
import random
import socket
import struct
import sys

seed, count = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
interface = next(name for _, name in socket.if_nameindex() if name != "lo")
out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)

HELLO4, GATEWAY4 = socket.inet_aton("198.18.0.80"), None
HELLO6 = socket.inet_pton(socket.AF_INET6, "fd66:696e:6163:6b00::80")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("198.18.0.80", 9))
    OWN4 = socket.inet_aton(probe.getsockname()[0])
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
    probe.connect(("fd66:696e:6163:6b00::80", 9))
    OWN6 = socket.inet_pton(socket.AF_INET6, probe.getsockname()[0])


def link_address():
    """Where frames for finack go; nowhere in particular on an interface without link-layer addresses."""
    with open("/proc/net/arp") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            if fields[5] == interface and fields[3] != "00:00:00:00:00:00":
                return bytes.fromhex(fields[3].replace(":", ""))
    return b"\xff" * 6


LINK = link_address()


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def options():
    kinds = [
        struct.pack("!BBH", 2, 4, rng.choice([0, 1, 48, 536, 1460, 65535])),
        bytes([3, 3, rng.randrange(256)]),
        bytes([4, 2]),
        struct.pack("!BBII", 8, 10, rng.getrandbits(32), rng.getrandbits(32)),
        struct.pack("!BBII", 5, 10, rng.getrandbits(32), rng.getrandbits(32)),
        rng.randbytes(rng.randrange(1, 12)),
    ]
    chosen = b"".join(rng.sample(kinds, rng.randrange(len(kinds))))[:40]
    return chosen + b"\0" * (-len(chosen) % 4)


def tcp():
    extra = options()
    words = 5 + len(extra) // 4 if rng.random() < 0.9 else rng.randrange(16)
    flags = rng.choice([0x02, 0x10, 0x12, 0x11, 0x04, 0x14, 0x18, 0x38, rng.randrange(512)])
    head = struct.pack(
        "!HHIIHHHH",
        rng.randrange(1, 65536) if rng.random() < 0.5 else rng.randrange(40000, 40010),
        rng.choice([80, 53, rng.randrange(65536)]),
        rng.getrandbits(32),
        rng.getrandbits(32),
        words << 12 | flags,
        rng.choice([0, 1, 65535, rng.randrange(65536)]),
        0,
        rng.randrange(65536),
    )
    return 6, 16, head + extra + rng.randbytes(rng.choice([0, 0, 1, 100, 1400]))


def udp():
    payload = rng.randbytes(rng.choice([0, 1, 12, 40, 512, 1400]))
    length = 8 + len(payload) if rng.random() < 0.8 else rng.randrange(65536)
    ports = rng.randrange(65536), rng.choice([53, 80, rng.randrange(65536)])
    return 17, 6, struct.pack("!HHHH", *ports, length, 0) + payload


def icmp(version):
    body = rng.randbytes(rng.randrange(0, 120))
    kind = rng.randrange(256) if rng.random() < 0.5 else rng.choice([0, 3, 4, 5, 8, 11, 12, 1, 2, 128, 133, 135])
    return (1 if version == 4 else 58), 2, bytes([kind, rng.randrange(20), 0, 0]) + body


def packet():
    version = rng.choice([4, 6])
    protocol, at, body = rng.choice([tcp, tcp, tcp, udp, lambda: icmp(version)])()
    if rng.random() < 0.8 and len(body) > at + 2:
        own, hello = (OWN4, HELLO4) if version == 4 else (OWN6, HELLO6)
        pseudo = own + hello + struct.pack("!II", len(body), protocol)
        value = checksum(body if protocol == 1 else pseudo + body)
        body = body[:at] + struct.pack("!H", value) + body[at + 2:]
    if version == 4:
        fragment = rng.choice([0, 0, 0, 0x4000, 0x2000, rng.randrange(65536)])
        head = struct.pack("!BBHHHBBH", 0x45, rng.randrange(256), 20 + len(body), rng.randrange(8), fragment,
                           rng.choice([1, 64]), protocol, 0) + OWN4 + HELLO4
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    else:
        head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + OWN6 + HELLO6
    whole = bytearray(head + body)
    while rng.random() < 0.3:
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    if rng.random() < 0.1:
        whole = whole[:rng.randrange(1, len(whole))]
    return version, bytes(whole)


sent = 0
while sent < count:
    version, data = packet()
    ethertype = 0x0800 if version == 4 else 0x86DD
    try:
        out.sendto(data, (interface, ethertype, 0, 0, LINK))
        sent += 1
    except OSError as error:
        if error.errno not in (105, 90):
            raise
print(f"sent {sent}")
