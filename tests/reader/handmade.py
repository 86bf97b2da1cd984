"""Writes stores byte by byte as docs/format.md says, so that tests know every byte of them.

Nothing is random: uuid, salts and nonces are derived from numbers, so a store comes out the same on
each run.
"""

import os
import struct

from digests import blake3_python, digest, tree_of, xxh3

UUID = "3f2504e0-4f89-4d3a-9a0c-0305e82c3301"
OTHER_UUID = "0b54f3d2-1a6c-4e0b-8f3e-7d2c1b0a9f8e"
TIME = 1_700_000_000_000
OBJECT, LINK, REF, CHECKPOINT, TOMBSTONE, PURGE = range(1, 7)
BLOCK = 4096


def format_text(kind="blake3", key=None, large_min=1 << 20, segment_size=1 << 20, version=1,
                uuid=UUID):
    lines = ["ingot store", f"format {version}", f"uuid {uuid}", f"digest {kind}"]
    if key:
        lines.append(f"key-check {blake3_python(b'ingot key check 1', key).hex()}")
    lines += [f"large-min {large_min}", f"segment-size {segment_size}", "log-align 4096",
              f"created {TIME}"]
    body = "".join(line + "\n" for line in lines).encode()
    return body + b"checksum " + blake3_python(body).hex().encode() + b"\n"


def record(kind, id_, size=0, body=b"", references=0, aux=0, flags=0, encoding=0, zero=0,
           body_sum=None):
    """What is known of a record before it has a place: (fields, body)."""
    if body_sum is None:
        body_sum = xxh3(body, 0) if body else 0
    return (kind, flags, encoding, zero, size, len(body), id_, references, aux, body_sum), body


class HandStore:
    """A store under construction. Segments are written out whole by close()."""

    def __init__(self, folder, kind="blake3", key=None, large_min=1 << 20, segment_size=1 << 20,
                 uuid=UUID):
        self.folder, self.kind, self.key = folder, kind, key
        self.uuid = bytes.fromhex(uuid.replace("-", ""))
        self.segment_size = segment_size
        self.sequence, self.durable, self.opening = 1, 0, 1
        self.number, self.segment = 0, None
        os.makedirs(os.path.join(folder, "log"))
        os.makedirs(os.path.join(folder, "objects"))
        self.write("FORMAT", format_text(kind, key, large_min, segment_size, uuid=uuid))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as out:
            out.write(data)

    def make_object_folders(self):
        for first in range(256):
            os.makedirs(self.path(f"objects/{first:02x}"), exist_ok=True)

    # -- records --

    def id(self, data):
        return digest(self.kind, data, self.key)

    def object(self, data, references=1, aux=TIME, flags=0):
        return record(OBJECT, self.id(data), len(data), data, references, aux, flags)

    def link(self, data, references=1, aux=TIME, flags=0, tree=True):
        """The record; its file, and by default the tree, are written at once."""
        id_ = self.id(data)
        self.write(self.link_name(data), data)
        if tree and self.kind != "sha256":
            self.write(self.link_name(data) + ".tree", tree_of(data, self.key))
        return record(LINK, id_, len(data), b"", references, aux, flags)

    def link_name(self, data):
        name = self.id(data).hex()
        return f"objects/{name[:2]}/{name}"

    def ref(self, data, change):
        return record(REF, self.id(data), references=change)

    def checkpoint(self, data, count):
        return record(CHECKPOINT, self.id(data), references=count, aux=TIME)

    def tombstone(self, data, segment=1):
        return record(TOMBSTONE, self.id(data), aux=segment)

    def purge(self, data, segment=1):
        return record(PURGE, self.id(data), aux=segment)

    # -- segments and groups --

    def begin(self, number=None, size=None, uuid=None):
        """Starts a segment: the next number, or `number`."""
        self.number = number or self.number + 1
        self.size = size or self.segment_size
        self.salt = xxh3(b"salt %d" % self.number, 0)
        header = struct.pack("<8sII16sQQq", b"INGOTSEG", 1, self.number, uuid or self.uuid,
                             self.salt, self.size, TIME)
        header += struct.pack("<Q", xxh3(header, 0))
        self.segment = bytearray(header.ljust(BLOCK, b"\0"))
        self.previous = header
        return self

    def group(self, *records, durable=None, chain=None, sequence=None):
        """Appends a commit group; without records, a seal. Returns its offset."""
        offset = len(self.segment)
        first = self.sequence if sequence is None else sequence
        nonce = xxh3(b"nonce %d" % self.opening, 0)
        seed = self.salt ^ nonce
        body = b"".join(self.encode(seed, first + i, *r) for i, r in enumerate(records))
        length = 64 + len(body) + BLOCK - 1 & ~(BLOCK - 1)
        chain = xxh3(self.previous, 0) if chain is None else chain
        durable = self.durable if durable is None else durable
        header = struct.pack("<4sIQQQQQq", b"IGGR", len(records), length, first, durable, nonce,
                             chain, TIME)
        header += struct.pack("<Q", xxh3(header, self.salt))
        self.segment += (header + body).ljust(length, b"\0")
        self.previous = header
        self.sequence = first + len(records)
        self.durable = self.sequence - 1
        return offset

    def encode(self, seed, sequence, fields, body):
        kind, flags, encoding, zero, size, length, id_, references, aux, body_sum = fields
        header = struct.pack("<4sBBBBQQQ32sqqQ", b"IGRC", kind, flags, encoding, zero, sequence,
                             size, length, id_, references, aux, body_sum)
        header += struct.pack("<Q", xxh3(header, seed))
        return header + body + bytes(-len(body) % 8)

    def seal(self):
        return self.group()

    def close(self):
        """Writes the segment out, zeros up to its size."""
        self.write(f"log/{self.number:08}.seg", bytes(self.segment.ljust(self.size, b"\0")))
        return self.path(f"log/{self.number:08}.seg")
