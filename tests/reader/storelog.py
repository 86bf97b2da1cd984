"""Segments, commit groups and records of a store's log, as docs/format.md describes them.

A group that does not fit ends the log where the text says that a power cut explains it. Elsewhere
it is damage: it goes to Log.damage by name, and reading goes on with what still fits behind it.
"""

import mmap
import os
import re
import struct
from dataclasses import dataclass, field

from digests import xxh3

FORMAT_VERSION = 1
BLOCK = 4096
GROUP_HEADER = struct.Struct("<4sIQQQQQqQ")
RECORD_HEADER = struct.Struct("<4sBBBBQQQ32sqqQQ")
SEGMENT_HEADER = struct.Struct("<8sII16sQQqQ")
OBJECT, LINK, REF, CHECKPOINT, TOMBSTONE, PURGE = range(1, 7)
KIND_NAMES = ("", "OBJECT", "LINK", "REF", "CHECKPOINT", "TOMBSTONE", "PURGE")
LIMBO = 1


class Invalid(Exception):
    """A structure that does not fit the format."""


@dataclass
class Segment:
    number: int
    name: str  # as the store's files are named, from its folder
    data: object  # mmap, or bytes for an empty file
    salt: int = 0
    size: int = 0
    created: int = 0
    end: int = 0  # where the segment's groups end
    end_reason: str = ""


@dataclass
class Record:
    segment: Segment
    offset: int
    kind: int
    flags: int
    sequence: int
    size: int
    body_length: int
    id: bytes
    references: int
    aux: int

    @property
    def body(self):
        start = self.offset + RECORD_HEADER.size
        return self.segment.data[start:start + self.body_length]

    @property
    def place(self):
        return f"{self.segment.name}:{self.offset}"


@dataclass
class Group:
    segment: Segment
    offset: int
    count: int
    length: int
    sequence: int
    durable: int
    nonce: int
    chain: int
    time: int
    header: bytes
    records: list = field(default_factory=list)
    problems: list = field(default_factory=list)  # what makes the group invalid: (offset, text)
    untidy: list = field(default_factory=list)  # what does not, but breaks a rule of the format

    @property
    def place(self):
        return f"{self.segment.name}:{self.offset}"

    @property
    def is_seal(self):
        return self.count == 0


def parse_segment_header(segment, uuid):
    data = segment.data
    if len(data) < BLOCK:
        raise Invalid("shorter than its header")
    magic, version, number, owner, salt, size, created, checksum = (
        SEGMENT_HEADER.unpack_from(data, 0))
    if magic != b"INGOTSEG":
        raise Invalid("wrong magic in the segment's header")
    if checksum != xxh3(data[:56], 0):
        raise Invalid("wrong checksum of the segment's header")
    if version != FORMAT_VERSION:
        raise Invalid(f"segment version {version}")
    if number != segment.number:
        raise Invalid(f"header says segment {number}")
    if owner != uuid:
        raise Invalid("segment of another store")
    segment.salt, segment.size, segment.created = salt, size, created


def parse_group_header(segment, offset):
    """The group at `offset` if its header's checksum fits; raises Invalid."""
    header = segment.data[offset:offset + GROUP_HEADER.size]
    if len(header) < GROUP_HEADER.size:
        raise Invalid("the file ends")
    magic, count, length, sequence, durable, nonce, chain, time, checksum = (
        GROUP_HEADER.unpack(header))
    if magic != b"IGGR":
        raise Invalid("no group")
    if checksum != xxh3(header[:56], segment.salt):
        raise Invalid("wrong checksum of the group's header")
    return Group(segment, offset, count, length, sequence, durable, nonce, chain, time, header)


