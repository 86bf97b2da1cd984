import unittest

import support
from support import StoreTest, random_bytes

ABSENT = "0" * 64


class TestObjects(StoreTest):
    def setUp(self):
        super().setUp()
        self.ids = [self.put(b"object %d" % i) for i in range(20)]
        self.large = self.put(random_bytes(2_000_000))

    def test_has__answers_each_id(self):
        self.assertEqual(self.run_command("has", self.ids[0]), f"{self.ids[0]} yes\n".encode())
        out = self.run_command("has", self.ids[0][:12], ABSENT, "00000000", code=support.NOT_FOUND)
        self.assertEqual(out.decode(), f"{self.ids[0]} yes\n{ABSENT} no\n00000000 no\n")
        lines = self.run_json("has", self.ids[1], ABSENT, code=support.NOT_FOUND)
        self.assertEqual([line["present"] for line in lines], [True, False])

    def test_stat__shows_size_and_references(self):
        out = self.run_command("stat", self.ids[3], self.large).decode()
        self.assertIn(f"id:          {self.ids[3]}\n", out)
        self.assertIn("size:        8\n", out)
        self.assertIn("references:  1\n", out)
        small, large = self.run_json("stat", self.ids[3], self.large)
        self.assertEqual((small["size"], small["refs"], small["place"]), (8, 1, "log"))
        self.assertEqual((large["size"], large["place"]), (2_000_000, "file"))
        self.assertGreaterEqual(large["stored_size"], 2_000_000)

    def test_stat__absent(self):
        out = self.run_command("stat", ABSENT, self.ids[0], code=support.NOT_FOUND, says=ABSENT)
        self.assertIn(self.ids[0].encode(), out)

    def test_ls__lists_in_order(self):
        out = self.run_command("ls").decode().split()
        self.assertEqual(out, sorted(self.ids + [self.large]))
        rows = self.run_command("ls", "-l").decode().splitlines()
        self.assertEqual([row.split()[0] for row in rows], out)
        self.assertEqual({row.split()[1] for row in rows}, {"1"})
        lines = self.run_json("ls")
        self.assertEqual([line["id"] for line in lines], out)

    def test_ls__prefix(self):
        every = sorted(self.ids + [self.large])
        for prefix in ("0", "a", every[5][:3], every[5].upper(), ""):
            out = self.run_command("ls", "--prefix", prefix).decode().split()
            self.assertEqual(out, [i for i in every if i.startswith(prefix.lower())])
        self.run_command("ls", "--prefix", "xyz", code=support.USAGE, says="xyz")
        self.run_command("ls", "extra", code=support.USAGE, says="extra")

    def test_ref__counts_up_and_down(self):
        identity = self.ids[0]
        self.assertEqual(self.run_command("ref", identity), f"{identity} 2\n".encode())
        self.assertEqual(self.run_json("ref", identity[:8])[0]["refs"], 3)
        for left in (2, 1, 0):
            self.assertEqual(self.run_command("unref", identity), f"{identity} {left}\n".encode())
        with self.unchanged():
            self.run_command("unref", identity, code=support.FAILED, says=["unref", identity])
        self.assertEqual(self.run_command("ref", identity), f"{identity} 1\n".encode())

    def test_ref__of_an_absent_object(self):
        with self.unchanged():
            self.run_command("ref", ABSENT, code=support.NOT_FOUND, says=ABSENT)
            self.run_command("unref", ABSENT, code=support.NOT_FOUND, says=ABSENT)

    def test_ids__malformed(self):
        bad = {"xyz1": "character 1", "123": "3 hex digits", "1" * 65: "65 hex digits",
               "12 34": "character 3", "": "0 hex digits", "../../etc/passwd": "character 1"}
        with self.unchanged():
            for command in ("get", "has", "stat", "ref", "unref"):
                self.run_command(command, code=support.USAGE, says="no id given")
                for text, reason in bad.items():
                    self.run_command(command, text, code=support.USAGE,
                                     says=[f"malformed id '{text}'", reason])

    def test_ids__unknown(self):
        with self.unchanged():
            for command in ("get", "stat", "ref", "unref"):
                self.run_command(command, ABSENT, code=support.NOT_FOUND, says=ABSENT)
                self.run_command(command, "00000000", code=support.NOT_FOUND, says="00000000")

    def test_ids__ambiguous(self):
        first = {}
        other = None
        number = 0
        while other is None:
            names = [self.file(f"a{i}", b"ambiguous %d" % (number + i)) for i in range(300)]
            number += 300
            for line in self.run_command("put", *names).decode().splitlines():
                identity = line.split()[0]
                other = first.get(identity[:4]) if other is None else other
                if other is not None and other[:4] == identity[:4]:
                    break
                other = None
                first[identity[:4]] = identity
        with self.unchanged():
            self.run_command("get", other[:4], code=support.FAILED, says=other[:4])
        self.run_command("get", other)

    def test_errors__in_json(self):
        lines = self.run_json("stat", ABSENT, self.ids[0], code=support.NOT_FOUND, says=ABSENT)
        self.assertEqual([line["message_type"] for line in lines], ["error", "stat"])
        self.assertEqual((lines[0]["command"], lines[0]["item"], lines[0]["status"],
                          lines[0]["exit_code"]),
                         ("stat", ABSENT, "INGOT_NOT_FOUND", support.NOT_FOUND))


if __name__ == "__main__":
    support.main()
