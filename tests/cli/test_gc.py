import unittest

import support
from support import StoreTest, random_bytes


class TestGc(StoreTest):
    init_options = ("--segment-size=1M", "--large-min=64K")

    def setUp(self):
        super().setUp()
        self.live = self.put(b"live")
        self.dead = [self.put(b"dead %d" % i) for i in range(10)]
        self.dead.append(self.put(random_bytes(200_000)))
        self.run_command("unref", *self.dead)

    def test_gc__keeps_what_is_in_grace(self):
        with self.unchanged():
            report, = self.run_json("gc")
        self.assertEqual((report["message_type"], report["live"], report["in_grace"],
                          report["swept"], report["finished"]), ("gc", 1, 11, 0, True))

    def test_gc__dry_run_tells_what_the_run_does(self):
        with self.unchanged():
            for _ in range(3):
                planned = self.run_command("gc", "-n", "--list", "--grace=0").decode().split()
                plan, = self.run_json("gc", "--dry-run", "--grace=0")
        self.assertEqual(planned, sorted(self.dead))
        done, = self.run_json("gc", "--grace=0", "--list")
        self.assertEqual(done["victims"], planned)
        self.assertEqual((plan["swept"], plan["swept_bytes"]), (done["swept"], done["swept_bytes"]))
        self.assertTrue(plan["dry_run"])
        self.assertEqual(self.run_command("ls").decode().split(), [self.live])
        self.assertEqual(self.get(self.live), b"live")

    def test_gc__what_is_in_limbo_comes_back_with_a_reference(self):
        self.run_command("gc", "--grace=0")
        self.run_command("has", self.dead[0], code=support.NOT_FOUND)
        self.run_command("ref", self.dead[0])
        self.assertEqual(self.get(self.dead[0]), b"dead 0")

    def test_gc__without_limbo_purges(self):
        self.run_command("gc", "--grace=0", "--limbo=0")
        self.run_command("gc", "--grace=0", "--limbo=0")
        self.run_command("ref", self.dead[0], code=support.NOT_FOUND, says=self.dead[0])

    def test_gc__goes_on_where_it_stopped(self):
        swept = 0
        for _ in range(40):
            report, = self.run_json("gc", "--grace=0", "--max-objects=3")
            swept += report["swept"]
            if swept == len(self.dead):
                break
        self.assertEqual(swept, len(self.dead))
        self.assertEqual(self.run_command("ls").decode().split(), [self.live])

    def test_gc__text_report(self):
        out = self.run_command("gc", "--dry-run", "--grace=0", "--no-clean").decode()
        self.assertIn("dry run: nothing was changed\n", out)
        self.assertIn("            11  objects swept\n", out)
        self.assertEqual(self.run_command("-q", "gc", "--dry-run"), b"")

    def test_gc__usage(self):
        with self.unchanged():
            for option in ("--grace=10", "--grace=x", "--limbo=-1s", "--grace=5w",
                           "--limbo=99999999999999999d"):
                self.run_command("gc", option, code=support.USAGE, says="is not a duration")
            self.run_command("gc", "--max-objects=0", code=support.USAGE, says="out of range")
            self.run_command("gc", "now", code=support.USAGE, says="now")


if __name__ == "__main__":
    support.main()
