/* What the store does when the operating system says no: failed, refused and missing calls behind
 * the platform seam, and damage that a rebuild has to live with.
 *
 * A child that really opens a store must be a new process, not only a fork: the program runs itself
 * again with a path.
 */
#include "test_store.h"

#include "format.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#define BLOCK (200 * KIB) /* five fill a segment */
#define SOON_MS 1000
#define STUCK_S 120 /* a hang ends the program */
#define FDS 4096

/* ---- The seam ------------------------------------------------------------------------------ */

enum call_kind {
    CALL_OPEN,
    CALL_PREAD,
    CALL_PWRITE,
    CALL_FDATASYNC,
    CALL_FSYNC,
    CALL_FTRUNCATE,
    CALL_LINK,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_MKDIR,
    CALL_ALLOCATE,
};

struct call {
    enum call_kind kind;
    int fd;           /* -1: none */
    int flags;        /* of open */
    const char *path; /* of the descriptor, if it has one: as it was opened */
    const uint8_t *data;
    size_t len;
};

/* The errno that the call is to fail with, or 0. sync: written while no store is open. */
static int (*verdict)(const struct call *call);
static char fd_paths[FDS][256]; /* sync: an entry belongs to who has the descriptor */
static atomic_int armed;        /* verdicts let everything pass while it is 0 */
static atomic_uint seen, fired, violations;
static atomic_uint fail_at; /* the number of the call to fail, from 1 */
static atomic_uint_fast64_t clock_ahead_ns;

static bool refused(enum call_kind kind, int fd, int flags, const char *path, const void *data,
                    size_t len) {
    const struct call call = {.kind = kind,
                              .fd = fd,
                              .flags = flags,
                              .path = path != NULL          ? path
                                      : fd >= 0 && fd < FDS ? fd_paths[fd]
                                                            : "",
                              .data = data,
                              .len = len};
    int errnum = atomic_load(&armed) ? verdict(&call) : 0;
    errno = errnum != 0 ? errnum : errno;
    return errnum != 0;
}

static int hook_open(int dirfd, const char *path, int flags, mode_t mode) {
    if (refused(CALL_OPEN, -1, flags, path, NULL, 0))
        return -1;
    int fd = ig_os_real.open(dirfd, path, flags, mode);
    if (fd >= 0 && fd < FDS)
        snprintf(fd_paths[fd], sizeof fd_paths[fd], "%s", path);
    return fd;
}

static ssize_t hook_pread(int fd, void *buffer, size_t len, off_t offset) {
    return refused(CALL_PREAD, fd, 0, NULL, NULL, len) ? -1
                                                       : ig_os_real.pread(fd, buffer, len, offset);
}

static ssize_t hook_pwrite(int fd, const void *buffer, size_t len, off_t offset) {
    return refused(CALL_PWRITE, fd, 0, NULL, buffer, len)
               ? -1
               : ig_os_real.pwrite(fd, buffer, len, offset);
}

static int hook_fdatasync(int fd) {
    return refused(CALL_FDATASYNC, fd, 0, NULL, NULL, 0) ? -1 : ig_os_real.fdatasync(fd);
}

static int hook_fsync(int fd) {
    return refused(CALL_FSYNC, fd, 0, NULL, NULL, 0) ? -1 : ig_os_real.fsync(fd);
}

static int hook_ftruncate(int fd, off_t size) {
    return refused(CALL_FTRUNCATE, fd, 0, NULL, NULL, 0) ? -1 : ig_os_real.ftruncate(fd, size);
}

static int hook_mkdir(int dirfd, const char *path, mode_t mode) {
    return refused(CALL_MKDIR, -1, 0, path, NULL, 0) ? -1 : ig_os_real.mkdir(dirfd, path, mode);
}

static int hook_linkat(int olddir, const char *oldpath, int newdir, const char *newpath,
                       int flags) {
    return refused(CALL_LINK, -1, 0, newpath, NULL, 0)
               ? -1
               : ig_os_real.linkat(olddir, oldpath, newdir, newpath, flags);
}

static int hook_renameat(int olddir, const char *oldpath, int newdir, const char *newpath) {
    return refused(CALL_RENAME, -1, 0, newpath, NULL, 0)
               ? -1
               : ig_os_real.renameat(olddir, oldpath, newdir, newpath);
}

static int hook_unlinkat(int dirfd, const char *path, int flags) {
    return refused(CALL_UNLINK, -1, 0, path, NULL, 0) ? -1
                                                      : ig_os_real.unlinkat(dirfd, path, flags);
}

static bool hook_may_allocate(void) { return !refused(CALL_ALLOCATE, -1, 0, NULL, NULL, 0); }

static uint64_t hook_monotonic_ns(void) {
    return ig_os_real.monotonic_ns() + atomic_load(&clock_ahead_ns);
}

static struct ig_os hooked;

