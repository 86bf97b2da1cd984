import os
import re
import shutil
import unittest

import support
from support import CommandTest, StoreTest, random_bytes


class TestStats(StoreTest):
    def setUp(self):
        super().setUp()
        for number in range(7):
            self.put(b"%d" % number)
        self.put(random_bytes(1_500_000))

    def test_stats__human(self):
        out = self.run_command("stats").decode()
        self.assertRegex(out, r"(?m)^objects +8  objects in the store$")
        self.assertNotIn("puts_new", out)
        self.assertIn("puts_new", self.run_command("-v", "stats").decode())

    def test_stats__json(self):
        stats, = self.run_json("stats")
        self.assertEqual((stats["objects"], stats["logical_bytes"], stats["large_objects"]),
                         (8, 1_500_007, 1))
        self.assertEqual((stats["digest"], stats["format"]), ("blake3", 1))

    def test_stats__prometheus(self):
        lines = self.run_command("stats", "--prometheus").decode().splitlines()
        self.assertIn("ingot_objects 8", lines)
        kinds, helped, samples = {}, set(), []
        for line in lines:
            if match := re.fullmatch(r"# HELP ([a-z0-9_]+) \S.*", line):
                helped.add(match[1])
            elif match := re.fullmatch(r"# TYPE ([a-z0-9_]+) (counter|gauge)", line):
                kinds[match[1]] = match[2]
            else:
                match = re.fullmatch(r"([a-z0-9_]+)(\{[^}]*\})? [0-9]+", line)
                self.assertIsNotNone(match, line)
                samples.append(match[1])
        self.assertEqual(len(samples), len(set(samples)))
        self.assertEqual(set(samples), set(kinds))
        self.assertEqual(helped, set(kinds))
        for name, kind in kinds.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)

    def test_stats__usage(self):
        self.run_command("stats", "--prometheus", "--json", code=support.USAGE)
        self.run_command("stats", "x", code=support.USAGE, says="x")


class TestDoctor(StoreTest):
    def checks(self, code=0, says=()):
        report = self.run_json("doctor", code=code, says=says)[0]
        self.assertEqual(report["healthy"], code == 0)
        return {check["check"]: check["result"] for check in report["checks"]}

    def test_doctor__sound_store(self):
        out = self.run_command("doctor").decode()
        for line in out.splitlines():
            self.assertRegex(line, r"^(ok  |warn) [a-z-]+ ")
        checks = self.checks()
        for name in ("directory", "format", "contents", "store", "index", "clock", "limits"):
            self.assertEqual(checks[name], "ok", name)
        self.assertNotIn("\033", out)

    def test_doctor__changes_nothing(self):
        self.put(b"x")
        with self.unchanged():
            self.run_command("doctor")

    def test_doctor__store_that_others_may_write_to(self):
        os.chmod(self.store, 0o777)
        out = self.run_command("doctor", code=support.FAILED)
        self.assertIn(b"other users may write to it (mode 0777)", out)
        os.chmod(self.store, 0o700)

    def test_doctor__locked_store_is_a_warning(self):
        with self.held_for_writing() as holder:
            out = self.run_command("doctor").decode()
            self.assertRegex(out, rf"(?m)^warn store .*\b{holder.pid}\b")

    def test_doctor__leftovers(self):
        os.mkdir(os.path.join(self.store, "index.old"), 0o700)
        self.assertIn(b"warn contents     index.old", self.run_command("doctor"))
        os.rmdir(os.path.join(self.store, "index.old"))

    def test_doctor__damage(self):
        self.damaged = True
        shutil.rmtree(os.path.join(self.store, "index"))
        self.assertEqual(self.checks(code=support.CORRUPT)["store"], "fail")
        path = os.path.join(self.store, "FORMAT")
        with open(path, "r+b") as out:
            out.truncate(30)
        out = self.run_command("doctor", code=support.CORRUPT)
        self.assertIn(b"FORMAT", out)

    def test_doctor__usage(self):
        self.run_command("doctor", "x", code=support.USAGE, says="x")


class TestDoctorWithoutStore(CommandTest):
    def test_doctor__no_store(self):
        out = self.run_command("doctor", code=support.NO_STORE)
        self.assertIn(b"fail directory", out)
        os.mkdir(self.store, 0o700)
        out = self.run_command("doctor", code=support.NO_STORE)
        self.assertIn(b"fail format", out)


if __name__ == "__main__":
    support.main()
