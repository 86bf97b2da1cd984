"""What the world does to a command: other processes, signals, closed pipes, full disks, missing
rights, and stores that are no stores of this version."""

import os
import re
import signal
import subprocess
import threading
import time
import unittest

import support
from support import CommandTest, StoreTest, random_bytes


class TestLock(StoreTest):
    def test_lock__others_are_told_who_holds_it(self):
        identity = self.put(b"x")
        with self.held_for_writing() as holder:
            for words in (("put", "-"), ("get", identity), ("ls",), ("ref", identity), ("gc",),
                          ("check",), ("stats",), ("init",), ("batch",)):
                self.run_command(*words, code=support.LOCKED, says=[self.store, str(holder.pid)])
        self.assertEqual(self.get(identity), b"x")

    def test_lock__wait(self):
        identity = self.put(b"x")
        with self.held_for_writing() as holder:
            threading.Timer(0.3, holder.stdin.close).start()
            self.assertEqual(self.get(identity, "--wait=1m"), b"x")
            holder.wait(timeout=support.TIMEOUT)
            holder.stdin = None
        with self.held_for_writing():
            start = time.monotonic()
            self.run_command("ls", "--wait=200ms", code=support.LOCKED, says=self.store)
            self.assertGreaterEqual(time.monotonic() - start, 0.2)

    def test_lock__wait_ends_with_a_signal(self):
        with self.held_for_writing():
            waiting = self.start("ls", "--wait=1h")
            time.sleep(0.5)
            waiting.send_signal(signal.SIGINT)
            waiting.communicate(timeout=support.TIMEOUT)
            self.assertEqual(waiting.returncode, 130)

    def test_lock__readers_share(self):
        identity = self.put(random_bytes(3_000_000))
        readers = [self.start("get", identity) for _ in range(4)]
        for reader in readers:
            out, err = reader.communicate(timeout=support.TIMEOUT)
            self.assertEqual((reader.returncode, len(out)), (0, 3_000_000), err)

    def test_lock__dies_with_its_process(self):
        identity = self.put(b"x")
        holder = self.start("batch")
        holder.stdin.write(b"has " + b"0" * 64 + b"\n")
        holder.stdin.flush()
        holder.stdout.readline()
        holder.kill()
        holder.wait()
        self.assertEqual(self.get(identity), b"x")