static void use_hooks(int (*decide)(const struct call *call)) {
    hooked = ig_os_real;
    hooked.open = hook_open;
    hooked.pread = hook_pread;
    hooked.pwrite = hook_pwrite;
    hooked.fdatasync = hook_fdatasync;
    hooked.fsync = hook_fsync;
    hooked.ftruncate = hook_ftruncate;
    hooked.mkdir = hook_mkdir;
    hooked.linkat = hook_linkat;
    hooked.renameat = hook_renameat;
    hooked.unlinkat = hook_unlinkat;
    hooked.may_allocate = hook_may_allocate;
    hooked.monotonic_ns = hook_monotonic_ns;
    verdict = decide;
    atomic_store(&armed, 0);
    atomic_store(&seen, 0);
    atomic_store(&fired, 0);
    atomic_store(&violations, 0);
    ig_os = &hooked;
}

static int faults_setup(void **state) {
    alarm(STUCK_S);
    return fixture_setup(state);
}

static int faults_teardown(void **state) {
    struct fixture *f = *state;
    atomic_store(&armed, 0);
    ingot_store_close(f->store, NULL);
    f->store = NULL;
    ig_os = &ig_os_real;
    alarm(0);
    return fixture_teardown(state);
}

/* Closes with whatever the faults left, and opens with everything working. */
static void reopen_unhurt(struct fixture *f) {
    ingot_store *store = f->store;
    f->store = NULL;
    ingot_store_close(store, NULL);
    ig_os = &ig_os_real;
    open_with(f, NULL);
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void create_hooked(struct fixture *f, int (*decide)(const struct call *call)) {
    create_with(f, 0, NULL);
    use_hooks(decide);
    open_with(f, NULL);
}

/* ---- Writers ------------------------------------------------------------------------------- */

#define PUTTERS 16
#define PUTS 20

/* Puts its blocks one after another until one fails. */
struct putter {
    struct fixture *f;
    uint64_t seed;
    unsigned limit;
    unsigned acked;
    ingot_status status; /* of the put that failed */
    int64_t failing_ms;  /* how long that took */
    ingot_id ids[PUTS];
    pthread_t thread;
};

static void *putter_run(void *arg) {
    struct putter *putter = arg;
    for (unsigned i = 0; i < putter->limit && putter->status == INGOT_OK; i++) {
        uint8_t *bytes = bytes_of(putter->seed + i, BLOCK);
        uint64_t begin = ig_os_real.monotonic_ns();
        putter->status =
            ingot_store_put(putter->f->store, bytes, BLOCK, NULL, &putter->ids[i], NULL);
        putter->failing_ms = (int64_t)((ig_os_real.monotonic_ns() - begin) / 1000000);
        putter->acked += putter->status == INGOT_OK;
        free(bytes);
    }
    return NULL;
}

static void run_putters(struct fixture *f, struct putter *putters, unsigned count, unsigned limit) {
    for (unsigned i = 0; i < count; i++) {
        putters[i] = (struct putter){.f = f, .seed = 1000 + i * PUTS, .limit = limit};
        assert_int_equal(pthread_create(&putters[i].thread, NULL, putter_run, &putters[i]), 0);
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(putters[i].thread, NULL), 0);
}

static void expect_acked(struct fixture *f, const struct putter *putters, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < putters[i].acked; j++)
            expect_seed(f, &putters[i].ids[j], putters[i].seed + j, BLOCK);
}

/* ---- Seals --------------------------------------------------------------------------------- */

static atomic_bool unsynced[FDS];
static atomic_uint seals;

static int watch_seals(const struct call *call) {
    if (call->fd < 0 || call->fd >= FDS)
        return 0;
    bool seal =
        call->kind == CALL_PWRITE && call->len >= 8 && memcmp(call->data, "IGGR\0\0\0\0", 8) == 0;
    if (seal) {
        atomic_fetch_add(&seals, 1);
        if (atomic_load(&unsynced[call->fd]))
            atomic_fetch_add(&violations, 1);
    }
    if (call->kind == CALL_PWRITE)
        atomic_store(&unsynced[call->fd], true);
    if (call->kind == CALL_FDATASYNC)
        atomic_store(&unsynced[call->fd], false);
    return 0;
}

static void test_faults__a_seal_follows_a_sync_of_all_before_it(void **state) {
    struct fixture *f = *state;
    struct putter putters[PUTTERS];
    create_with(f, 0, NULL);
    use_hooks(watch_seals);
    atomic_store(&seals, 0);
    atomic_store(&armed, 1);
    open_with(f, NULL);
    run_putters(f, putters, PUTTERS, 6);
    for (unsigned i = 0; i < PUTTERS; i++)
        assert_int_equal(putters[i].status, INGOT_OK);
    assert_true(atomic_load(&seals) >= 10);
    assert_int_equal(atomic_load(&violations), 0);
    reopen_unhurt(f);
    expect_acked(f, putters, PUTTERS);
}