def parse_record(group, offset, end, sequence):
    """The record at `offset`, its header checked; raises Invalid."""
    if offset + RECORD_HEADER.size > end:
        raise Invalid("record beyond the group's end")
    data = group.segment.data
    (magic, kind, flags, encoding, zero, seq, size, length, id_, references, aux, body_sum,
     checksum) = RECORD_HEADER.unpack_from(data, offset)
    if magic != b"IGRC":
        raise Invalid("no record")
    if checksum != xxh3(data[offset:offset + 88], group.segment.salt ^ group.nonce):
        raise Invalid("wrong checksum of the record's header")
    record = Record(group.segment, offset, kind, flags, seq, size, length, id_, references, aux)
    if seq != sequence:
        raise Invalid(f"sequence number {seq}, not {sequence}")
    check_record_fields(record, encoding, zero)
    if offset + RECORD_HEADER.size + length > end:
        raise Invalid("body beyond the group's end")
    return record, body_sum


def check_record_fields(record, encoding, zero):
    kind = record.kind
    if not OBJECT <= kind <= PURGE:
        raise Invalid(f"unknown kind {kind}")
    if record.flags & ~(LIMBO if kind in (OBJECT, LINK) else 0):
        raise Invalid(f"unknown flags {record.flags:#x}")
    if encoding or zero:
        raise Invalid("unknown encoding")
    if record.body_length != (record.size if kind == OBJECT else 0):
        raise Invalid("wrong length of the body")
    if record.size and kind not in (OBJECT, LINK):
        raise Invalid("size in a record that has none")
    if record.references and kind in (TOMBSTONE, PURGE):
        raise Invalid("references in a record that has none")
    if record.references < 0 and kind in (OBJECT, LINK, CHECKPOINT):
        raise Invalid("negative count")
    if record.aux and kind == REF:
        raise Invalid("aux in a record that has none")


def parse_records(group):
    """Fills group.records with those that are valid, group.problems and group.untidy."""
    data, end = group.segment.data, group.offset + group.length
    offset = group.offset + GROUP_HEADER.size
    for sequence in range(group.sequence, group.sequence + group.count):
        try:
            record, body_sum = parse_record(group, offset, end, sequence)
        except Invalid as error:
            last = group.sequence + group.count - 1
            group.problems.append((offset, f"{error}; records {sequence} to {last} are lost"))
            return
        body_end = offset + RECORD_HEADER.size + record.body_length
        next_offset = min(body_end + 7 & ~7, end)
        if body_sum != (xxh3(record.body, 0) if record.body_length else 0):
            whose = f"of object {record.id.hex()}"
            group.problems.append((offset, f"wrong checksum of the body {whose}"))
        else:
            group.records.append(record)
        if any(data[body_end:next_offset]):
            group.untidy.append((body_end, "bytes other than zero behind the body"))
        offset = next_offset
    if data[offset:end].strip(b"\0"):
        group.untidy.append((offset, "bytes other than zero behind the last record"))


def check_group(group, chain, sequence, exact):
    """Everything of a group but its header's checksum; raises Invalid when it cannot be read on."""
    end = group.offset + group.length
    if group.length < BLOCK or group.length % BLOCK or end > len(group.segment.data):
        raise Invalid(f"group of {group.length} bytes")
    if chain is not None and group.chain != chain:
        raise Invalid("chain does not fit")
    if group.sequence != sequence if exact else group.sequence < sequence:
        raise Invalid(f"group starts at {group.sequence}, not {sequence}")
    if group.is_seal and group.length != BLOCK:
        raise Invalid(f"seal of {group.length} bytes")
    if group.durable >= group.sequence:
        group.untidy.append((group.offset, f"durable number {group.durable} is in its own future"))
    parse_records(group)


