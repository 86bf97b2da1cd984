import json
import os
import unittest

import support
from support import StoreTest, random_bytes

ABSENT = "0" * 64


class TestBatch(StoreTest):
    def batch(self, requests, **more):
        text = requests if isinstance(requests, bytes) else "\n".join(requests).encode() + b"\n"
        return self.run_command("batch", stdin=text, **more).decode().splitlines()

    def test_batch__every_request(self):
        data = random_bytes(5000)
        path = self.file("with two words", data)
        back = self.path("back  spaced")
        put, = self.batch([f"put {path}"])
        identity = put.split()[1]
        out = self.batch([f"has {identity}", f"get {identity} {back}", f"ref {identity}",
                          f"unref {identity[:8]}", f"unref {identity}", f"has {ABSENT}",
                          f"delete {identity}", f"has {identity}"])
        self.assertEqual(out, ["ok yes", "ok 5000", "ok 2", "ok 1", "ok 0", "ok no", "ok", "ok no"])
        self.assertEqual(open(back, "rb").read(), data)

    def test_batch__stat(self):
        identity = self.put(b"12345")
        out, = self.batch([f"stat {identity}"])
        words = dict(word.split("=") for word in out.split()[1:])
        self.assertEqual((words["size"], words["refs"], words["place"]), ("5", "1", "log"))

    def test_batch__large_file(self):
        data = random_bytes(6_000_000)
        out, = self.batch([f"put {self.file('large', data)}"])
        self.assertEqual(self.get(out.split()[1]), data)

    def test_batch__blank_lines_and_comments(self):
        self.assertEqual(self.batch(["", "# nothing", "", f"has {ABSENT}"]), ["ok no"])
        self.assertEqual(self.batch(b""), [])
        self.assertEqual(self.batch(b"has " + ABSENT.encode()), ["ok no"])

    def test_batch__goes_on_after_errors(self):
        good = self.file("good", b"good")
        identity = self.put(b"good")
        requests = ["nonsense", f"get {ABSENT} {self.path('x')}", "put", f"put {self.path('gone')}",
                    f"get {identity}", "has xyz!", f"ref {identity} more", "put -",
                    f"delete {identity}", f"unref {ABSENT}", f"put {self.dir}", f"put {good}"]
        out = self.batch(requests, code=support.FAILED, says="11 of 12 requests failed")
        self.assertEqual(len(out), 12)
        self.assertEqual(out[-1], f"ok {identity}")
        statuses = [line.split()[1] for line in out[:-1]]
        self.assertEqual(statuses, [
            "INGOT_USAGE", "INGOT_NOT_FOUND", "INGOT_USAGE", "INGOT_IO", "INGOT_USAGE",
            "INGOT_USAGE", "INGOT_USAGE", "INGOT_USAGE", "INGOT_IN_USE", "INGOT_NOT_FOUND",
            "INGOT_IO"])
        for number, line in enumerate(out[:-1], 1):
            self.assertIn(f" line {number}: ", line)
        self.assertIn("No such file", out[3])
        self.assertFalse(os.path.exists(self.path("x")))
        self.assertEqual(self.refs(identity), 2)

    def test_batch__errors_change_nothing(self):
        identity = self.put(b"here")
        with self.unchanged():
            self.batch([f"unref {ABSENT}", f"delete {identity}", "put /nonexistent/file"],
                       code=support.FAILED, says="3 of 3")

    def test_batch__unref_stops_at_zero(self):
        identity = self.put(b"x")
        out = self.batch([f"unref {identity}", f"unref {identity}"], code=support.FAILED,
                         says="1 of 2")
        self.assertEqual(out[0], "ok 0")
        self.assertIn("INGOT_NO_REFERENCE", out[1])

    def test_batch__long_line_is_named_and_skipped(self):
        text = b"has " + ABSENT.encode() + b"\n" + b"put " + b"x" * 100000 + b"\nhas " + \
            ABSENT.encode() + b"\n"
        out = self.batch(text, code=support.FAILED, says="1 of 3")
        self.assertEqual((out[0], out[2]), ("ok no", "ok no"))
        self.assertIn("line 2: longer than 8191 bytes", out[1])

    def test_batch__nul_is_refused(self):
        out = self.batch(b"put a\0b\n", code=support.FAILED, says="1 of 1")
        self.assertIn("NUL", out[0])

    def test_batch__noise(self):
        noise = random_bytes(200_000, 7)
        with self.unchanged():
            out = self.run_command("batch", stdin=noise, code=support.FAILED, says="failed")
        for line in out.splitlines():
            self.assertTrue(line.startswith(b"error INGOT_"), line)

    def test_batch__answers_before_it_waits(self):
        process = self.start("batch")
        for number in range(3):
            process.stdin.write(f"put {self.file(f'f{number}', b'%d' % number)}\n".encode())
            process.stdin.flush()
            self.assertTrue(process.stdout.readline().startswith(b"ok "))
        process.communicate(timeout=support.TIMEOUT)
        self.assertEqual(process.returncode, 0)

    def test_batch__json(self):
        identity = self.put(b"x")
        text = f"ref {identity}\nhas {ABSENT}\nfoo\n".encode()
        out = self.run_command("--json", "batch", stdin=text, code=support.FAILED, says="1 of 3")
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["message_type"] for line in lines], ["result"] * 3 + ["summary"])
        self.assertEqual((lines[0]["refs"], lines[1]["present"]), (2, False))
        self.assertEqual((lines[2]["status"], lines[2]["line"]), ("INGOT_USAGE", 3))
        self.assertEqual((lines[3]["requests"], lines[3]["failed"]), (3, 1))

    def test_batch__usage(self):
        self.run_command("batch", "x", code=support.USAGE, says="'x'")


if __name__ == "__main__":
    support.main()