/* ---- Failing writes and syncs of the log ---------------------------------------------------- */

static int fail_log_writes(const struct call *call) {
    return call->kind == CALL_PWRITE && ends_with(call->path, ".seg") ? EIO : 0;
}

static void test_faults__a_failed_log_write_makes_the_store_read_only(void **state) {
    struct fixture *f = *state;
    ingot_id id;
    create_hooked(f, fail_log_writes);
    ingot_id old = put_text(f, "old");
    ingot_id large = put_seed(f, 1, MIB);
    atomic_store(&armed, 1);
    expect(INGOT_IO, ingot_store_put(f->store, "new", 3, NULL, &id, &err));
    expect(INGOT_READ_ONLY, ingot_store_put(f->store, "newer", 5, NULL, &id, &err));
    atomic_store(&armed, 0);
    expect(INGOT_READ_ONLY, ingot_store_put(f->store, "newest", 6, NULL, &id, &err));
    expect(INGOT_READ_ONLY, ingot_store_unref(f->store, &old, NULL, NULL, &err));
    ingot_cache_evict(f->store, NULL);
    expect_bytes(f, &old, "old", 3);
    expect_seed(f, &large, 1, MIB);
    reopen_unhurt(f);
    expect_bytes(f, &old, "old", 3);
    expect_refs(f, &old, 1);
    put_text(f, "new");
    expect_clean(f);
}

static void test_faults__a_delete_that_failed_is_not_told_as_absence(void **state) {
    struct fixture *f = *state;
    create_hooked(f, fail_log_writes);
    ingot_id id = put_loose(f, "stays");
    atomic_store(&armed, 1);
    expect(INGOT_IO, ingot_store_delete(f->store, &id, NULL, &err));
    assert_int_not_equal(ingot_store_has(f->store, &id, &err), INGOT_NOT_FOUND);
    assert_int_not_equal(ingot_store_delete(f->store, &id, NULL, &err), INGOT_NOT_FOUND);
    reopen_unhurt(f);
    expect_bytes(f, &id, "stays", 5);
    expect_clean(f);
}

/* The first sync of a segment fails; all that touches one afterwards is counted. */
static int fail_first_sync(const struct call *call) {
    if (!ends_with(call->path, ".seg") ||
        (call->kind != CALL_FDATASYNC && call->kind != CALL_FSYNC && call->kind != CALL_PWRITE))
        return 0;
    if (atomic_load(&fired) > 0) {
        atomic_fetch_add(&violations, 1);
        return 0;
    }
    if (call->kind == CALL_PWRITE)
        return 0;
    atomic_fetch_add(&fired, 1);
    return EIO;
}