class TestSignals(StoreTest):
    def stop(self, process, number, code):
        process.send_signal(number)
        # Before communicate() ends standard input: the end of a source is an end too.
        process.wait(timeout=support.TIMEOUT)
        out, err = process.communicate(timeout=support.TIMEOUT)
        self.assertEqual(process.returncode, code, err)
        return out, err

    def test_signal__ends_a_put_that_waits(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.unchanged():
                process = self.start("put", "-")
                process.stdin.write(b"unfinished" * 200_000)
                process.stdin.flush()
                time.sleep(0.2)
                out, err = self.stop(process, number, code)
                self.assertEqual(out, b"")
                self.assertIn(b"signal %d" % number, err)

    def test_signal__what_was_printed_is_stored(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        done = self.file("done", b"done")
        process = self.start("put", "-j1", done, fifo)
        writer = os.open(fifo, os.O_WRONLY)
        time.sleep(0.3)
        out, _ = self.stop(process, signal.SIGTERM, 143)
        os.close(writer)
        self.assertEqual([line.split(b"  ")[1].decode() for line in out.splitlines()], [done])
        self.assertEqual(self.get(out.split()[0].decode()), b"done")
        self.assertEqual(len(self.objects()), 1)

    def test_signal__ends_a_put_at_any_time(self):
        names = [self.file(f"f{i}", random_bytes(3000, i)) for i in range(400)]
        for delay in (0, 0.005, 0.01, 0.02, 0.05, 0.1):
            process = self.start("put", *names)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=support.TIMEOUT)
            self.assertIn(process.returncode, (0, 130, -signal.SIGINT), err)
            for line in out.splitlines():
                self.assertEqual(self.get(line.split()[0].decode()),
                                 open(line.split(b"  ")[1], "rb").read())
                break
        self.run_command("check", "--read-data")

    def test_signal__ends_batch(self):
        process = self.start("batch")
        process.stdin.write(b"has " + b"0" * 64 + b"\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"ok no\n")
        self.stop(process, signal.SIGTERM, 143)


class TestOutput(StoreTest):
    def setUp(self):
        super().setUp()
        self.large = self.put(random_bytes(3_000_000))
        names = [self.file(f"f{i}", b"%d" % i) for i in range(500)]
        self.run_command("put", *names)

    def test_output__full_device(self):
        for words in (("ls",), ("ls", "-l"), ("get", self.large), ("stats",), ("--json", "ls"),
                      ("stat", self.large), ("--help",), ("check",), ("doctor",), ("--version",)):
            with open("/dev/full", "wb") as full:
                process = self.start(*words, stdout=full)
                err = process.communicate(timeout=support.TIMEOUT)[1]
            self.assertEqual(process.returncode, support.NO_SPACE, (words, err))
            self.assertIn(b"No space left", err)

    def test_output__full_device_under_put(self):
        path = self.file("new", b"new")
        with open("/dev/full", "wb") as full:
            process = self.start("put", path, stdout=full)
            err = process.communicate(timeout=support.TIMEOUT)[1]
        self.assertEqual(process.returncode, support.NO_SPACE, err)

    def test_output__closed_pipe_is_quiet(self):
        for words in (("ls", "-l"), ("get", self.large), ("--json", "ls")):
            process = self.start(*words)
            process.stdout.close()
            process.stdout = None
            err = process.communicate(timeout=support.TIMEOUT)[1]
            self.assertEqual((process.returncode, err), (-signal.SIGPIPE, b""), words)

    def test_output__closed_pipe_where_the_signal_is_ignored(self):
        process = self.start("ls", preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
                             restore_signals=False)
        process.stdout.close()
        process.stdout = None
        err = process.communicate(timeout=support.TIMEOUT)[1]
        self.assertEqual(process.returncode, support.FAILED)
        self.assertIn(b"Broken pipe", err)

    def test_output__closed_descriptor(self):
        done = subprocess.run(["sh", "-c", f"exec '{support.INGOT}' ls >&-"],
                              env=self.environment, capture_output=True)
        self.assertEqual(done.returncode, support.FAILED, done)
        self.assertIn(b"standard output", done.stderr)


class TestBadStores(CommandTest):
    def setUp(self):
        super().setUp()
        self.run_command("init")
        self.object = self.put(b"x")
        self.format = os.path.join(self.store, "FORMAT")
        self.text = open(self.format, "rb").read()

    def replace(self, data):
        with open(self.format, "wb") as out:
            out.write(data)

    def every_command(self, code, says):
        for words in (("ls",), ("put", "-"), ("get", self.object), ("check",), ("stats",), ("gc",),
                      ("repair", "--rebuild-index"), ("init",)):
            self.run_command(*words, stdin=b"y", code=code, says=says)

    def restored(self):
        self.replace(self.text)
        self.assertEqual(self.objects(), [(self.object, 1, 1)])
        self.run_command("check", "--read-data")

    def test_bad_store__newer_format(self):
        newer = re.sub(rb"(?m)^format \d+$", b"format 99", self.text)
        self.assertNotEqual(newer, self.text)
        self.replace(newer)
        self.every_command(support.FAILED, ["FORMAT", "99"])
        self.restored()

    def test_bad_store__truncated_format(self):
        for size in (0, 1, len(self.text) // 2, len(self.text) - 1):
            self.replace(self.text[:size])
            self.every_command(support.CORRUPT, "FORMAT")
        self.restored()

    def test_bad_store__altered_format(self):
        self.replace(self.text.replace(b"blake3", b"sha256"))
        self.every_command(support.CORRUPT, "FORMAT")
        self.restored()

    def test_bad_store__format_is_a_directory(self):
        os.rename(self.format, self.format + ".kept")
        os.mkdir(self.format)
        self.run_command("ls", code=support.FAILED, says="FORMAT")
        os.rmdir(self.format)
        os.rename(self.format + ".kept", self.format)
        self.restored()

    def test_bad_store__object_of_another_store(self):
        other = self.path("other")
        self.run_command("init", other)
        self.run_command("-C", other, "get", self.object, code=support.NOT_FOUND, says=self.object)
        self.restored()

    def test_bad_store__others_may_write_to_it(self):
        os.chmod(self.store, 0o770)
        self.run_command("ls", code=support.FAILED, says=self.store)
        os.chmod(self.store, 0o700)
        self.restored()

    def test_bad_store__denied(self):
        nobody = support.as_nobody()
        os.chmod(self.dir, 0o711)
        for words in (("ls",), ("put", "-"), ("check",)):
            self.run_command(*words, prefix=nobody, stdin=b"y", code=support.FAILED,
                             says=[self.store, "ermission denied"])
        self.restored()


class TestNoSpace(CommandTest):
    def setUp(self):
        super().setUp()
        if not support.is_root():
            self.skipTest("needs root to mount a small file system")
        self.mount = self.path("small")
        os.mkdir(self.mount)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.mount],
                              capture_output=True)
        if done.returncode != 0:
            self.skipTest(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount])
        self.environment["INGOT_STORE"] = self.store = os.path.join(self.mount, "store")

    def test_no_space__put_fails_and_reads_go_on(self):
        self.run_command("init", "--segment-size=1M", "--large-min=64K")
        kept = self.put(b"kept")
        names = [self.file(f"f{i}", random_bytes(40_000, i)) for i in range(400)]
        out = self.run_command("put", "-j2", *names, code=support.NO_SPACE, says=self.mount)
        for line in out.splitlines()[:5]:
            self.assertEqual(self.get(line.split()[0].decode()),
                             open(line.split(b"  ")[1], "rb").read())
        self.assertEqual(self.get(kept), b"kept")
        self.run_command("check", "--read-data")

    def test_no_space__large_file(self):
        self.run_command("init", "--segment-size=1M", "--large-min=64K")
        kept = self.put(b"kept")
        large = self.file("large", random_bytes(12 << 20))
        with self.unchanged():
            self.run_command("put", large, code=support.NO_SPACE, says=large)
        self.assertEqual(self.get(kept), b"kept")

    def test_no_space__target_of_get(self):
        store = self.path("store")
        self.run_command("-C", store, "init")
        out = self.run_command("-C", store, "put", "-", stdin=random_bytes(12 << 20))
        target = os.path.join(self.mount, "out")
        self.run_command("-C", store, "get", "-o", target, out.split()[0], code=support.NO_SPACE,
                         says=[target, "No space left"])
        self.assertEqual(os.listdir(self.mount), [])


if __name__ == "__main__":
    support.main()
