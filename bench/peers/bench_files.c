/* A folder of files as an object store, done with the care that durability asks for: write to a
 * temporary name, fsync, rename, fsync the directory. 256 directories by the first byte of the id.
 * Ids are BLAKE3, and SHA-256 for what most such stores do. */
#include "workload.h"

#include <blake3.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHA256 UINT32_C(1)  /* ids are SHA-256 */
#define NO_SYNC UINT32_C(2) /* no fsync at all */

#define SHARDS 256
#define NAME_BYTES (2 * WL_ID + 1)

struct db {
    uint32_t variant;
    int shards[SHARDS];             /* sync: fixed after open */
    EVP_MD *sha256;                 /* sync: fixed after open */
    atomic_uint_fast64_t temporary; /* sync: atomic, relaxed: only has to be unique */
};

static _Noreturn void fail(const char *what) { bench_die("files: %s: %s", what, strerror(errno)); }

static void *db_open(const char *dir, const struct wl_subject *subject) {
    struct db *db = bench_alloc(sizeof *db);
    int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        fail(dir);
    for (int i = 0; i < SHARDS; i++) {
        char name[3];
        snprintf(name, sizeof name, "%02x", (unsigned)i);
        if (mkdirat(top, name, 0700) != 0)
            fail(name);
        db->shards[i] = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (db->shards[i] < 0)
            fail(name);
    }
    if (fsync(top) != 0)
        fail(dir);
    close(top);
    db->variant = subject->variant;
    db->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (db->sha256 == NULL)
        bench_die("OpenSSL has no SHA-256");
    return db;
}

static void db_close(void *handle) {
    struct db *db = handle;
    for (int i = 0; i < SHARDS; i++)
        close(db->shards[i]);
    EVP_MD_free(db->sha256);
    free(db);
}

static void db_hash(void *handle, const void *data, size_t len, uint8_t ret_id[WL_ID]) {
    struct db *db = handle;
    if ((db->variant & SHA256) != 0) {
        if (EVP_Digest(data, len, ret_id, NULL, db->sha256, NULL) != 1)
            bench_die("SHA-256 failed");
        return;
    }
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, ret_id, WL_ID);
}

static void name_of(const uint8_t id[WL_ID], char name[NAME_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < WL_ID; i++) {
        name[2 * i] = digits[id[i] >> 4];
        name[2 * i + 1] = digits[id[i] & 15];
    }
    name[2 * WL_ID] = '\0';
}

static void db_put(void *handle, const void *data, size_t len) {
    struct db *db = handle;
    bool sync = (db->variant & NO_SYNC) == 0;
    uint8_t id[WL_ID];
    char name[NAME_BYTES];
    char temporary[32];
    db_hash(db, data, len, id);
    name_of(id, name);
    int shard = db->shards[id[0]];
    snprintf(
        temporary, sizeof temporary, "tmp.%llx",
        (unsigned long long)atomic_fetch_add_explicit(&db->temporary, 1, memory_order_relaxed));
    int fd = openat(shard, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        fail("create");
    if (write(fd, data, len) != (ssize_t)len)
        fail("write");
    if (sync && fsync(fd) != 0)
        fail("fsync");
    if (close(fd) != 0)
        fail("close");
    if (renameat(shard, temporary, shard, name) != 0)
        fail("rename");
    if (sync && fsync(shard) != 0)
        fail("fsync of the directory");
}

/* False if there is no such object. */
static bool load(struct db *db, const uint8_t id[WL_ID], void *ret_data, size_t len) {
    char name[NAME_BYTES];
    name_of(id, name);
    int fd = openat(db->shards[id[0]], name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0)
        fail("open");
    if (read(fd, ret_data, len) != (ssize_t)len)
        fail("read");
    close(fd);
    return true;
}

static void db_read(void *handle, const uint8_t id[WL_ID], void *ret_data, size_t len) {
    if (!load(handle, id, ret_data, len))
        bench_die("files: an object is lost");
}

static uint64_t get_copy(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    (void)reader;
    return load(handle, id, scratch, WL_PAGE) ? wl_serial_of(scratch) : WL_ABSENT;
}

static uint64_t get_verified(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    uint8_t digest[WL_ID];
    (void)reader;
    if (!load(handle, id, scratch, WL_PAGE))
        return WL_ABSENT;
    db_hash(handle, scratch, WL_PAGE, digest);
    if (memcmp(digest, id, WL_ID) != 0)
        bench_die("files: other bytes came back");
    return wl_serial_of(scratch);
}

static uint64_t db_count(void *handle) {
    struct db *db = handle;
    uint64_t count = 0;
    for (int i = 0; i < SHARDS; i++) {
        int fd = openat(db->shards[i], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (dir == NULL)
            fail("list");
        for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
            count += strlen(entry->d_name) == NAME_BYTES - 1;
        closedir(dir);
    }
    return count;
}

#define SUBJECT(subject_name, subject_variant)                                                     \
    {                                                                                              \
        .name = (subject_name), .variant = (subject_variant), .open = db_open, .close = db_close,  \
        .hash = db_hash, .put = db_put, .read = db_read, .count = db_count                         \
    }

static const struct wl_subject durable = SUBJECT("files", 0);
static const struct wl_subject relaxed = SUBJECT("files", NO_SYNC);
static const struct wl_subject sha256 = SUBJECT("files_sha256", SHA256);
static const struct wl_subject sha256_relaxed = SUBJECT("files_sha256", SHA256 | NO_SYNC);

static void list_cases(struct bench_list *list, const struct bench_options *options) {
    static const unsigned writers[] = {1, 850};
    static const unsigned readers[] = {1, 2};
    static const struct wl_get copy = {.name = "get_copy", .get = get_copy};
    static const struct wl_get verified = {.name = "get_verified", .get = get_verified};
    static const struct wl_get miss = {.name = "get_miss", .get = get_copy, .expect = WL_ABSENT};
    (void)options;
    wl_add_puts(list, &durable, "put_durable", writers, 2);
    wl_add_puts(list, &relaxed, "put_relaxed", writers, 2);
    wl_add_gets(list, &relaxed, &copy, readers, 2);
    wl_add_gets(list, &relaxed, &verified, readers, 2);
    wl_add_gets(list, &relaxed, &miss, readers, 2);
    wl_add_puts(list, &sha256, "put_durable", writers, 2);
    wl_add_gets(list, &sha256_relaxed, &verified, readers, 2);
}

static const char *version(void) { return "open, write, fsync, rename, fsync of the directory"; }

int main(int argc, char **argv) {
    static const struct bench_suite suite = {list_cases, "files", version};
    return bench_main(argc, argv, &suite);
}
