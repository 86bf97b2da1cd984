import hashlib
import os
import shutil
import subprocess
import threading
import unittest

import support
from support import StoreTest, random_bytes

EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


class TestPut(StoreTest):
    def lines(self, out):
        return [line.split("  ", 1) for line in out.decode().splitlines()]

    def test_put__keeps_the_order_of_the_arguments(self):
        names = [self.file(f"f{i}", random_bytes((i * 7919) % 70000, i)) for i in range(300)]
        names[17] = self.file("large", random_bytes(3 << 20, 5))
        out = self.lines(self.run_command("put", "-j7", *names))
        self.assertEqual([name for _, name in out], names)
        for identity, name in out[:20]:
            self.assertEqual(self.get(identity), open(name, "rb").read())

    def test_put__known_ids(self):
        path = self.file("empty")
        self.assertEqual(self.lines(self.run_command("put", path)), [[EMPTY, path]])
        self.assertEqual(self.put(b""), EMPTY)
        self.assertEqual(self.refs(EMPTY), 2)

    def test_put__sizes_around_every_boundary(self):
        for size in (1, 4095, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (4 << 20) + 1):
            data = random_bytes(size, size)
            path = self.file("sized", data)
            identity = self.lines(self.run_command("put", path))[0][0]
            self.assertEqual(self.put(data), identity)
            self.assertEqual(self.get(identity), data)

    def test_put__sparse_file(self):
        path = self.path("sparse")
        with open(path, "wb") as out:
            out.truncate(64 << 20)
            out.seek(33 << 20)
            out.write(b"island")
        identity = self.lines(self.run_command("put", path))[0][0]
        back = self.path("back")
        self.get(identity, "-o", back)
        self.assertEqual(subprocess.run(["cmp", path, back]).returncode, 0)
        self.assertLess(os.stat(back).st_blocks * 512, 8 << 20)

    def test_put__same_bytes_are_stored_once(self):
        names = [self.file(f"same{i}", b"same bytes") for i in range(50)]
        ids = {identity for identity, _ in self.lines(self.run_command("put", "-j8", *names))}
        self.assertEqual(len(ids), 1)
        self.assertEqual(self.refs(ids.pop()), 50)
        self.assertEqual(len(self.objects()), 1)

    def test_put__unreadable_sources_do_not_stop_the_others(self):
        good = self.file("good", b"good")
        gone = self.path("gone")
        os.mkdir(self.path("dir"))
        out = self.run_command("put", gone, good, self.path("dir"), code=support.SOURCES,
                               says=[f"put: {gone}: cannot open: No such file", "is a directory",
                                     "2 sources"])
        self.assertEqual([name for _, name in self.lines(out)], [good])

    def test_put__all_unreadable_changes_nothing(self):
        with self.unchanged():
            self.run_command("put", self.path("gone"), code=support.SOURCES,
                             says=self.path("gone"))

    def test_put__denied_source(self):
        nobody = support.as_nobody()
        os.chmod(self.dir, 0o711)
        own = self.path("own")
        os.mkdir(own)
        os.chown(own, support.NOBODY, support.NOBODY)
        store = os.path.join(own, "store")
        self.run_command("init", store, prefix=nobody)
        secret = self.file("secret", b"secret")
        os.chmod(secret, 0o600)
        public = self.file("public", b"public")
        os.chmod(public, 0o644)
        out = self.run_command("-C", store, "put", secret, public, prefix=nobody,
                               code=support.SOURCES, says=[secret, "Permission denied"])
        self.assertEqual([name for _, name in self.lines(out)], [public])
        self.run_command("-C", store, "check", "--read-data", prefix=nobody)

    def test_put__file_that_changes_is_not_stored(self):
        path = self.file("moving", random_bytes(64 << 20))
        stop = threading.Event()

        def touch():
            tick = 1
            while not stop.is_set():
                os.utime(path, ns=(tick, tick))
                tick += 1

        thread = threading.Thread(target=touch)
        still = self.file("still", b"still")
        thread.start()
        try:
            out = self.run_command("put", path, still, code=support.SOURCES,
                                   says=[path, "changed while it was read"])
        finally:
            stop.set()
            thread.join()
        self.assertEqual([name for _, name in self.lines(out)], [still])
        self.assertEqual(len(self.objects()), 1)

    def test_put__nothing_given(self):
        with self.unchanged():
            self.run_command("put", code=support.USAGE, says="no file given")
            self.run_command("put", "-", "-", code=support.USAGE, says="more than once")
            self.run_command("put", "-j0", "x", code=support.USAGE, says="out of range")
            self.run_command("put", "-j", "many", "x", code=support.USAGE, says="many")
            self.run_command("put", "--nonsense", "x", code=support.USAGE, says="--nonsense")

    def test_put__reads_a_fifo(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        process = self.start("put", fifo)
        with open(fifo, "wb") as out:
            out.write(b"through a pipe")
        out, err = process.communicate(timeout=support.TIMEOUT)
        self.assertEqual((process.returncode, err), (0, b""))
        self.assertEqual(self.get(out.split()[0].decode()), b"through a pipe")

    def test_put__names_that_look_like_options(self):
        self.file("-x", b"dash")
        self.run_command("put", "--", "-x", cwd=self.dir)
        self.run_command("put", "./-x", cwd=self.dir)

    def test_put__json(self):
        data = random_bytes(1000)
        path = self.file("f", data)
        lines = self.run_json("put", path, self.path("gone"), code=support.SOURCES,
                              says="gone")
        kinds = [line["message_type"] for line in lines]
        self.assertEqual(kinds, ["object", "error", "summary"])
        self.assertEqual((lines[0]["name"], lines[0]["size"]), (path, 1000))
        self.assertEqual((lines[1]["item"], lines[1]["exit_code"]),
                         (self.path("gone"), support.SOURCES))
        self.assertEqual((lines[2]["files"], lines[2]["bytes"], lines[2]["new_objects"],
                          lines[2]["unreadable"], lines[2]["exit_code"]), (1, 1000, 1, 1, 3))

    def test_put__json_shows_names_of_any_bytes(self):
        name = self.file(b"bad\xff\x01\n\xe2\x82name", b"x")
        line = self.run_json("put", name)[0]
        self.assertEqual(bytes.fromhex(line["name_hex"]), name)
        self.assertIn("bad\ufffd\x01\n\ufffdname", line["name"])


class TestPutTrees(StoreTest):
    def tree(self):
        for name in ("t", "t/b", "t/a", "t/a/deep"):
            os.mkdir(self.path(name))
        for name in ("t/z", "t/b/2", "t/b/1", "t/a/deep/x"):
            self.file(name, name.encode())
        os.symlink("z", self.path("t/link"))
        os.mkfifo(self.path("t/fifo"))

    def names(self, out):
        return [line.split("  ", 1)[1] for line in out.decode().splitlines()]

    def test_put_recursive__walks_in_order_of_names(self):
        self.tree()
        out = self.run_command("put", "-r", "t", cwd=self.dir)
        self.assertEqual(self.names(out), ["t/a/deep/x", "t/b/1", "t/b/2", "t/z"])

    def test_put_recursive__counts_what_it_skips(self):
        self.tree()
        summary = self.run_json("put", "-r", "-v", self.path("t"), says=["link: skipped",
                                                                         "fifo: skipped"])[-1]
        self.assertEqual((summary["skipped"], summary["files"]), (2, 4))

    def test_put_recursive__leaves_the_store_out(self):
        self.file("a", b"a")
        out = self.run_command("put", "-r", ".", cwd=self.dir)
        self.assertEqual(self.names(out), ["./a"])

    def test_put_recursive__unreadable_directory(self):
        nobody = support.as_nobody()
        os.chmod(self.dir, 0o777)
        self.tree()
        os.chmod(self.path("t/a"), 0o700)
        store = self.path("nobodys")
        self.run_command("init", store, prefix=nobody)
        out = self.run_command("-C", store, "put", "-r", self.path("t"), prefix=nobody,
                               code=support.SOURCES, says=[self.path("t/a"), "Permission denied"])
        self.assertEqual(len(self.names(out)), 3)

    def test_put_files0__reads_names_ended_by_nul(self):
        names = [self.file(name, name.encode()) for name in ("a b", "c\nd", "-")]
        listed = self.file("list", b"\0".join(os.fsencode(name) for name in names))
        first = self.run_command("put", "--files0-from", listed)
        second = self.run_command("put", "--files0-from=-", stdin=open(listed, "rb").read())
        self.assertEqual(first, second)
        self.assertEqual(len(first.splitlines()), 3)
        self.assertIn(b"-", self.run_command("put", "--files0-from=-", stdin=b"-\0", cwd=self.dir))

    def test_put_files0__names_bad_entries(self):
        good = self.file("good", b"good")
        listed = os.fsencode(good) + b"\0\0" + b"x" * 5000 + b"\0" + os.fsencode(good) + b"\0"
        out = self.run_command("put", "--files0-from=-", stdin=listed, code=support.SOURCES,
                               says=["name 2 is empty", "name 3 is too long", "2 sources"])
        self.assertEqual(len(out.splitlines()), 2)
        with self.unchanged():
            self.run_command("put", "--files0-from", self.path("gone"), code=support.FAILED,
                             says=self.path("gone"))
            self.run_command("put", "--files0-from", good, good, code=support.USAGE, says=good)

    def test_put_files0__empty_list_is_done(self):
        with self.unchanged():
            self.assertEqual(self.run_command("put", "--files0-from=-"), b"")


class TestSums(StoreTest):
    names = [b"plain", b"two words", b"back\\slash", b"new\nline", b"\\", b"x\\\n",
             " \u00e4\u6f22".encode()]

    @unittest.skipUnless(shutil.which("b3sum"), "b3sum is not installed")
    def test_sums__b3sum_prints_the_same_and_reads_it(self):
        names = self.names + [b"bad\xff\xe2\x82utf8"]
        for i, name in enumerate(names):
            self.file(name, random_bytes(100 * i, i))
        words = [b"./" + name for name in names]
        ours = self.run_command("put", *words, cwd=self.dir)
        theirs = subprocess.run(["b3sum", *words], cwd=self.dir, capture_output=True).stdout
        self.assertEqual(ours, theirs)
        readable = self.run_command("put", *words[:-1], cwd=self.dir)
        checked = subprocess.run(["b3sum", "-c", "/dev/stdin"], cwd=self.dir, input=readable,
                                 capture_output=True)
        self.assertEqual(checked.returncode, 0, checked)
        self.assertEqual(checked.stdout.count(b": OK"), len(words) - 1)

    @unittest.skipUnless(shutil.which("sha256sum"), "sha256sum is not installed")
    def test_sums__sha256sum_reads_those_of_a_sha256_store(self):
        store = self.path("sha")
        self.run_command("init", "--digest=sha256", store)
        names = self.names + [b"bad\xff"]
        for i, name in enumerate(names):
            self.file(name, random_bytes(100 * i, i))
        ours = self.run_command("-C", store, "put", *names, cwd=self.dir)
        checked = subprocess.run(["sha256sum", "-c"], cwd=self.dir, input=ours,
                                 capture_output=True)
        self.assertEqual(checked.returncode, 0, checked)
        first = ours.split()[0].decode()
        self.assertEqual(first, hashlib.sha256(b"").hexdigest())
        self.run_command("-C", store, "check", "--read-data")


if __name__ == "__main__":
    support.main()
