"""The reader against stores written byte by byte: good ones, damaged ones, torn tails."""

import os
import shutil
import subprocess
import sys
import unittest

import handmade
import ingot_reader
from handmade import BLOCK, OBJECT, HandStore, format_text, record
from support import DAMAGED, DONE, FAILED, NO_STORE, READER, WRONG_KEY, StoreCase, reader

KEY = bytes(range(32))
A, B, C, D = b"alpha", b"beta " * 700, b"", b"delta" * 3
LARGE = bytes(i * 7 % 256 for i in range(140_000))
LARGE_MIN = 65536
SEG1 = "log/00000001.seg"


class Handmade(StoreCase):
    def make(self, **options):
        return HandStore(self.store, large_min=LARGE_MIN, **options)

    def four_groups(self):
        """A..D in groups of their own, in segment 1; the offsets of the groups."""
        self.hand = self.make().begin()
        offsets = [self.hand.group(self.hand.object(data)) for data in (A, B, C, D)]
        self.end = len(self.hand.segment)
        self.hand.close()
        return offsets

    def listed(self, status=DONE):
        """The objects among A..D and LARGE that are in the store: {bytes: (size, refs)}."""
        names = {self.hand.id(data).hex(): data for data in (A, B, C, D, LARGE)}
        return {names[id_]: entry[:2] for id_, entry in self.list(status).items()}


