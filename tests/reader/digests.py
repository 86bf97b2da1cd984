"""The hashes a store uses, without any code of the store: XXH3-64, BLAKE3 and SHA-256.

XXH3-64 goes through libxxhash where the system has it. BLAKE3 of small inputs is computed here;
larger ones go to the `b3sum` command, many at a time. Without `b3sum` all of it is computed here.

Sources: the XXH3 section of the xxHash specification; the BLAKE3 paper, section 2.
"""

import ctypes
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF

# ---- XXH3-64 ---------------------------------------------------------------------------------

P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
P64_3, P64_4, P64_5 = 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


def _u32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _fold(a, b):
    product = a * b
    return (product & MASK64) ^ (product >> 64)


def _xxh3_avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK64
    return h ^ h >> 32


def _xxh64_avalanche(h):
    h ^= h >> 33
    h = h * P64_2 & MASK64
    h ^= h >> 29
    h = h * P64_3 & MASK64
    return h ^ h >> 32


def _swap32(value):
    return int.from_bytes(value.to_bytes(4, "little"), "big")


def _swap64(value):
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _xxh3_0_to_16(data, seed):
    size = len(data)
    if size == 0:
        return _xxh64_avalanche(seed ^ _u64(SECRET, 56) ^ _u64(SECRET, 64))
    if size <= 3:
        combined = data[0] << 16 | data[size >> 1] << 24 | data[size - 1] | size << 8
        flip = (_u32(SECRET, 0) ^ _u32(SECRET, 4)) + seed & MASK64
        return _xxh64_avalanche(combined ^ flip)
    if size <= 8:
        seed ^= _swap32(seed & MASK32) << 32
        flip = (_u64(SECRET, 8) ^ _u64(SECRET, 16)) - seed & MASK64
        h = (_u32(data, size - 4) + (_u32(data, 0) << 32)) ^ flip
        h ^= (h << 49 | h >> 15) & MASK64 ^ (h << 24 | h >> 40) & MASK64
        h = h * 0x9FB21C651E98DF25 & MASK64
        h ^= (h >> 35) + size
        h = h * 0x9FB21C651E98DF25 & MASK64
        return h ^ h >> 28
    low = _u64(data, 0) ^ (_u64(SECRET, 24) ^ _u64(SECRET, 32)) + seed & MASK64
    high = _u64(data, size - 8) ^ (_u64(SECRET, 40) ^ _u64(SECRET, 48)) - seed & MASK64
    return _xxh3_avalanche(size + _swap64(low) + high + _fold(low, high) & MASK64)


def _mix16(data, at, secret_at, seed):
    return _fold(_u64(data, at) ^ _u64(SECRET, secret_at) + seed & MASK64,
                 _u64(data, at + 8) ^ _u64(SECRET, secret_at + 8) - seed & MASK64)