class Log:
    """All segments with a readable header, the groups that count, and the damage as
    [(name, text)]."""

    def __init__(self, folder, uuid, segment_size):
        self.folder, self.uuid, self.segment_size = folder, uuid, segment_size
        self.segments, self.groups, self.damage = [], [], []
        self.next_sequence, self.exact = 0, False
        self.last_number = 0
        self.open_segments()
        self.newest = max((s.number for s in self.segments if self.first_group_at(s)), default=0)
        for segment in self.segments:
            self.read_segment(segment)

    def open_segments(self):
        directory = os.path.join(self.folder, "log")
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            self.damage.append(("log", os.strerror(error.errno)))
            return
        for name in names:
            if name.endswith(".tmp"):
                continue
            if not re.fullmatch(r"[0-9]{8}\.seg", name) or name == "00000000.seg":
                self.damage.append((f"log/{name}", "not a segment"))
                continue
            self.open_segment(name)

    def open_segment(self, name):
        with open(os.path.join(self.folder, "log", name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        segment = Segment(int(name[:8]), f"log/{name}", data)
        try:
            parse_segment_header(segment, self.uuid)
        except Invalid as error:
            self.damage.append((segment.name, str(error)))
            return
        if len(data) != segment.size:
            self.damage.append(
                (segment.name, f"{len(data)} bytes long, its header says {segment.size}"))
        if segment.size > self.segment_size:
            self.damage.append((segment.name, f"larger than segment-size {self.segment_size}"))
        if any(data[64:BLOCK]):
            self.damage.append((segment.name, "bytes other than zero behind the header"))
        self.segments.append(segment)

    def first_group_at(self, segment, start=BLOCK, sequence=0, durable=0):
        """The first later offset whose group header has a fitting checksum and reaches these
        numbers; 0 if there is none."""
        for offset in range(start, len(segment.data), BLOCK):
            if segment.data[offset:offset + 4] != b"IGGR":
                continue
            try:
                group = parse_group_header(segment, offset)
            except Invalid:
                continue
            if group.sequence >= sequence and group.durable >= durable:
                return offset
        return 0

    def read_segment(self, segment):
        if segment.number > self.newest:
            segment.end, segment.end_reason = BLOCK, "no groups"
            return
        if segment.number != self.last_number + 1:
            self.exact = False
        self.last_number = segment.number
        offset, chain = BLOCK, xxh3(segment.data[:64], 0)
        while True:
            offset, chain = self.read_group(segment, offset, chain)
            if not offset:
                return

    def read_group(self, segment, offset, chain):
        """Reads one group. Returns the offset of the next, or 0, and the chain it must carry."""
        try:
            group = parse_group_header(segment, offset)
            check_group(group, chain, self.next_sequence, self.exact)
        except Invalid as error:
            return self.stop_or_skip(segment, offset, str(error))
        if group.problems and not self.is_damage(segment, offset):
            self.finish(segment, offset, group.problems[0][1])
            return 0, None
        self.name_problems(group)
        self.groups.append(group)
        self.next_sequence, self.exact = group.sequence + group.count, True
        if group.is_seal:
            self.finish(segment, offset + group.length, "seal")
            return 0, None
        return offset + group.length, xxh3(group.header, 0)

    def is_damage(self, segment, offset):
        """Whether an invalid group at `offset` is more than the mark of a power cut."""
        if segment.number != self.newest:
            return True
        reached = max(self.next_sequence, 1)
        return bool(self.first_group_at(segment, offset + BLOCK, durable=reached))

    def stop_or_skip(self, segment, offset, text):
        if not self.is_damage(segment, offset):
            self.finish(segment, offset, text)
            return 0, None
        self.damage.append((f"{segment.name}:{offset}", f"group damaged: {text}"))
        self.exact = False
        resume = self.first_group_at(segment, offset + BLOCK, sequence=self.next_sequence)
        if not resume:
            self.finish(segment, offset, "damage")
        return resume, None

    @staticmethod
    def finish(segment, offset, reason):
        segment.end, segment.end_reason = offset, reason

    def name_problems(self, group):
        for offset, text in group.problems:
            self.damage.append((f"{group.segment.name}:{offset}", f"record damaged: {text}"))
        for offset, text in group.untidy:
            self.damage.append((f"{group.segment.name}:{offset}", text))
