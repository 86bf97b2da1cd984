import os
import shutil
import unittest

import support
from support import StoreTest, random_bytes


class TestCheck(StoreTest):
    init_options = ("--segment-size=1M", "--large-min=64K")

    def setUp(self):
        super().setUp()
        self.small_data = b"needle in a segment " * 20
        self.large_data = random_bytes(300_000)
        self.small = self.put(self.small_data)
        self.large = self.put(self.large_data)
        self.others = [self.put(b"other %d" % i) for i in range(5)]

    def files(self, part):
        for where, _, names in os.walk(os.path.join(self.store, part)):
            for name in names:
                yield os.path.join(where, name)

    def damage(self, data, part):
        """Flips a bit of `data` where it lies in the store; the path of the file."""
        self.damaged = True
        needle = data[100:200]
        for path in self.files(part):
            content = open(path, "rb").read()
            at = content.find(needle)
            if at >= 0:
                with open(path, "r+b") as out:
                    out.seek(at + 50)
                    out.write(bytes([content[at + 50] ^ 1]))
                return path
        self.fail(f"the bytes are nowhere under {part}")

    def test_check__clean(self):
        self.assertTrue(self.run_command("check").decode().endswith("\nclean\n"))
        report, = self.run_json("check", "--read-data")
        self.assertEqual((report["message_type"], report["clean"], report["damaged"]),
                         ("check", True, []))
        self.assertEqual((report["objects"], report["objects_read"]), (7, 7))
        self.assertEqual(report["bytes_read"] >= 300_000, True)
        self.run_command("check", "--read-data=50%")
        self.run_command("check", "--read-data=1")
        self.assertEqual(self.run_command("-q", "check"), b"")

    def test_check__usage(self):
        for value in ("0", "101%", "200"):
            self.run_command("check", f"--read-data={value}", code=support.USAGE,
                             says="out of range")
        for value in ("x", "-5", "5%%"):
            self.run_command("check", f"--read-data={value}", code=support.USAGE,
                             says="percentage")
        self.run_command("check", "extra", code=support.USAGE, says="extra")

    def check_damage(self, identity):
        report = self.run_json("check", "--read-data", code=support.CORRUPT, says=[])[0]
        self.assertEqual((report["clean"], report["damaged"]), (False, [identity]))
        out = self.run_command("check", "--read-data", code=support.CORRUPT, says=[])
        self.assertIn(f"damaged {identity}\n".encode(), out)
        self.assertEqual(self.run_command("get", identity, code=support.CORRUPT, says=identity),
                         b"")
        self.run_command("get", "-o", self.path("x"), identity, code=support.CORRUPT,
                         says=identity)
        self.assertFalse(os.path.exists(self.path("x")))
        for number, other in enumerate(self.others):
            self.assertEqual(self.get(other), b"other %d" % number)

    def test_check__names_a_damaged_small_object(self):
        self.damage(self.small_data, "log")
        self.check_damage(self.small)
        self.assertEqual(self.get(self.large), self.large_data)

    def test_check__names_a_damaged_large_object(self):
        self.damage(self.large_data, "objects")
        self.check_damage(self.large)
        self.assertEqual(self.get(self.small), self.small_data)

    def test_check__names_a_missing_large_object(self):
        self.damaged = True
        path = next(p for p in self.files("objects") if os.path.getsize(p) >= 300_000)
        os.unlink(path)
        report = self.run_json("check", code=support.CORRUPT, says=[])[0]
        self.assertEqual(report["damaged"], [self.large])
        self.run_command("get", self.large, code=support.CORRUPT, says=self.large)
        self.run_command("has", self.others[0])

    def test_get__damage_outranks_absence(self):
        self.damage(self.small_data, "log")
        self.run_command("get", "-d", self.path("out"), "0" * 64, self.small, self.others[0],
                         code=support.CORRUPT, says=["0" * 64, self.small])
        self.assertEqual(os.listdir(self.path("out")), [self.others[0]])


class TestRepair(StoreTest):
    def test_repair__makes_a_lost_index_again(self):
        ids = [self.put(b"object %d" % i) for i in range(30)]
        large = self.put(random_bytes(2_000_000))
        self.run_command("ref", ids[0], ids[0], ids[1])
        self.run_command("unref", ids[2])
        before = self.objects()
        shutil.rmtree(os.path.join(self.store, "index"))
        self.run_command("ls", code=support.CORRUPT, says=[self.store, "repair --rebuild-index"])
        self.run_command("put", "-", stdin=b"x", code=support.CORRUPT, says="index")
        report, = self.run_json("repair", "--rebuild-index")
        self.assertEqual((report["message_type"], report["objects"], report["damaged_records"]),
                         ("repair", len(before), 0))
        self.assertEqual(self.objects(), before)
        self.assertEqual(len(self.get(large)), 2_000_000)

    def test_repair__of_a_sound_store_changes_nothing(self):
        for number in range(10):
            self.put(b"object %d" % number)
        with self.unchanged():
            self.assertIn(b"10 objects", self.run_command("repair", "--rebuild-index"))

    def test_repair__must_be_asked_for(self):
        with self.unchanged():
            self.run_command("repair", code=support.USAGE, says="--rebuild-index")
            self.run_command("repair", "--rebuild-index", "x", code=support.USAGE, says="x")

    def test_repair__not_while_the_store_is_open(self):
        self.put(b"x")
        with self.held_for_writing():
            self.run_command("repair", "--rebuild-index", code=support.LOCKED, says=self.store)

    def test_repair__no_store(self):
        self.run_command("-C", self.path("gone"), "repair", "--rebuild-index",
                         code=support.NO_STORE, says=self.path("gone"))


if __name__ == "__main__":
    support.main()