static void test_faults__a_failed_sync_is_never_tried_again(void **state) {
    struct fixture *f = *state;
    struct putter before[4], during[4];
    ingot_id id;
    create_hooked(f, fail_first_sync);
    run_putters(f, before, 4, 2);
    atomic_store(&armed, 1);
    for (unsigned i = 0; i < 4; i++)
        expect_seed(f, &before[i].ids[1], before[i].seed + 1, BLOCK);
    for (unsigned i = 0; i < 4; i++) {
        during[i] = (struct putter){.f = f, .seed = 5000 + i * PUTS, .limit = 1};
        assert_int_equal(pthread_create(&during[i].thread, NULL, putter_run, &during[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(during[i].thread, NULL), 0);
        assert_int_not_equal(during[i].status, INGOT_OK);
    }
    assert_int_equal(atomic_load(&fired), 1);
    expect(INGOT_READ_ONLY, ingot_store_put(f->store, "no", 2, NULL, &id, &err));
    assert_int_not_equal(ingot_store_sync(f->store, NULL, &err), INGOT_OK);
    ingot_store *store = f->store;
    f->store = NULL;
    assert_int_not_equal(ingot_store_close(store, &err), INGOT_OK);
    assert_int_equal(atomic_load(&violations), 0);
    ig_os = &ig_os_real;
    open_with(f, NULL);
    expect_acked(f, before, 4);
    expect_clean(f);
}

/* ---- The next segment ----------------------------------------------------------------------- */

static int refuse_tail(const struct call *call) {
    return call->kind == CALL_OPEN && (call->flags & O_ACCMODE) == O_RDWR &&
                   ends_with(call->path, ".seg")
               ? EMFILE
               : 0;
}

static void test_faults__a_next_segment_that_cannot_be_opened_fails_puts_soon(void **state) {
    struct fixture *f = *state;
    struct putter putters[PUTTERS], again[PUTTERS];
    create_hooked(f, refuse_tail);
    ingot_id first = put_text(f, "first"); /* segment 1 is open */
    atomic_store(&armed, 1);
    run_putters(f, putters, PUTTERS, PUTS);
    for (unsigned i = 0; i < PUTTERS; i++) {
        assert_int_not_equal(putters[i].status, INGOT_OK);
        assert_in_range(putters[i].failing_ms, 0, SOON_MS);
    }
    expect_bytes(f, &first, "first", 5);
    expect_acked(f, putters, PUTTERS);
    atomic_store(&armed, 0);
    run_putters(f, again, PUTTERS, 2);
    for (unsigned i = 0; i < PUTTERS; i++)
        assert_int_equal(again[i].status, INGOT_OK);
    reopen_unhurt(f);
    expect_acked(f, putters, PUTTERS);
    expect_acked(f, again, PUTTERS);
    expect_clean(f);
}

static int no_space_for_segments(const struct call *call) {
    return call->kind == CALL_PWRITE && ends_with(call->path, "next.tmp") ? ENOSPC : 0;
}

static int no_name_for_segments(const struct call *call) {
    return call->kind == CALL_OPEN && ends_with(call->path, "next.tmp") ? ENOSPC : 0;
}

static void survives_a_full_device(struct fixture *f, int (*decide)(const struct call *call)) {
    ingot_id ids[40], id;
    uint8_t *bytes = bytes_of(999, BLOCK);
    unsigned count = 0;
    create_hooked(f, decide);
    ids[count++] = put_seed(f, 0, BLOCK); /* segment 1 is open */
    atomic_store(&armed, 1);
    ingot_status status = INGOT_OK;
    while (status == INGOT_OK && count < 39) {
        uint8_t *block = bytes_of(count, BLOCK);
        status = ingot_store_put(f->store, block, BLOCK, NULL, &ids[count], &err);
        count += status == INGOT_OK;
        free(block);
    }
    expect_status(INGOT_NO_SPACE, status, "put on a full device", __FILE__, __LINE__);
    expect(INGOT_NO_SPACE, ingot_store_put(f->store, bytes, BLOCK, NULL, &id, &err));
    ingot_cache_evict(f->store, NULL);
    for (unsigned i = 0; i < count; i++)
        expect_seed(f, &ids[i], i, BLOCK);
    for (unsigned i = 1; i < count; i++)
        unref(f, &ids[i]);
    ingot_gc_report report = collect(f, 0, -1, -1);
    assert_int_equal(report.swept, count - 1);
    assert_true(report.freed_bytes > 0 || report.segments_cleaned == 0);
    expect_seed(f, &ids[0], 0, BLOCK);
    atomic_store(&armed, 0);
    for (unsigned i = 0; i < 12; i++)
        put_seed(f, 100 + i, BLOCK);
    assert_true(collect(f, 0, -1, -1).freed_bytes + report.freed_bytes > 0);
    expect_seed(f, &ids[0], 0, BLOCK);
    expect_clean(f);
    reopen_unhurt(f);
    expect_seed(f, &ids[0], 0, BLOCK);
    expect_clean(f);
    free(bytes);
}

static void test_faults__a_full_device_still_serves_and_gives_back(void **state) {
    survives_a_full_device(*state, no_space_for_segments);
}

static void test_faults__a_directory_without_room_still_serves_and_gives_back(void **state) {
    survives_a_full_device(*state, no_name_for_segments);
}

/* ---- Damage and rebuilding ------------------------------------------------------------------- */

#define BLOCKS 12

static void segment_path(const struct fixture *f, uint32_t number, char *ret_path,
                         size_t capacity) {
    snprintf(ret_path, capacity, "%s/log/%08u.seg", f->path, number);
}

/* Blocks over several segments, and where each is. The store is closed afterwards. */
static void fill_segments(struct fixture *f, ingot_id *ret_ids, ingot_stat *ret_stats) {
    create_with(f, 0, NULL);
    open_with(f, NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        ret_ids[i] = put_seed(f, i, BLOCK);
        expect_ok(ingot_store_stat(f->store, &ret_ids[i], &ret_stats[i], &err));
    }
    close_store(f);
}

static void rebuild(struct fixture *f, ingot_rebuild_report *ret_report) {
    expect_ok(ingot_store_rebuild_index(f->path, NULL, NULL, ret_report, &err));
}

/* Opens, and finds everything but what `lost` names; goes on; is the same once more. */
static void expect_salvaged(struct fixture *f, const ingot_id *ids, const bool *lost) {
    ingot_buf *buf = NULL;
    for (unsigned round = 0; round < 2; round++) {
        open_with(f, NULL);
        for (unsigned i = 0; i < BLOCKS; i++) {
            if (!lost[i])
                expect_seed(f, &ids[i], i, BLOCK);
            else
                assert_int_not_equal(ingot_store_get(f->store, &ids[i], NULL, &buf, &err),
                                     INGOT_OK);
        }
        for (unsigned i = 0; i < 6; i++) {
            ingot_id id = put_seed(f, 500 + i, BLOCK);
            expect_refs(f, &id, round + 1);
            expect_seed(f, &id, 500 + i, BLOCK);
        }
        close_store(f);
    }
}

/* `offset` from the start of the last group before the seal of segment 1. */
static void damage_before_seal(struct fixture *f, int64_t offset) {
    char path[600];
    ingot_id ids[BLOCKS];
    ingot_stat stats[BLOCKS];
    bool lost[BLOCKS] = {false};
    ingot_rebuild_report report;
    ingot_buf *buf = NULL;
    unsigned last = 0;
    fill_segments(f, ids, stats);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (stats[i].segment == 1)
            last = i;
    assert_true(last > 0 && last + 1 < BLOCKS);
    lost[last] = true;
    segment_path(f, 1, path, sizeof path);
    uint64_t group = stats[last].offset - IG_RECORD_HEADER - IG_GROUP_HEADER;
    assert_int_equal(group % IG_LOG_ALIGN, 0);
    flip(path, (uint64_t)((int64_t)group + offset));
    ingot_status status = ingot_store_open(f->path, NULL, &f->store, &err);
    if (status == INGOT_OK) {
        status = ingot_store_get(f->store, &ids[last], NULL, &buf, &err);
        ingot_buf_release(status == INGOT_OK ? buf : NULL);
        ingot_check_report check;
        expect(INGOT_CORRUPT, ingot_store_check(f->store, NULL, NULL, &check, &err));
        assert_int_not_equal(status, INGOT_NOT_FOUND);
        close_store(f);
    } else {
        expect_status(INGOT_CORRUPT, status, "open", __FILE__, __LINE__);
    }
    rebuild(f, &report);
    assert_true(report.damaged_records > 0);
    expect_salvaged(f, ids, lost);
}

static void test_faults__a_broken_body_before_a_seal_costs_its_object_only(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_id ids[BLOCKS];
    ingot_stat stats[BLOCKS];
    bool lost[BLOCKS] = {false};
    ingot_rebuild_report report;
    ingot_buf *buf = NULL;
    unsigned last = 0;
    fill_segments(f, ids, stats);
    while (stats[last + 1].segment == 1)
        last++;
    lost[last] = true;
    segment_path(f, 1, path, sizeof path);
    flip(path, stats[last].offset + 10);
    open_with(f, NULL);
    expect(INGOT_CORRUPT, ingot_store_get(f->store, &ids[last], NULL, &buf, &err));
    close_store(f);
    rebuild(f, &report);
    assert_true(report.damaged_records > 0);
    open_with(f, NULL);
    expect(INGOT_CORRUPT, ingot_store_get(f->store, &ids[last], NULL, &buf, &err));
    close_store(f);
    expect_salvaged(f, ids, lost);
}

static void test_faults__a_broken_record_before_a_seal_is_stepped_over(void **state) {
    damage_before_seal(*state, IG_GROUP_HEADER + 40);
}

static void test_faults__a_broken_group_before_a_seal_is_stepped_over(void **state) {
    damage_before_seal(*state, 20);
}

/* Damages a segment's header; `number` 0: the last with objects. */
static void damage_header(struct fixture *f, uint32_t number) {
    char path[600], kept[600];
    ingot_id ids[BLOCKS];
    ingot_stat stats[BLOCKS];
    bool lost[BLOCKS];
    ingot_rebuild_report report;
    char *before = NULL, *after = NULL;
    size_t before_len = 0, after_len = 0;
    fill_segments(f, ids, stats);
    number = number == 0 ? stats[BLOCKS - 1].segment : number;
    for (unsigned i = 0; i < BLOCKS; i++)
        lost[i] = stats[i].segment == number;
    segment_path(f, number, path, sizeof path);
    snprintf(kept, sizeof kept, "%s/integrity/quarantine/%08u.seg", f->path, number);
    flip(path, 20);
    expect_ok(ig_read_file(path, 4 * MIB, &before, &before_len, &err));
    expect(INGOT_CORRUPT, ingot_store_open(f->path, NULL, &f->store, &err));
    rebuild(f, &report);
    assert_true(report.damaged_records > 0);
    expect_ok(ig_read_file(kept, 4 * MIB, &after, &after_len, &err));
    assert_int_equal(after_len, before_len);
    assert_memory_equal(after, before, before_len);
    free(before);
    free(after);
    expect_salvaged(f, ids, lost);
    assert_int_equal(access(kept, F_OK), 0);
}

static void test_faults__a_segment_without_a_header_is_put_in_quarantine(void **state) {
    damage_header(*state, 2);
}

static void test_faults__the_first_segment_may_lose_its_header(void **state) {
    damage_header(*state, 1);
}

static void test_faults__the_last_segment_may_lose_its_header(void **state) {
    damage_header(*state, 0);
}

static void test_faults__a_format_without_segment_size_is_damage(void **state) {
    struct fixture *f = *state;
    char path[600], text[IG_FORMAT_MAX];
    char *data = NULL;
    size_t len = 0;
    struct ig_format format;
    create_with(f, 0, NULL);
    snprintf(path, sizeof path, "%s/FORMAT", f->path);
    expect_ok(ig_read_file(path, IG_FORMAT_MAX, &data, &len, &err));
    expect_ok(ig_format_parse(data, len, path, &format, &err));
    free(data);
    format.segment_size = 0;
    len = ig_format_print(&format, text);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    expect(INGOT_CORRUPT, ingot_store_open(f->path, NULL, &f->store, &err));
    assert_non_null(strstr(err.message, "segment-size"));
}

/* ---- Processes ------------------------------------------------------------------------------ */

#define CHILD_PUTS 40
#define CHILD_SEED 300

static int die_after_puts(const char *path) {
    ingot_store *store = NULL;
    ingot_status status = ingot_store_open(path, NULL, &store, &err);
    for (uint64_t i = 0; i < CHILD_PUTS && status == INGOT_OK; i++) {
        uint8_t *bytes = bytes_of(CHILD_SEED + i, 1000 + i);
        ingot_id id;
        status = ingot_store_put(store, bytes, 1000 + i, NULL, &id, &err);
        free(bytes);
    }
    if (status != INGOT_OK) {
        fprintf(stderr, "child: %s\n", err.message);
        return 2;
    }
    _exit(9);
}

static void run_child(struct fixture *f) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "child", f->path, (char *)NULL);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);
}

