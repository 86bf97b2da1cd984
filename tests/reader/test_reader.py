"""The reader against stores that the `ingot` command makes: both must tell the same."""

import json
import os
import random
import shutil
import subprocess
import time
import unittest

import ingot_reader
from handmade import HandStore
from support import DAMAGED, DONE, StoreCase, reader

INGOT = os.environ.get("INGOT", "ingot")
SEED = int(os.environ.get("INGOT_TEST_SEED", "1"))
RECORD_HEADER = 96
SMALL = ("--large-min=64K", "--segment-size=1M")
KINDS = ("blake3", "sha256", "blake3-keyed")
MIB = 1 << 20


class CommandCase(StoreCase):
    def setUp(self):
        super().setUp()
        self.source = random.Random(SEED)
        self.key_args = []

    def ingot(self, *args, status=0, data=b""):
        done = subprocess.run([INGOT, "-C", self.store, *self.key_args, *args], input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, status, (args, done.stdout[-500:], done.stderr))
        return done.stdout.decode()

    def json_lines(self, *args):
        return [json.loads(line) for line in self.ingot("--json", *args).splitlines()]

    def init(self, *args, kind="blake3"):
        if kind == "blake3-keyed":
            path = os.path.join(self.folder, "key")
            with open(path, "wb") as out:
                out.write(bytes(range(32)))
            os.chmod(path, 0o600)
            self.key_args = ["--key-file", path]
        self.ingot("init", f"--digest={kind}", *args)

    def file(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as out:
            out.write(data)
        return path

    def put(self, *blobs):
        """Puts each as a file, in one command; their ids."""
        paths = [self.file(f"blob{i}", data) for i, data in enumerate(blobs)]
        return [line.split(" ")[0] for line in self.ingot("put", *paths).splitlines()]

    def told(self):
        """{id: (size, refs, place, time)} as the command tells it."""
        listed = self.json_lines("ls")
        ids = [line["id"] for line in listed]
        stats = []
        for at in range(0, len(ids), 200):
            stats += self.json_lines("stat", *ids[at:at + 200])
        for one, other in zip(listed, stats):
            for name in ("id", "size", "refs", "stored_ms", "place"):
                self.assertEqual(one[name], other[name])
        return {line["id"]: (line["size"], line["refs"], self.place(line), line["stored_ms"])
                for line in stats}

    @staticmethod
    def place(line):
        if line["place"] == "file":
            return f"objects/{line['id'][:2]}/{line['id']}"
        return f"log/{line['segment']:08}.seg:{line['offset'] - RECORD_HEADER}"

    def times(self):
        """{id: time}, as the reader's state has it."""
        log = ingot_reader.open_log(self.store, ingot_reader.read_format(self.store))
        return {id_.hex(): entry.time for id_, entry in ingot_reader.state_of(log).items()}

    def dump(self, *kinds):
        code, out, err = reader("dump", self.store)
        self.assertEqual((code, err), (DONE, ""))
        lines = [line.split(" ") for line in out.splitlines()]
        return [line for line in lines if line[0] in kinds]

    def kinds(self):
        return {line[2] for line in self.dump("record")}

    def assert_same(self):
        """Command and reader tell the same, and the reader finds nothing wrong."""
        told, times = self.told(), self.times()
        listed = {id_: (*entry, times[id_]) for id_, entry in self.list().items()}
        self.assertEqual(listed, told)
        self.assert_clean(*self.key_args)
        return told

    def blob(self, size):
        return self.source.randbytes(size)


class SameStory(CommandCase):
    def test_new_store(self):
        for kind in KINDS:
            with self.subTest(kind):
                shutil.rmtree(self.store, ignore_errors=True)
                self.key_args = []
                self.init(kind=kind)
                self.assertEqual(self.assert_same(), {})

    def test_objects_of_all_sizes(self):
        sizes = (0, 1, 7, 8, 9, 240, 1024, 4096, 65535, 65536, 200_000, MIB - 1, MIB, 3 * MIB + 5)
        for kind in KINDS:
            with self.subTest(kind):
                shutil.rmtree(self.store, ignore_errors=True)
                self.key_args = []
                self.init(kind=kind)
                ids = self.put(*(self.blob(size) for size in sizes))
                told = self.assert_same()
                self.assertEqual([told[id_][0] for id_ in ids], list(sizes))

    def test_large_objects_around_the_groups_of_their_tree(self):
        self.init("--large-min=4K", "--segment-size=1M")
        self.put(*(self.blob(size) for size in (4095, 4096, 65535, 65536, 65537, 131072, 131073)))
        self.assert_same()

    def test_duplicates_and_references(self):
        self.init(*SMALL)
        one, two, three = self.blob(500), b"", self.blob(70_000)
        ids = self.put(one, two, three, one, one, three)
        told = self.assert_same()
        self.assertEqual([told[id_][1] for id_ in ids[:3]], [3, 1, 2])
        self.ingot("ref", ids[1])
        self.ingot("unref", ids[0], ids[2])
        self.put(three)
        told = self.assert_same()
        self.assertEqual([told[id_][1] for id_ in ids[:3]], [2, 2, 2])
        self.assertEqual(self.kinds(), {"OBJECT", "LINK", "REF"})

    def test_many_openings(self):
        self.init(*SMALL)
        for i in range(12):
            self.put(self.blob(100 + i))
        self.assertEqual(len(self.assert_same()), 12)
        nonces = {field for line in self.dump("group") for field in line if "nonce=" in field}
        self.assertEqual(len(nonces), 12)

    def test_many_segments(self):
        self.init(*SMALL)
        for _ in range(3):
            self.put(*(self.blob(20_000) for _ in range(60)))
        self.assertEqual(len(self.assert_same()), 180)
        self.assertGreaterEqual(len(self.dump("seal")), 3)

    def test_batch(self):
        self.init(*SMALL)
        lines = "".join(f"put {self.file(f's{i}', self.blob(3000))}\n" for i in range(200))
        self.ingot("batch", data=lines.encode())
        self.assertEqual(len(self.assert_same()), 200)


class Collection(CommandCase):
    def gone(self, *args):
        return self.json_lines("gc", *args)[0]

    def test_limbo_and_back(self):
        self.init(*SMALL)
        ids = self.put(self.blob(500), self.blob(90_000), self.blob(600), b"")
        self.ingot("unref", *ids[:3])
        self.assert_same()
        self.gone("--grace=0", "--limbo=1h", "--no-clean")
        self.assertEqual(set(self.assert_same()), {ids[3]})
        self.assertEqual(self.kinds(), {"OBJECT", "LINK", "REF", "TOMBSTONE"})
        self.ingot("ref", ids[0])
        self.ingot("ref", ids[1])
        self.assertEqual(set(self.assert_same()), {ids[0], ids[1], ids[3]})

    def test_purge_and_the_same_bytes_again(self):
        self.init(*SMALL)
        small, large = self.blob(500), self.blob(90_000)
        ids = self.put(small, large, b"kept")
        self.ingot("unref", *ids[:2])
        self.gone("--grace=0", "--limbo=0")
        self.gone("--grace=0", "--limbo=0")
        self.assertEqual(set(self.assert_same()), {ids[2]})
        self.put(small, large, small)
        told = self.assert_same()
        self.assertEqual([told[id_][1] for id_ in ids], [2, 1, 1])

    def test_cleaning(self):
        self.init(*SMALL)
        rounds = [self.put(*(self.blob(20_000) for _ in range(60))) for _ in range(3)]
        large = self.put(*(self.blob(100_000) for _ in range(4)))
        for ids in rounds:
            self.ingot("ref", *ids[::7])
            self.ingot("unref", *(id_ for i, id_ in enumerate(ids) if i % 7))
        self.ingot("unref", *large[:2])
        self.assert_same()
        self.gone("--grace=0", "--limbo=1h")
        self.assert_same()
        report = self.gone("--grace=0", "--limbo=0")
        told = self.assert_same()
        for _ in range(3):
            cleaned = self.gone("--grace=0", "--limbo=0")["segments_cleaned"]
            report["segments_cleaned"] += cleaned
            self.assertEqual({id_: entry[:2] for id_, entry in self.assert_same().items()},
                             {id_: entry[:2] for id_, entry in told.items()})
        self.assertGreater(report["segments_cleaned"], 0)
        self.assertEqual(set(told), {id_ for ids in rounds for id_ in ids[::7]} | set(large[2:]))

    def test_index_made_anew(self):
        self.init(*SMALL)
        ids = self.put(*(self.blob(25_000) for _ in range(60)), self.blob(70_000))
        self.ingot("ref", *ids[8:20], *ids[15:30], ids[-1])
        self.ingot("unref", *ids[:10])
        self.gone("--grace=0", "--limbo=0")
        told = self.assert_same()
        shutil.rmtree(self.path("index"))
        self.assertEqual({id_: entry[:3] for id_, entry in told.items()}, self.list())
        self.ingot("repair", "--rebuild-index")
        self.assertEqual(self.assert_same(), told)


class Harm(CommandCase):
    """A store of the command's making, then one change to one file of it."""

    def setUp(self):
        super().setUp()
        self.init(*SMALL)
        self.ids = [self.put(self.blob(size))[0] for size in (3000, 70_000, 200_000, 0, 5000)]
        self.put(*(self.blob(20_000) for _ in range(60)))
        self.ids.append(self.put(self.blob(9000))[0])
        self.groups = [line[1].split(":") for line in self.dump("group", "seal")]
        self.good = self.store + ".good"
        shutil.copytree(self.store, self.good)

    def restore(self):
        shutil.rmtree(self.store)
        shutil.copytree(self.good, self.store)

    def where(self, id_):
        """(segment's name, offset of the record)."""
        name, offset = self.list()[id_][2].split(":")
        return name, int(offset)

    def test_flip__in_a_body(self):
        name, at = self.where(self.ids[0])
        self.flip(name, at + RECORD_HEADER + 1234)
        found = self.assert_named(f"{name}:{at}")
        self.assertIn(self.ids[0], found[0])

    def test_flip__in_headers(self):
        name, at = self.where(self.ids[0])
        group = at - 64
        spots = [(0, name), (40, name), (63, name), (900, name)]
        spots += [(group + i, f"{name}:{group}") for i in (0, 4, 9, 16, 24, 32, 40, 48, 63)]
        spots += [(at + i, f"{name}:{at}") for i in (0, 4, 5, 7, 8, 16, 30, 40, 64, 72, 80, 95)]
        for offset, where in spots:
            with self.subTest(offset=offset):
                self.flip(name, offset)
                self.assert_named(where)
                self.flip(name, offset)
        self.assert_clean()

    def test_flip__in_a_seal(self):
        seal = self.dump("seal")[0][1]
        name, offset = seal.split(":")
        self.flip(name, int(offset) + 20)
        self.assert_named(seal)

    def test_large_object(self):
        name = self.list()[self.ids[2]][2]
        size = os.path.getsize(self.path(name))
        self.flip(name, 123_456)
        self.assert_named(f"object {self.ids[2]}")
        self.restore()
        for left in (0, size // 2, size - 1):
            os.truncate(self.path(name), left)
            self.assert_named(f"object {self.ids[2]}")
            self.restore()
        os.unlink(self.path(name))
        self.assert_named(f"object {self.ids[2]}")

    def test_tree_file(self):
        name = self.list()[self.ids[2]][2] + ".tree"
        self.assertEqual(len(self.read(name)), 4 * 32)
        self.flip(name, 99)
        self.assert_named(name)
        self.restore()
        os.truncate(self.path(name), 64)
        self.assert_named(name)

    def test_large_objects__that_change_places(self):
        listed = self.list()
        one, other = (self.path(listed[id_][2]) for id_ in self.ids[1:3])
        os.rename(one, one + ".x")
        os.rename(other, one)
        os.rename(one + ".x", other)
        found = self.verify(DAMAGED)
        for id_ in self.ids[1:3]:
            self.assertTrue(any(line.startswith(f"object {id_}") for line in found))

    def test_segment__truncated_or_foreign(self):
        name = self.groups[0][0]
        size = os.path.getsize(self.path(name))
        for left in (0, 4095, 4096, size // 2, size - 1):
            os.truncate(self.path(name), left)
            self.assert_named(name)
            self.restore()
        other = os.path.join(self.folder, "other")
        subprocess.run([INGOT, "-C", other, "init", *SMALL], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([INGOT, "-C", other, "put", self.file("x", b"x")], check=True,
                       stdout=subprocess.DEVNULL)
        shutil.copy(os.path.join(other, "log", "00000001.seg"), self.path(name))
        self.assert_named(name)

    def test_format(self):
        for at in range(0, len(self.read("FORMAT")), 13):
            self.flip("FORMAT", at)
            code, out, _ = reader("verify", self.store)
            self.assertEqual(code, DAMAGED, at)
            self.assertTrue(out.startswith("damaged FORMAT: "))
            self.flip("FORMAT", at)

    def test_torn_tail__is_no_damage_and_the_command_agrees(self):
        whole = self.list()
        name, start = self.groups[-1][0], int(self.groups[-1][1])
        for harm in ("header", "body", "zeros from the middle"):
            with self.subTest(harm):
                self.restore()
                if harm == "header":
                    self.flip(name, start + 50)
                elif harm == "body":
                    self.flip(name, start + 64 + RECORD_HEADER + 4000)
                else:
                    data = self.read(name)
                    self.write(name, data[:start + 512].ljust(len(data), b"\0"))
                self.assert_clean()
                self.assertEqual(set(whole) - set(self.list()), {self.ids[-1]})
                shutil.rmtree(self.path("index"))
                self.ingot("repair", "--rebuild-index")
                self.assert_same()
                self.put(b"after")
                self.assert_same()

    def test_random_flips__are_named_or_at_the_end(self):
        print(f"seed {SEED}")
        used = [(name, start, end) for name, start, end in self.extents()]
        for _ in range(60):
            name, start, end = self.source.choice(used)
            at = self.source.randrange(start, end)
            bit = 1 << self.source.randrange(8)
            self.flip(name, at, bit)
            if self.groups[-1] == [name, str(start)]:
                self.assertIn(reader("verify", self.store)[0], (DONE, DAMAGED))
            else:
                self.assert_named(name)
            self.flip(name, at, bit)
        self.assert_clean()

    def extents(self):
        """(segment, start, end) of each group."""
        for line in self.dump("group", "seal"):
            name, start = line[1].split(":")
            length = next(int(f[7:]) for f in line if f.startswith("length="))
            yield name, int(start), int(start) + length


class Handmade(CommandCase):
    """Stores that only docs/format.md made, in the command's hands."""

    def hand(self, number=1):
        hand = HandStore(self.store, large_min=65536)
        hand.make_object_folders()
        return hand.begin(number)

    def take_over(self):
        """The command makes the index, agrees with the reader, and goes on writing."""
        before = self.list()
        self.ingot("repair", "--rebuild-index")
        self.assertEqual({id_: entry[:3] for id_, entry in self.assert_same().items()}, before)
        self.ingot("check", "--read-data")
        self.put(b"one more", self.blob(80_000))
        self.assertEqual(len(self.assert_same()), len(before) + 2)

    def test_every_kind_of_record(self):
        hand = self.hand()
        a, b, c, d, large = b"a", b"b" * 4000, b"", self.blob(30_000), self.blob(140_000)
        hand.group(hand.object(a, 3), hand.ref(a, -1), hand.object(b), hand.object(c, 0))
        hand.group(hand.link(large, 2), hand.object(d, 1), hand.checkpoint(d, 7))
        hand.seal()
        hand.close()
        hand.begin()
        hand.group(hand.ref(b, -1), hand.tombstone(b), hand.ref(b, 1), hand.ref(large, 1))
        hand.group(hand.tombstone(c), hand.checkpoint(c, 1), hand.tombstone(a), hand.purge(a))
        hand.close()
        self.assertEqual({entry[:2] for entry in self.list().values()},
                         {(0, 1), (30_000, 7), (140_000, 3)})
        self.take_over()

    def test_gaps_and_numbers_that_start_late(self):
        hand = self.hand(5)
        hand.sequence = 1000
        hand.group(hand.object(b"a"), durable=999)
        hand.seal()
        hand.close()
        hand.begin(9)
        hand.sequence += 50
        hand.group(hand.object(b"b"), hand.ref(b"a", 1), hand.ref(b"elsewhere", 1))
        hand.close()
        self.take_over()

    def test_torn_tail(self):
        hand = self.hand()
        hand.group(hand.object(b"a"))
        torn = hand.group(hand.object(b"b"), hand.object(b"c" * 9000))
        name = os.path.relpath(hand.close(), self.store)
        self.flip(name, torn + 64 + 104 + 96 + 5000)
        self.assertEqual(len(self.list()), 1)
        self.take_over()


class Crash(CommandCase):
    def test_killed_writer__leaves_a_log_both_read_alike(self):
        self.init(*SMALL)
        lines = [f"put {self.file(f's{i}', self.blob(5000))}\n" for i in range(2000)]
        requests = self.file("requests", "".join(lines).encode())
        for wait in (0.05, 0.2, 0.4):
            with open(requests, "rb") as data:
                with subprocess.Popen([INGOT, "-C", self.store, "batch"], stdin=data,
                                      stdout=subprocess.DEVNULL) as writer:
                    time.sleep(wait)
                    writer.kill()
            self.assert_clean()
            before = self.list()
            self.put(b"reopened %f" % wait)
            after = {id_: entry[:2] for id_, entry in self.assert_same().items()}
            self.assertLessEqual({id_: e[:2] for id_, e in before.items()}.items(), after.items())
            self.assertEqual(len(after), len(before) + 1)


if __name__ == "__main__":
    unittest.main()
