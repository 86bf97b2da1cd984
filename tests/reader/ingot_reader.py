#!/usr/bin/env python3
"""An independent reader of stores, written from docs/format.md alone. It never looks at index/.

    ingot_reader.py list STORE                     ID SIZE REFS PLACE of each object in the store
    ingot_reader.py verify STORE [--key-file FILE] names all damage
    ingot_reader.py dump STORE                     each segment, group and record, one line each

PLACE is `log/NNNNNNNN.seg:OFFSET` of the OBJECT record, or the object's file. FILE holds the key of
a keyed store, 32 bytes or 64 hex digits. Exit: 0 done, 1 failed, 2 usage, 10 no store, 12 no or
wrong key, 14 damage found (named on standard output by verify, else on standard error).
"""

import argparse
import os
import re
import string
import sys
from dataclasses import dataclass

from digests import Digester, TREE_GROUP, blake3_python, root_of_tree
from storelog import (BLOCK, CHECKPOINT, FORMAT_VERSION, KIND_NAMES, LIMBO, LINK, OBJECT, PURGE,
                      TOMBSTONE, Invalid, Log, Record)

FORMAT_MAX = 4096
DIGESTS = ("blake3", "sha256", "blake3-keyed")
KEY_CHECK = b"ingot key check 1"
EXIT_FAILED, EXIT_NO_STORE, EXIT_WRONG_KEY, EXIT_DAMAGED = 1, 10, 12, 14


class ReaderError(Exception):
    """The store cannot be read at all; carries the exit status."""

    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


# ---- FORMAT ----------------------------------------------------------------------------------

NUMBER = r"(?:0|[1-9][0-9]{0,18})"
FORMAT_LINES = (
    ("ingot", r"store"),
    ("format", NUMBER),
    ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ("digest", "|".join(DIGESTS)),
    ("key-check", r"[0-9a-f]{64}"),
    ("large-min", NUMBER),
    ("segment-size", NUMBER),
    ("log-align", str(BLOCK)),
    ("created", f"-?{NUMBER}"),
)


def parse_format(data):
    """The lines of FORMAT as a dictionary; raises Invalid."""
    if len(data) > FORMAT_MAX:
        raise Invalid(f"is {len(data)} bytes long")
    body, mark, checksum = data.rpartition(b"checksum ")
    if not mark or checksum != blake3_python(body).hex().encode() + b"\n":
        raise Invalid("wrong checksum")
    start = re.match(rb"ingot store\nformat ([0-9]+)\n", data)
    if start and int(start[1]) != FORMAT_VERSION:
        raise ReaderError(f"format {int(start[1])} is not {FORMAT_VERSION}", EXIT_FAILED)
    lines = body.decode("ascii", "replace").split("\n")
    values = {}
    for name, pattern in FORMAT_LINES:
        if name == "key-check" and values["digest"] != "blake3-keyed":
            continue
        line = lines.pop(0) if lines else ""
        if not re.fullmatch(f"{name} (?:{pattern})", line):
            raise Invalid(f"line {line!r} where '{name}' belongs")
        values[name] = line.split(" ")[1]
    if lines != [""]:
        raise Invalid(f"unknown line {lines[0]!r}")
    return values


def read_format(folder):
    path = os.path.join(folder, "FORMAT")
    try:
        with open(path, "rb") as file:
            return parse_format(file.read())
    except FileNotFoundError:
        raise ReaderError(f"{folder}: no store here", EXIT_NO_STORE) from None
    except Invalid as error:
        raise ReaderError(f"damaged FORMAT: {error}", EXIT_DAMAGED) from None


def open_log(folder, fmt):
    return Log(folder, bytes.fromhex(fmt["uuid"].replace("-", "")), int(fmt["segment-size"]))


def read_key(fmt, path):
    """The key of a keyed store, checked against FORMAT; None for another store."""
    if fmt["digest"] != "blake3-keyed":
        if path:
            raise ReaderError("the store takes no key", EXIT_WRONG_KEY)
        return None
    if not path:
        raise ReaderError("the store needs a key", EXIT_WRONG_KEY)
    with open(path, "rb") as file:
        data = file.read()
    digits = data.decode("ascii", "replace").strip()
    if len(data) != 32 and len(digits) == 64 and set(digits) <= set(string.hexdigits):
        data = bytes.fromhex(digits)
    if len(data) != 32 or blake3_python(KEY_CHECK, data).hex() != fmt["key-check"]:
        raise ReaderError("not the key of this store", EXIT_WRONG_KEY)
    return data


# ---- The state -------------------------------------------------------------------------------


@dataclass
class Entry:
    record: Record  # the OBJECT or LINK that counts
    references: int
    time: int
    limbo: bool

    @property
    def place(self):
        return (object_path(self.record.id) if self.record.kind == LINK else self.record.place)


def object_path(id_):
    return f"objects/{id_.hex()[:2]}/{id_.hex()}"


def state_of(log):
    """What docs/format.md's table makes of the records: id -> Entry, limbo included."""
    state = {}
    for group in log.groups:
        for record in group.records:
            apply_record(state, record)
    return state


def apply_record(state, record):
    if record.kind in (OBJECT, LINK):
        limbo = bool(record.flags & LIMBO)
        state[record.id] = Entry(record, record.references, record.aux, limbo)
        return
    if record.kind == PURGE:
        state.pop(record.id, None)
        return
    entry = state.get(record.id)
    if not entry:
        return
    if record.kind == CHECKPOINT:
        entry.references, entry.time, entry.limbo = record.references, record.aux, False
    elif record.kind == TOMBSTONE:
        entry.references, entry.limbo = 0, True
    elif not entry.limbo:
        entry.references += record.references


# ---- Verification ----------------------------------------------------------------------------