static void test_faults__a_read_only_opening_after_a_crash_lists_everything(void **state) {
    struct fixture *f = *state;
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    ingot_iter *iter = NULL;
    ingot_id id, last, found;
    unsigned count = 0;
    ingot_status status;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    for (uint64_t i = 0; i < 10; i++)
        put_seed(f, i, 500);
    close_store(f);
    run_child(f);
    options.flags = INGOT_OPEN_READ_ONLY;
    open_with(f, &options);
    expect_ok(ingot_iter_open(f->store, &iter, &err));
    while ((status = ingot_iter_next(iter, &id, NULL, &err)) == INGOT_OK) {
        assert_true(count == 0 || ingot_id_compare(&last, &id) < 0);
        last = id;
        count++;
    }
    expect_status(INGOT_NOT_FOUND, status, "the end of the list", __FILE__, __LINE__);
    ingot_iter_close(iter);
    assert_int_equal(count, 10 + CHILD_PUTS);
    for (uint64_t i = 0; i < CHILD_PUTS; i++) {
        char hex[INGOT_ID_HEX + 1];
        uint8_t *bytes = bytes_of(CHILD_SEED + i, 1000 + i);
        ingot_store_hash(f->store, bytes, 1000 + i, &id);
        ingot_id_format(&id, hex);
        hex[11] = '\0';
        expect_ok(ingot_store_resolve(f->store, hex, &found, &err));
        expect_same_id(&found, &id);
        expect_bytes(f, &id, bytes, 1000 + i);
        free(bytes);
    }
    assert_int_equal(stats_of(f).objects, 10 + CHILD_PUTS);
}