class GoodStores(Handmade):
    def test_list__is_empty_for_a_new_store(self):
        self.make().begin().close()
        self.assertEqual(self.list(), {})
        self.assert_clean()

    def test_list__says_size_count_and_place(self):
        self.hand = self.make().begin()
        first = self.hand.group(self.hand.object(A, 3), self.hand.object(C))
        second = self.hand.group(self.hand.link(LARGE, 2))
        self.hand.close()
        self.assertEqual(self.list(), {
            self.hand.id(A).hex(): (len(A), 3, f"{SEG1}:{first + 64}"),
            self.hand.id(C).hex(): (0, 1, f"{SEG1}:{first + 64 + 96 + 8}"),
            self.hand.id(LARGE).hex(): (len(LARGE), 2, self.hand.link_name(LARGE))})
        self.assertEqual(second, first + BLOCK)
        self.assert_clean()

    def test_ref__changes_the_count(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A), hand.ref(A, 1), hand.ref(A, 1), hand.ref(A, -1))
        hand.group(hand.ref(B, 1), hand.object(D, 0), hand.ref(D, 5))
        hand.close()
        self.assertEqual(self.listed(), {A: (5, 2), D: (15, 5)})
        self.assert_clean()

    def test_limbo__hides_until_something_ends_it(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A, 0), hand.tombstone(A), hand.ref(A, 4))
        hand.group(hand.object(B, 7), hand.tombstone(B), hand.checkpoint(B, 1))
        hand.group(hand.object(C, 0), hand.tombstone(C), hand.object(C, 2))
        hand.group(hand.object(D, 0, flags=1), hand.checkpoint(LARGE, 9))
        hand.close()
        self.assertEqual(self.listed(), {B: (3500, 1), C: (0, 2)})
        self.assert_clean()

    def test_purge__forgets(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A, 0), hand.tombstone(A), hand.purge(A), hand.checkpoint(A, 3))
        hand.group(hand.object(B, 0), hand.purge(B), hand.object(B, 1))
        hand.close()
        self.assertEqual(self.listed(), {B: (3500, 1)})
        self.assert_clean()

    def test_segments__follow_each_other(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        hand.seal()
        hand.close()
        hand.begin().group(hand.ref(A, 1), hand.object(B))
        hand.close()
        hand.begin().close()
        self.assertEqual(self.listed(), {A: (5, 2), B: (3500, 1)})
        self.assert_clean()

    def test_segments__may_be_missing_after_cleaning(self):
        self.hand = hand = self.make().begin(4)
        hand.sequence = 1000
        hand.group(hand.object(A), durable=999)
        hand.seal()
        hand.close()
        hand.begin(9)
        hand.sequence += 100
        hand.group(hand.object(B))
        hand.close()
        self.assertEqual(self.listed(), {A: (5, 1), B: (3500, 1)})
        self.assert_clean()

    def test_segments__that_are_unfinished_are_ignored(self):
        self.four_groups()
        self.write("log/00000002.seg.tmp", b"half")
        self.assert_clean()

    def test_digests__all_three(self):
        for kind, key in (("blake3", None), ("sha256", None), ("blake3-keyed", KEY)):
            with self.subTest(kind=kind):
                shutil.rmtree(self.store, ignore_errors=True)
                self.hand = hand = self.make(kind=kind, key=key).begin()
                hand.group(hand.object(A), hand.object(B), hand.object(C), hand.link(LARGE))
                hand.close()
                with open(os.path.join(self.folder, "key"), "wb") as out:
                    out.write(KEY)
                self.assert_clean(*(["--key-file", out.name] if key else []))
                self.assertEqual(len(self.listed()), 4)

    def test_dump__has_a_line_for_everything(self):
        self.four_groups()
        code, out, _ = reader("dump", self.store)
        self.assertEqual(code, DONE)
        self.assertEqual([line.split(" ")[0] for line in out.splitlines()],
                         ["segment"] + ["group", "record"] * 4 + ["end"])

    def test_orphans__are_noted_and_no_damage(self):
        self.hand = hand = self.make().begin()
        hand.link(LARGE)
        hand.group(hand.object(A))
        hand.close()
        code, out, _ = reader("verify", self.store)
        self.assertEqual(code, DONE)
        self.assertIn(f"note orphan {hand.link_name(LARGE)}\n", out)
        self.assertIn(f"note orphan {hand.link_name(LARGE)}.tree\n", out)

    def test_index__is_not_looked_at(self):
        self.four_groups()
        os.mkdir(self.path("index"))
        self.write("index/CURRENT", b"nonsense")
        self.assert_clean()


class TornTails(Handmade):
    """A broken group at the end of the log is no damage: the log ends before it."""

    def test_last_group__cut_anywhere(self):
        offsets = self.four_groups()
        whole = self.read(SEG1)
        last = offsets[3]
        for cut in (0, 1, 63, 64, 100, 159, 160, 174):
            self.write(SEG1, whole[:last + cut].ljust(len(whole), b"\0"))
            self.assertEqual(set(self.listed()), {A, B, C}, cut)
            self.assert_clean()

    def test_last_group__every_byte_counts(self):
        last = self.four_groups()[3]
        used = 64 + 96 + len(D)
        for at in [*range(0, used, 5), used - 1]:
            self.flip(SEG1, last + at)
            self.assertEqual(set(self.listed()), {A, B, C}, at)
            self.flip(SEG1, last + at)
        self.assertEqual(set(self.listed()), {A, B, C, D})

    def test_last_group__counts_entirely_or_not_at_all(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        last = hand.group(hand.object(B), hand.object(D), hand.object(C))
        hand.close()
        self.flip(SEG1, last + 64 + 96 + len(B) + 4 + 96)
        self.assertEqual(self.listed(), {A: (5, 1)})
        self.assert_clean()

    def test_group_before_the_last__if_nothing_says_it_was_durable(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        second = hand.group(hand.object(B))
        hand.group(hand.object(C), durable=1)
        hand.close()
        self.flip(SEG1, second + 200)
        self.assertEqual(self.listed(), {A: (5, 1)})
        self.assert_clean()

    def test_first_group_of_the_newest_segment(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        hand.seal()
        hand.close()
        hand.begin()
        first = hand.group(hand.object(B))
        hand.close()
        hand.begin().close()
        self.flip("log/00000002.seg", first + 300)
        self.assertEqual(self.listed(), {A: (5, 1)})
        self.assert_clean()

    def test_remains_behind_a_new_group__are_not_its_successors(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        hand.group(hand.object(B), durable=1)
        third = hand.group(hand.object(C), durable=1)
        remains = bytes(hand.segment[third:])
        del hand.segment[third - BLOCK:]
        header = hand.segment[BLOCK:BLOCK + 64]
        hand.previous, hand.sequence, hand.durable, hand.opening = bytes(header), 2, 1, 2
        hand.group(hand.object(D))
        hand.segment += remains
        hand.close()
        self.assertEqual(self.listed(), {A: (5, 1), D: (15, 1)})
        self.assert_clean()

    def test_invalid_groups_at_the_end(self):
        """Each kind of wrong group, its checksums right, ends the log."""
        id_ = handmade.digest("blake3", D)
        good = {"size": len(D), "body": D}
        wrong = {
            "kind 0": dict(records=[record(0, id_)]),
            "kind 7": dict(records=[record(7, id_)]),
            "flag": dict(records=[record(OBJECT, id_, flags=2, **good)]),
            "limbo on a REF": dict(records=[record(handmade.REF, id_, flags=1)]),
            "encoding": dict(records=[record(OBJECT, id_, encoding=1, **good)]),
            "byte 7": dict(records=[record(OBJECT, id_, zero=1, **good)]),
            "size": dict(records=[record(OBJECT, id_, size=4, body=D)]),
            "body sum": dict(records=[record(OBJECT, id_, body_sum=1, **good)]),
            "sum without a body": dict(records=[record(handmade.REF, id_, body_sum=1)]),
            "body of a LINK": dict(records=[record(handmade.LINK, id_, **good)]),
            "chain": dict(records=[record(OBJECT, id_, **good)], chain=1),
            "sequence": dict(records=[record(OBJECT, id_, **good)], sequence=3),
        }
        for name, group in wrong.items():
            with self.subTest(name):
                shutil.rmtree(self.store, ignore_errors=True)
                self.hand = hand = self.make().begin()
                hand.group(hand.object(A))
                hand.group(*group.pop("records"), **group)
                hand.close()
                self.assertEqual(self.listed(), {A: (5, 1)})
                self.assert_clean()


class DamagedLogs(Handmade):
    def test_earlier_group__header(self):
        second = self.four_groups()[1]
        self.flip(SEG1, second + 20)
        self.assert_named(f"{SEG1}:{second}: group damaged")
        self.assertEqual(set(self.listed(DAMAGED)), {A, C, D})

    def test_earlier_group__body_names_the_object(self):
        second = self.four_groups()[1]
        self.flip(SEG1, second + 64 + 96 + 1000)
        found = self.assert_named(f"{SEG1}:{second + 64}: record damaged: wrong checksum of the")
        self.assertIn(self.hand.id(B).hex(), found[0])
        self.assertEqual(set(self.listed(DAMAGED)), {A, C, D})

    def test_earlier_group__record_header(self):
        second = self.four_groups()[1]
        self.flip(SEG1, second + 64 + 32)
        self.assert_named(f"{SEG1}:{second + 64}: record damaged: wrong checksum")

    def test_earlier_group__wiped(self):
        second = self.four_groups()[1]
        self.change(SEG1, second, bytes(BLOCK))
        self.assert_named(f"{SEG1}:{second}: group damaged: no group")

    def test_every_byte_before_the_last_group(self):
        last = self.four_groups()[3]
        spots = {*range(0, 64), *range(4096, 4096 + 170), *range(0, last, 211)}
        for at in sorted(spots):
            self.flip(SEG1, at)
            code, out, _ = reader("verify", self.store)
            self.assertEqual(code, DAMAGED, at)
            self.assertIn(f"damaged {SEG1}", out, at)
            self.flip(SEG1, at)
        self.assert_clean()

    def test_padding__is_zero(self):
        for at in (-1, 64 + 96 + len(A)):
            with self.subTest(at=at):
                shutil.rmtree(self.store, ignore_errors=True)
                offsets = self.four_groups()
                where = offsets[1] - 1 if at < 0 else offsets[0] + at
                self.change(SEG1, where, b"x")
                found = self.assert_named(f"{SEG1}:")
                self.assertIn("bytes other than zero", found[0])
                self.assertEqual(len(self.listed(DAMAGED)), 4)

    def test_left_segment__has_its_seal(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        unsealed = len(hand.segment)
        hand.close()
        hand.begin().group(hand.object(B))
        hand.close()
        self.assert_named(f"{SEG1}:{unsealed}: group damaged")
        self.assertEqual(set(self.listed(DAMAGED)), {A, B})

    def test_left_segment__is_damaged_at_its_end_too(self):
        self.hand = hand = self.make().begin()
        last = hand.group(hand.object(A))
        hand.seal()
        hand.close()
        hand.begin().group(hand.object(B))
        hand.close()
        self.flip(SEG1, last + 70)
        self.assert_named(f"{SEG1}:{last + 64}: record damaged")

    def test_seal__carries_the_next_number(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        wrong = hand.group(sequence=5)
        hand.close()
        hand.begin()
        hand.sequence = 2
        hand.group(hand.object(B))
        hand.close()
        self.assert_named(f"{SEG1}:{wrong}: group damaged")

    def test_segment__of_another_number_store_or_size(self):
        cases = {
            "header says": lambda: os.rename(self.path(SEG1), self.path("log/00000007.seg")),
            "another store": lambda: self.hand.begin(
                1, uuid=bytes.fromhex(handmade.OTHER_UUID.replace("-", ""))).close(),
            "bytes long": lambda: os.truncate(self.path(SEG1), self.end + BLOCK),
            "shorter than": lambda: os.truncate(self.path(SEG1), 0),
            "larger than segment-size": lambda: self.hand.begin(1, size=1 << 21).close(),
        }
        for text, harm in cases.items():
            with self.subTest(text):
                shutil.rmtree(self.store, ignore_errors=True)
                self.four_groups()
                harm()
                self.assertIn(text, self.assert_named("log/0000000")[0])

    def test_segments__that_change_places(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A))
        hand.seal()
        first = hand.close()
        hand.begin().group(hand.object(B))
        second = hand.close()
        os.rename(first, first + "x")
        os.rename(second, first)
        os.rename(first + "x", second)
        found = self.verify(DAMAGED)
        self.assertEqual([line.split(":")[0] for line in found], [SEG1, "log/00000002.seg"])

    def test_missing_log(self):
        self.four_groups()
        shutil.rmtree(self.path("log"))
        self.assert_named("log: ")


class DamagedObjects(Handmade):
    def linked(self, **options):
        self.hand = hand = self.make(**options).begin()
        hand.group(hand.link(LARGE), hand.object(A))
        hand.close()
        self.name = hand.link_name(LARGE)
        return f"object {hand.id(LARGE).hex()}"

    def test_bytes__that_are_not_those_of_the_id(self):
        """Checksums fit, the id does not."""
        for kind, key in (("blake3", None), ("sha256", None), ("blake3-keyed", KEY)):
            with self.subTest(kind):
                shutil.rmtree(self.store, ignore_errors=True)
                self.hand = hand = self.make(kind=kind, key=key).begin()
                hand.group(hand.object(A), record(OBJECT, hand.id(B), len(D), D, 1))
                hand.close()
                self.write("../key", KEY)
                args = ["--key-file", self.path("../key")] if key else []
                found = self.assert_named(f"object {hand.id(B).hex()}: bytes at {SEG1}", *args)
                self.assertEqual(len(found), 1)

    def test_file__flipped(self):
        for kind in ("blake3", "sha256"):
            with self.subTest(kind):
                shutil.rmtree(self.store, ignore_errors=True)
                object_ = self.linked(kind=kind)
                self.flip(self.name, 100_000)
                self.assert_named(f"{object_}: bytes at {self.name}")

    def test_file__truncated(self):
        object_ = self.linked()
        os.truncate(self.path(self.name), len(LARGE) - 1)
        self.assert_named(f"{object_}: {self.name} is 139999 bytes long")

    def test_file__missing(self):
        object_ = self.linked()
        os.unlink(self.path(self.name))
        self.assert_named(f"{object_}: {self.name}: No such file")

    def test_tree__missing_is_fine(self):
        self.linked()
        os.unlink(self.path(self.name + ".tree"))
        self.assert_clean()

    def test_tree__flipped_or_cut(self):
        self.linked()
        self.flip(self.name + ".tree", 40)
        self.assert_named(f"{self.name}.tree: does not lead")
        os.truncate(self.path(self.name + ".tree"), 64)
        self.assert_named(f"{self.name}.tree: 64 bytes long, not 96")

    def test_count__below_zero(self):
        self.hand = hand = self.make().begin()
        hand.group(hand.object(A), hand.ref(A, -2))
        hand.close()
        self.assert_named(f"object {hand.id(A).hex()}: count is -1")


class TheStoreItself(Handmade):
    def test_no_store(self):
        for command in ("list", "verify", "dump"):
            self.assertEqual(reader(command, self.folder)[0], NO_STORE)

    def test_program(self):
        self.four_groups()
        for args, status in ((["burn"], 2), (["verify"], DONE), (["list"], DONE)):
            done = subprocess.run([sys.executable, "-B", READER, *args, self.store],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            self.assertEqual((done.returncode, bool(done.stdout)), (status, status == DONE))

    def test_other_format_number(self):
        self.four_groups()
        self.write("FORMAT", format_text(version=2))
        code, _, err = reader("list", self.store)
        self.assertEqual((code, err), (FAILED, "format 2 is not 1\n"))

    def test_format__every_byte(self):
        self.four_groups()
        for at in range(len(self.read("FORMAT"))):
            self.flip("FORMAT", at)
            with self.assertRaises(ingot_reader.ReaderError) as caught:
                ingot_reader.read_format(self.store)
            self.assertEqual(caught.exception.status, DAMAGED, at)
            self.flip("FORMAT", at)

    def test_format__lines_in_another_order(self):
        good = format_text().decode().splitlines()[:-1]
        for lines in (good[:1] + good[2:], good[:3] + good[4:5] + good[3:4] + good[5:], good[:-1],
                      good + ["more 1"]):
            body = "".join(line + "\n" for line in lines).encode()
            sum_ = handmade.blake3_python(body).hex().encode()
            with self.assertRaises(ingot_reader.Invalid):
                ingot_reader.parse_format(body + b"checksum " + sum_ + b"\n")

    def test_key(self):
        hand = self.make(kind="blake3-keyed", key=KEY).begin()
        hand.group(hand.object(A))
        hand.close()
        self.write("../key", KEY)
        self.write("../hex", KEY.hex().encode() + b"\n")
        self.write("../wrong", bytes(32))
        for name, status in (("key", DONE), ("hex", DONE), ("wrong", WRONG_KEY)):
            self.assertEqual(reader("verify", self.store, "--key-file",
                                    os.path.join(self.folder, name))[0], status)
        self.assertEqual(reader("verify", self.store)[0], WRONG_KEY)
        self.assertEqual(reader("list", self.store)[0], DONE)


if __name__ == "__main__":
    unittest.main()