def _xxh3_17_to_240(data, seed):
    size = len(data)
    acc = size * P64_1
    if size <= 128:
        for i in range((size - 1) // 32 + 1):
            acc += _mix16(data, 16 * i, 32 * i, seed)
            acc += _mix16(data, size - 16 * (i + 1), 32 * i + 16, seed)
        return _xxh3_avalanche(acc & MASK64)
    for i in range(8):
        acc += _mix16(data, 16 * i, 16 * i, seed)
    acc = _xxh3_avalanche(acc & MASK64)
    for i in range(8, size // 16):
        acc += _mix16(data, 16 * i, 16 * (i - 8) + 3, seed)
    acc += _mix16(data, size - 16, 136 - 17, seed)
    return _xxh3_avalanche(acc & MASK64)


def _accumulate(acc, stripe, secret):
    for i in range(8):
        value = stripe[i]
        key = value ^ secret[i]
        acc[i ^ 1] += value
        acc[i] = acc[i] + (key & MASK32) * (key >> 32) & MASK64


def _xxh3_long(data, seed):
    lanes = list(struct.unpack("<24Q", SECRET))
    for i in range(0, 24, 2):
        lanes[i] = lanes[i] + seed & MASK64
        lanes[i + 1] = lanes[i + 1] - seed & MASK64
    secret = struct.pack("<24Q", *lanes)
    size = len(data)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    keys = [struct.unpack_from("<8Q", secret, 8 * n) for n in range(16)]
    scramble = struct.unpack_from("<8Q", secret, 128)
    for n in range((size - 1) // 64):
        _accumulate(acc, struct.unpack_from("<8Q", data, 64 * n), keys[n % 16])
        if n % 16 == 15:
            for i in range(8):
                lane = acc[i] & MASK64
                acc[i] = (lane ^ lane >> 47 ^ scramble[i]) * P32_1 & MASK64
    _accumulate(acc, struct.unpack_from("<8Q", data, size - 64),
                struct.unpack_from("<8Q", secret, 121))
    acc = [lane & MASK64 for lane in acc]
    result = size * P64_1
    for i in range(4):
        result += _fold(acc[2 * i] ^ _u64(secret, 11 + 16 * i),
                        acc[2 * i + 1] ^ _u64(secret, 19 + 16 * i))
    return _xxh3_avalanche(result & MASK64)


def xxh3_python(data, seed=0):
    if len(data) <= 16:
        return _xxh3_0_to_16(data, seed)
    if len(data) <= 240:
        return _xxh3_17_to_240(data, seed)
    return _xxh3_long(data, seed)


def _xxh3_of_the_system():
    try:
        function = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return lambda data, seed=0: function(data, len(data), seed)


xxh3 = _xxh3_of_the_system() or xxh3_python

# ---- BLAKE3 ----------------------------------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK = 1024
TREE_GROUP = 65536


def _compress(cv, block, counter, length, flags):
    """The first eight words of BLAKE3's compression; `block` is 16 words."""
    v = [*cv, *IV[:4], counter & MASK32, counter >> 32, length, flags]
    for turn in range(7):
        for q, (a, b, c, d) in enumerate(QUARTERS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = va + vb + block[2 * q] & MASK32
            vd ^= va
            vd = (vd >> 16 | vd << 16) & MASK32
            vc = vc + vd & MASK32
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & MASK32
            va = va + vb + block[2 * q + 1] & MASK32
            vd ^= va
            vd = (vd >> 8 | vd << 24) & MASK32
            vc = vc + vd & MASK32
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7 | vb << 25) & MASK32, vc, vd
        if turn < 6:
            block = [block[i] for i in PERMUTATION]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _words(data):
    return struct.unpack("<16I", data.ljust(64, b"\0"))


def _chunk_value(key, data, counter, flags, root):
    cv = key
    blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        mark = (CHUNK_START if i == 0 else 0) | (CHUNK_END if last else 0)
        mark |= ROOT if last and root else 0
        cv = _compress(cv, _words(block), counter, len(block), flags | mark)
    return cv


def _left_half(count):
    """How many of `count` leaves stand in the left subtree: the largest power of two below."""
    return 1 << (count - 1).bit_length() - 1


def _subtree_value(key, data, counter, flags, root):
    chunks = (len(data) + CHUNK - 1) // CHUNK
    if chunks <= 1:
        return _chunk_value(key, data, counter, flags, root)
    half = _left_half(chunks)
    left = _subtree_value(key, data[:half * CHUNK], counter, flags, False)
    right = _subtree_value(key, data[half * CHUNK:], counter + half, flags, False)
    return _compress(key, left + right, 0, 64, flags | PARENT | (ROOT if root else 0))


def _key_words(key):
    return (struct.unpack("<8I", key), KEYED_HASH) if key else (IV, 0)


def blake3_python(data, key=None):
    words, flags = _key_words(key)
    return struct.pack("<8I", *_subtree_value(words, data, 0, flags, True))


def tree_of(data, key=None):
    """The chaining values of the 64 KiB groups of `data`, as an ID.tree file holds them."""
    words, flags = _key_words(key)
    return b"".join(
        struct.pack("<8I", *_subtree_value(words, data[at:at + TREE_GROUP], at // CHUNK, flags,
                                           False))
        for at in range(0, len(data), TREE_GROUP))


def root_of_tree(tree, key=None):
    """The id that the chaining values in `tree`, two or more, lead to."""
    words, flags = _key_words(key)

    def value(leaves, root):
        if len(leaves) == 1:
            return leaves[0]
        half = _left_half(len(leaves))
        pair = value(leaves[:half], False) + value(leaves[half:], False)
        return _compress(words, pair, 0, 64, flags | PARENT | (ROOT if root else 0))

    leaves = [struct.unpack_from("<8I", tree, at) for at in range(0, len(tree), 32)]
    return struct.pack("<8I", *value(leaves, True))


# ---- Ids -------------------------------------------------------------------------------------

PYTHON_MAX = CHUNK
BATCH_FILES = 256
BATCH_BYTES = 64 << 20


def digest(kind, data, key=None):
    """The id of `data`: kind is `blake3`, `sha256` or `blake3-keyed`."""
    if kind == "sha256":
        return hashlib.sha256(data).digest()
    if len(data) <= PYTHON_MAX or not shutil.which("b3sum"):
        return blake3_python(data, key)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        with open(path, "wb") as out:
            out.write(data)
        return _b3sum([path], key)[0]


def _b3sum(paths, key):
    command = ["b3sum", "--no-names"] + (["--keyed"] if key else []) + ["--"] + paths
    done = subprocess.run(command, input=key or b"", stdout=subprocess.PIPE, check=True)
    return [bytes.fromhex(line) for line in done.stdout.decode().split()]


def _digest_file(kind, path, key):
    if kind != "sha256" and shutil.which("b3sum"):
        return _b3sum([path], key)[0]
    with open(path, "rb") as file:
        return digest(kind, file.read(), key)


class Digester:
    """Compares many objects with their ids, handing BLAKE3's larger ones to b3sum in batches.

    `report(tag)` is called for each object whose bytes do not match, in no particular order.
    """

    def __init__(self, kind, key, report):
        self.kind, self.key, self.report = kind, key, report
        self.external = kind != "sha256" and shutil.which("b3sum") is not None
        self.waiting, self.waiting_bytes = [], 0

    def add(self, data, want, tag):
        if not self.external or len(data) <= PYTHON_MAX:
            if digest(self.kind, data, self.key) != want:
                self.report(tag)
            return
        self.waiting.append((data, want, tag))
        self.waiting_bytes += len(data)
        if len(self.waiting) >= BATCH_FILES or self.waiting_bytes >= BATCH_BYTES:
            self.flush()

    def add_file(self, path, want, tag):
        if _digest_file(self.kind, path, self.key) != want:
            self.report(tag)

    def flush(self):
        if not self.waiting:
            return
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for i, (data, _, _) in enumerate(self.waiting):
                paths.append(os.path.join(folder, str(i)))
                with open(paths[-1], "wb") as out:
                    out.write(data)
            found = _b3sum(paths, self.key)
        for (_, want, tag), got in zip(self.waiting, found):
            if got != want:
                self.report(tag)
        self.waiting, self.waiting_bytes = [], 0