static void test_faults__handles_inherited_by_a_child_are_let_go_at_once(void **state) {
    struct fixture *f = *state;
    ingot_queue *queue = NULL;
    ingot_session *session = NULL;
    ingot_reader *reader = NULL;
    ingot_iter *iter = NULL;
    uint8_t byte;
    size_t len = 0;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_seed(f, 1, 10 * KIB);
    expect_ok(ingot_queue_open(f->store, NULL, &queue, &err));
    expect_ok(ingot_session_open(f->store, &session, &err));
    expect_ok(ingot_session_lease(session, &id, &err));
    expect_ok(ingot_reader_open(f->store, &id, &reader, &err));
    expect_ok(ingot_iter_open(f->store, &iter, &err));
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(5);
        ingot_queue_close(queue);
        ingot_session_close(session);
        ingot_reader_close(reader);
        ingot_iter_close(iter);
        _exit(ingot_cache_evict(f->store, NULL) == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_ok(ingot_reader_read(reader, &byte, 1, &len, &err));
    expect_ok(ingot_iter_next(iter, &id, NULL, &err));
    ingot_iter_close(iter);
    ingot_reader_close(reader);
    ingot_session_close(session);
    ingot_queue_close(queue);
    expect_seed(f, &id, 1, 10 * KIB);
}

/* ---- Time ----------------------------------------------------------------------------------- */

static void pass_minutes(uint64_t minutes) {
    atomic_fetch_add(&clock_ahead_ns, minutes * 60 * UINT64_C(1000000000));
}

static void test_faults__a_put_without_reference_renews_the_grace_period(void **state) {
    struct fixture *f = *state;
    create_hooked(f, watch_seals);
    ingot_id id = put_loose(f, "wanted again"); /* ten minutes of grace */
    ingot_id other = put_loose(f, "forgotten");
    pass_minutes(9);
    put_loose(f, "wanted again");
    pass_minutes(9);
    ingot_gc_report report = collect(f, 0, 0, 0);
    assert_int_equal(report.in_grace, 1);
    assert_int_equal(report.swept, 1);
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &other, &err));
    expect_bytes(f, &id, "wanted again", 12);
    pass_minutes(2);
    assert_int_equal(collect(f, 0, 0, 0).swept, 1);
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
}

