# Sends COUNT hostile packets out of the private network, straight at finack, and prints finack's resident memory in
# KiB before and after. One seed: the same packets every time.
import random, socket, struct, sys

COUNT = int(sys.argv[1])
rnd = random.Random(9293)
V4 = ("198.18.0.2", "198.18.0.80", "198.18.0.1")
V6 = ("fd66:696e:6163:6b00::2", "fd66:696e:6163:6b00::80", "fd66:696e:6163:6b00::1")
PORTS = [80, 53, 81, 0, 65535]


def finack_memory():
    def field(pid, name):
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name))
    keeper = field("self", "PPid:")
    return field(field(keeper, "PPid:"), "VmRSS:")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def options():
    kinds = [b"\x02\x04\x05\xb4", b"\x03\x03\x07", b"\x04\x02", b"\x08\x0a" + rnd.randbytes(8),
             b"\x05\x0a" + rnd.randbytes(8), b"\x01", b"\x00", rnd.randbytes(rnd.randrange(1, 6))]
    data = b"".join(rnd.sample(kinds, rnd.randrange(0, 5)))[:40]
    return data + b"\0" * (-len(data) % 4)


def tcp():
    opts = options()
    flags = rnd.choice([2, 2, 16, 16, 24, 17, 4, 20, 18, 0, 63, rnd.randrange(256)])
    head = struct.pack("!HHIIBBHHH", rnd.randrange(40000, 40008), rnd.choice(PORTS), rnd.getrandbits(32),
                       rnd.getrandbits(32), (5 + len(opts) // 4) << 4, flags, rnd.getrandbits(16), 0, rnd.getrandbits(16))
    return 6, 16, head + opts + rnd.randbytes(rnd.choice([0, 0, 1, 100, 1200]))


def udp():
    data = rnd.randbytes(rnd.randrange(0, 64))
    length = 8 + len(data) if rnd.random() < 0.8 else rnd.getrandbits(16)
    return 17, 6, struct.pack("!HHHH", rnd.randrange(1, 65536), rnd.choice(PORTS), length, 0) + data


def icmp(v6):
    kind = rnd.choice([128, 1, 2, 3, 4, 135, 136] if v6 else [8, 3, 4, 5, 11, 12, 13])
    body = rnd.randbytes(rnd.randrange(0, 80))
    return (58 if v6 else 1), 2, struct.pack("!BBHI", kind, rnd.randrange(16), 0, rnd.getrandbits(32)) + body


def packet(v6):
    protocol, at, body = rnd.choice([tcp, tcp, tcp, udp, lambda: icmp(v6)])()
    names = V6 if v6 else V4
    family = socket.AF_INET6 if v6 else socket.AF_INET
    src, dst = (socket.inet_pton(family, a) for a in (names[0], rnd.choice(names[1:])))
    if rnd.random() < 0.05:
        src = rnd.randbytes(len(src))
    if rnd.random() < 0.9 and len(body) > at + 2:
        pseudo = src + dst + struct.pack("!II", len(body), protocol)
        summed = body if protocol == 1 else pseudo + body
        body = body[:at] + struct.pack("!H", checksum(summed)) + body[at + 2:]
    if v6:
        if rnd.random() < 0.1:
            body = struct.pack("!BBHI", protocol, 0, rnd.choice([0, 1, 8, 9, rnd.getrandbits(16)]), rnd.getrandbits(8)) + body
            protocol = 44
        whole = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + src + dst + body
    else:
        fragment = rnd.choice([0, 0, 0, 0, 0x2000, rnd.getrandbits(16)])
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), rnd.getrandbits(6), fragment, 64, protocol, 0) + src + dst
        whole = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
    if rnd.random() < 0.1:
        whole = bytearray(whole)
        for _ in range(rnd.randrange(1, 4)):
            whole[rnd.randrange(len(whole))] = rnd.getrandbits(8)
        whole = bytes(whole)
    if rnd.random() < 0.05:
        whole = whole[:rnd.randrange(1, len(whole))]
    return whole[:1500]


wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
before = finack_memory()
for i in range(COUNT):
    v6 = rnd.random() < 0.4
    while True:
        try:
            wire.sendto(packet(v6), ("finack0", 0x86DD if v6 else 0x0800))
            break
        except OSError:  # the queue is full for now
            pass
with socket.create_connection(("hello.finack", 80), timeout=10) as alive:
    alive.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: alive.recv(65536), b""))
print(COUNT, before, finack_memory(), answer.split(b"\r\n")[0].decode())