class Verifier:
    def __init__(self, folder, fmt, key, log):
        self.folder, self.fmt, self.key, self.log = folder, fmt, key, log
        self.damage = list(log.damage)
        self.notes = []
        self.bytes = 0

    def run(self):
        state = state_of(self.log)
        digester = Digester(self.fmt["digest"], self.key, self.report_bytes)
        for group in self.log.groups:
            for record in group.records:
                if record.kind == OBJECT:
                    self.bytes += record.size
                    self.check_home(record)
                    digester.add(record.body, record.id, (record.id, record.place))
        for id_, entry in sorted(state.items()):
            if entry.record.kind == LINK:
                self.check_home(entry.record)
                self.check_large(digester, id_, entry.record.size)
            if entry.references < 0:
                self.damage.append((f"object {id_.hex()}", f"count is {entry.references}"))
        digester.flush()
        self.check_files(state)
        return state

    def check_home(self, record):
        if (record.size >= int(self.fmt["large-min"])) != (record.kind == LINK):
            self.damage.append((f"object {record.id.hex()}",
                                f"{record.size} bytes, {record.place} is the wrong kind of place"))

    def report_bytes(self, tag):
        id_, place = tag
        self.damage.append((f"object {id_.hex()}", f"bytes at {place} do not match the id"))

    def check_large(self, digester, id_, size):
        name = object_path(id_)
        path = os.path.join(self.folder, name)
        try:
            found = os.lstat(path).st_size
            if found != size:
                self.damage.append(
                    (f"object {id_.hex()}", f"{name} is {found} bytes long, not {size}"))
            else:
                digester.add_file(path, id_, (id_, name))
                self.bytes += size
        except OSError as error:
            self.damage.append((f"object {id_.hex()}", f"{name}: {os.strerror(error.errno)}"))

    def check_tree(self, name, id_, size):
        with open(os.path.join(self.folder, name), "rb") as file:
            tree = file.read()
        groups = (size + TREE_GROUP - 1) // TREE_GROUP
        if len(tree) != 32 * groups:
            self.damage.append((name, f"{len(tree)} bytes long, not {32 * groups}"))
        elif groups < 2:
            self.damage.append((name, "a tree of one group cannot be checked against its id"))
        elif root_of_tree(tree, self.key) != id_:
            self.damage.append((name, "does not lead to the id"))

    def check_files(self, state):
        directory = os.path.join(self.folder, "objects")
        for path, _, files in sorted(os.walk(directory)):
            for file in sorted(files):
                name = os.path.relpath(os.path.join(path, file), self.folder)
                stem = name.removesuffix(".tree")
                id_ = bytes.fromhex(file[:64]) if re.match(r"[0-9a-f]{64}", file) else b""
                entry = state.get(id_)
                if not entry or entry.record.kind != LINK or stem != object_path(id_):
                    self.notes.append(f"orphan {name}")
                elif stem != name and self.fmt["digest"] == "sha256":
                    self.damage.append((name, "a tree in a store that has none"))
                elif stem != name:
                    self.check_tree(name, id_, entry.record.size)


# ---- The command -----------------------------------------------------------------------------


def print_list(log):
    for id_, entry in sorted(state_of(log).items()):
        if not entry.limbo:
            print(id_.hex(), entry.record.size, entry.references, entry.place)


def print_dump(log):
    groups = {}
    for group in log.groups:
        groups.setdefault(group.segment.number, []).append(group)
    for segment in log.segments:
        print(f"segment {segment.name} size={segment.size} salt={segment.salt:016x} "
              f"created={segment.created}")
        for group in groups.get(segment.number, ()):
            print(f"{'seal' if group.is_seal else 'group'} {group.place} records={group.count} "
                  f"length={group.length} seq={group.sequence} durable={group.durable} "
                  f"nonce={group.nonce:016x} chain={group.chain:016x} time={group.time}")
            for record in group.records:
                print(f"record {record.place} {KIND_NAMES[record.kind]} seq={record.sequence} "
                      f"id={record.id.hex()} size={record.size} refs={record.references} "
                      f"aux={record.aux}{' limbo' if record.flags & LIMBO else ''}")
        print(f"end {segment.name}:{segment.end} {segment.end_reason}")


def print_damage(damage, stream):
    for name, text in damage:
        print(f"damaged {name}: {text}", file=stream)
    return EXIT_DAMAGED if damage else 0


def verify(folder, fmt, key, log):
    verifier = Verifier(folder, fmt, key, log)
    state = verifier.run()
    for note in verifier.notes:
        print(f"note {note}")
    status = print_damage(verifier.damage, sys.stdout)
    limbo = sum(entry.limbo for entry in state.values())
    records = sum(len(group.records) for group in log.groups)
    print(f"{'damaged' if status else 'clean'} store: {len(log.segments)} segments, "
          f"{len(log.groups)} groups, {records} records, {len(state) - limbo} objects, "
          f"{limbo} in limbo, {verifier.bytes} bytes read")
    return status


def main(argv=None):
    parser = argparse.ArgumentParser(description="An independent reader of ingot stores.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("list", "verify", "dump"):
        command = commands.add_parser(name)
        command.add_argument("store")
        if name == "verify":
            command.add_argument("--key-file")
    args = parser.parse_args(argv)
    try:
        fmt = read_format(args.store)
        key = read_key(fmt, args.key_file) if args.command == "verify" else None
        log = open_log(args.store, fmt)
    except ReaderError as error:
        print(error, file=sys.stdout if error.status == EXIT_DAMAGED else sys.stderr)
        return error.status
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    if args.command == "verify":
        return verify(args.store, fmt, key, log)
    (print_list if args.command == "list" else print_dump)(log)
    return print_damage(log.damage, sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