/* ---- Every call fails once ------------------------------------------------------------------- */

enum fate { UNKNOWN, KEPT, GONE };

struct object {
    uint64_t seed;
    size_t len;
    enum fate fate; /* what must be so when the store is opened again */
    ingot_id id;
};
#define OBJECTS 12

struct run {
    struct fixture *f;
    struct object objects[OBJECTS];
    bool memory_only; /* nothing else may be said */
    unsigned number;
};

/* Success, or an error that has a name and a text. */
static bool took(struct run *run, ingot_status status, const char *call) {
    if (status == INGOT_OK)
        return true;
    bool named = status < 0 && status != INGOT_USAGE && status != INGOT_CORRUPT &&
                 status != INGOT_EXISTS && status != INGOT_FORKED && err.message[0] != '\0';
    if (run->memory_only)
        named = status == INGOT_NO_MEMORY || status == INGOT_READ_ONLY;
    if (!named || status == INGOT_NOT_FOUND || strncmp(ingot_status_name(status), "INGOT_", 6) != 0)
        fail_msg("call %u failing: %s is %s (%s)", run->number, call, ingot_status_name(status),
                 err.message);
    err.message[0] = '\0';
    return false;
}

static void run_put(struct run *run, unsigned i, size_t len, uint32_t flags) {
    struct object *object = &run->objects[i];
    ingot_op op = INGOT_OP_INIT;
    uint8_t *bytes = bytes_of(i, len);
    op.flags = flags;
    object->seed = i;
    object->len = len;
    ingot_store_hash(run->f->store, bytes, len, &object->id);
    if (took(run, ingot_store_put(run->f->store, bytes, len, &op, &object->id, &err), "put"))
        object->fate = KEPT;
    free(bytes);
}

static void run_get(struct run *run, unsigned i) {
    const struct object *object = &run->objects[i];
    ingot_buf *buf = NULL;
    if (object->fate != KEPT)
        return;
    ingot_cache_evict(run->f->store, &object->id);
    if (!took(run, ingot_store_get(run->f->store, &object->id, NULL, &buf, &err), "get"))
        return;
    uint8_t *bytes = bytes_of(object->seed, object->len);
    assert_int_equal(ingot_buf_size(buf), object->len);
    assert_memory_equal(ingot_buf_data(buf), bytes, object->len);
    ingot_buf_release(buf);
    free(bytes);
}

/* Without its reference the collection may take it. */
static void run_unref(struct run *run, unsigned i) {
    struct object *object = &run->objects[i];
    if (object->fate != KEPT)
        return;
    object->fate = UNKNOWN;
    took(run, ingot_store_unref(run->f->store, &object->id, NULL, NULL, &err), "unref");
}

static void run_delete(struct run *run, unsigned i) {
    struct object *object = &run->objects[i];
    if (object->fate != KEPT)
        return;
    object->fate = took(run, ingot_store_delete(run->f->store, &object->id, NULL, &err), "delete")
                       ? GONE
                       : UNKNOWN;
}

static void run_gc(struct run *run) {
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report;
    options.grace_ms = -1;
    options.limbo_ms = -1;
    options.clean_below_percent = 90;
    took(run, ingot_store_gc(run->f->store, &options, NULL, &report, &err), "gc");
}

static void run_workload(struct run *run) {
    run_put(run, 0, 5000, 0);
    run_put(run, 1, 300 * KIB, 0);
    run_put(run, 2, 4000, INGOT_NO_REF);
    run_put(run, 3, 301 * KIB, 0);
    for (unsigned i = 4; i < OBJECTS; i++) /* into the second segment */
        run_put(run, i, BLOCK, 0);
    run_get(run, 0);
    run_get(run, 1);
    run_unref(run, 3);
    for (unsigned i = 4; i < OBJECTS - 2; i++)
        run_unref(run, i);
    run_delete(run, 2);
    run_gc(run);
    run_get(run, OBJECTS - 1);
    took(run, ingot_store_sync(run->f->store, NULL, &err), "sync");
}

static void expect_fates(const struct run *run) {
    for (unsigned i = 0; i < OBJECTS; i++) {
        const struct object *object = &run->objects[i];
        ingot_buf *buf = NULL;
        ingot_status status = object->len == 0
                                  ? INGOT_NOT_FOUND
                                  : ingot_store_get(run->f->store, &object->id, NULL, &buf, &err);
        bool fits = object->fate == KEPT   ? status == INGOT_OK
                    : object->fate == GONE ? status == INGOT_NOT_FOUND
                                           : status == INGOT_OK || status == INGOT_NOT_FOUND;
        if (!fits)
            fail_msg("call %u failing: object %u is %s (%s)", run->number, i,
                     ingot_status_name(status), err.message);
        if (status == INGOT_OK) {
            uint8_t *bytes = bytes_of(object->seed, object->len);
            assert_int_equal(ingot_buf_size(buf), object->len);
            assert_memory_equal(ingot_buf_data(buf), bytes, object->len);
            free(bytes);
        }
        ingot_buf_release(buf);
    }
}

/* One store, one failing call; false when there was no such call any more. */
static bool survives_call(struct run *run, int (*decide)(const struct call *call)) {
    struct fixture *f = run->f;
    alarm(STUCK_S);
    create_with(f, 0, NULL);
    use_hooks(decide);
    atomic_store(&fail_at, run->number);
    atomic_store(&armed, 1);
    if (took(run, ingot_store_open(f->path, NULL, &f->store, &err), "open")) {
        run_workload(run);
        ingot_store *store = f->store;
        f->store = NULL;
        took(run, ingot_store_close(store, &err), "close");
    }
    atomic_store(&armed, 0);
    ig_os = &ig_os_real;
    ingot_status status = ingot_store_open(f->path, NULL, &f->store, &err);
    if (status != INGOT_OK)
        fail_msg("call %u failing: the store does not open again: %s", run->number, err.message);
    expect_fates(run);
    expect_clean(f);
    close_store(f);
    nftw(f->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return atomic_load(&fired) > 0;
}

/* Of the calls of a run, every so manieth fails in turn, from a drawn start: --every=1 takes all.
 */
static unsigned every = 8;
static unsigned first_call = 1;

static void fail_each_call(struct fixture *f, int (*decide)(const struct call *call),
                           bool memory_only) {
    unsigned number = first_call;
    for (bool more = true; more; number += every) {
        struct run run = {.f = f, .number = number, .memory_only = memory_only};
        more = survives_call(&run, decide);
    }
    assert_true(number > 20);
}

static int fail_one_allocation(const struct call *call) {
    if (call->kind != CALL_ALLOCATE || atomic_fetch_add(&seen, 1) + 1 != atomic_load(&fail_at))
        return 0;
    atomic_fetch_add(&fired, 1);
    return ENOMEM;
}

static int fail_one_file_call(const struct call *call) {
    if (call->kind == CALL_ALLOCATE || atomic_fetch_add(&seen, 1) + 1 != atomic_load(&fail_at))
        return 0;
    atomic_fetch_add(&fired, 1);
    return EIO;
}

static void test_faults__every_allocation_may_fail_once(void **state) {
    fail_each_call(*state, fail_one_allocation, true);
}

static void test_faults__every_file_operation_may_fail_once(void **state) {
    fail_each_call(*state, fail_one_file_call, false);
}

#define T(name) cmocka_unit_test_setup_teardown(test_faults__##name, faults_setup, faults_teardown)

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 1; i < argc; i++)
        sscanf(argv[i], "--every=%u", &every);
    every = every == 0 ? 1 : every;
    first_call = 1 + (unsigned)now.tv_nsec % every;
    for (int i = 1; i < argc; i++)
        sscanf(argv[i], "--first=%u", &first_call);
    printf("replay: %s --every=%u --first=%u\n", argv[0], every, first_call);
    const struct CMUnitTest tests[] = {
        T(a_seal_follows_a_sync_of_all_before_it),
        T(a_failed_log_write_makes_the_store_read_only),
        T(a_delete_that_failed_is_not_told_as_absence),
        T(a_failed_sync_is_never_tried_again),
        T(a_next_segment_that_cannot_be_opened_fails_puts_soon),
        T(a_full_device_still_serves_and_gives_back),
        T(a_directory_without_room_still_serves_and_gives_back),
        T(a_broken_body_before_a_seal_costs_its_object_only),
        T(a_broken_record_before_a_seal_is_stepped_over),
        T(a_broken_group_before_a_seal_is_stepped_over),
        T(a_segment_without_a_header_is_put_in_quarantine),
        T(the_first_segment_may_lose_its_header),
        T(the_last_segment_may_lose_its_header),
        T(a_format_without_segment_size_is_damage),
        T(a_read_only_opening_after_a_crash_lists_everything),
        T(handles_inherited_by_a_child_are_let_go_at_once),
        T(a_put_without_reference_renews_the_grace_period),
        T(every_allocation_may_fail_once),
        T(every_file_operation_may_fail_once),
    };
    if (argc > 1 && strncmp(argv[1], "--", 2) != 0)
        return die_after_puts(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
