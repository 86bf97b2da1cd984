/* What is there after a process died without closing, and what damage to the log does.
 *
 * A child that really opens a store must be a new process, not only a fork: the program runs itself
 * again with a path.
 */
#include "test_store.h"

#include <endian.h>
#include <sys/wait.h>

#define GROUPS_MAX 1000
#define PUTS 40

/* ---- The child: puts, one commit group each, and dies ------------------------------------- */

static uint64_t put_len(uint64_t i) { return 100 + i * 37; }

static int die_after_puts(const char *path) {
    ingot_store *store = NULL;
    if (ingot_store_open(path, NULL, &store, &err) != INGOT_OK) {
        fprintf(stderr, "child: %s\n", err.message);
        return 2;
    }
    for (uint64_t i = 0; i < PUTS; i++) {
        uint8_t *bytes = bytes_of(i, put_len(i));
        ingot_id id;
        if (ingot_store_put(store, bytes, put_len(i), NULL, &id, &err) != INGOT_OK) {
            fprintf(stderr, "child: %s\n", err.message);
            return 2;
        }
        free(bytes);
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

/* ---- The log as docs/format.md has it ------------------------------------------------------ */

struct group {
    uint64_t offset;
    uint64_t length;
    uint32_t count;
};

static void segment_path(const struct fixture *f, uint32_t number, char *ret_path,
                         size_t capacity) {
    snprintf(ret_path, capacity, "%s/log/%08u.seg", f->path, number);
}

/* The groups of a segment, front to back, until something else stands there. */
static size_t groups_of(const struct fixture *f, uint32_t number, struct group *ret_groups) {
    char path[600];
    uint8_t header[16];
    size_t count = 0;
    segment_path(f, number, path, sizeof path);
    FILE *file = fopen(path, "rb");
    uint64_t offset = 4096;
    while (file != NULL && count < GROUPS_MAX && fseek(file, (long)offset, SEEK_SET) == 0 &&
           fread(header, 1, sizeof header, file) == sizeof header &&
           memcmp(header, "IGGR", 4) == 0) {
        struct group *group = &ret_groups[count++];
        group->offset = offset;
        memcpy(&group->count, header + 4, 4);
        memcpy(&group->length, header + 8, 8);
        group->count = le32toh(group->count);
        group->length = le64toh(group->length);
        offset += group->length;
    }
    if (file != NULL)
        fclose(file);
    return count;
}

/* All that died with the process is in segment 1; its last group is the last put. */
static struct group last_group(struct fixture *f) {
    struct group groups[GROUPS_MAX];
    create_with(f, 0, NULL);
    run_child(f);
    size_t count = groups_of(f, 1, groups);
    assert_true(count >= PUTS);
    return groups[count - 1];
}

static void id_of_put(struct fixture *f, uint64_t i, ingot_id *ret_id) {
    uint8_t *bytes = bytes_of(i, put_len(i));
    ingot_store_hash(f->store, bytes, put_len(i), ret_id);
    free(bytes);
}

static void expect_puts(struct fixture *f, uint64_t count) {
    for (uint64_t i = 0; i < PUTS; i++) {
        ingot_id id;
        id_of_put(f, i, &id);
        if (i < count) {
            expect_seed(f, &id, i, put_len(i));
            expect_refs(f, &id, 1);
        } else {
            expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
        }
    }
}

/* Recovered, works, and is the same when opened once more. */
static void expect_recovered(struct fixture *f, uint64_t count) {
    open_with(f, NULL);
    expect_puts(f, count);
    expect_clean(f);
    ingot_id id = put_text(f, "life goes on");
    reopen(f);
    expect_puts(f, count);
    expect_bytes(f, &id, "life goes on", 12);
    expect_clean(f);
}

static void test_recover__what_was_acked_is_there_after_a_sudden_end(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    run_child(f);
    expect_recovered(f, PUTS);
}

static void test_recover__sudden_ends_can_follow_each_other(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    for (int i = 0; i < 3; i++)
        run_child(f);
    open_with(f, NULL);
    for (uint64_t i = 0; i < PUTS; i++) {
        ingot_id id;
        id_of_put(f, i, &id);
        expect_refs(f, &id, 3);
    }
    expect_clean(f);
}

static void test_recover__garbage_in_the_last_group_ends_the_log_before_it(void **state) {
    struct fixture *f = *state;
    char path[600];
    struct group last = last_group(f);
    segment_path(f, 1, path, sizeof path);
    flip(path, last.offset + 64 + 96 + 10); /* in the body of its record */
    expect_recovered(f, PUTS - 1);
}

static void test_recover__a_torn_header_ends_the_log_before_it(void **state) {
    struct fixture *f = *state;
    char path[600];
    struct group last = last_group(f);
    segment_path(f, 1, path, sizeof path);
    flip(path, last.offset + 20);
    expect_recovered(f, PUTS - 1);
}

static void test_recover__a_group_that_never_arrived_is_no_damage(void **state) {
    struct fixture *f = *state;
    char path[600];
    uint8_t zeros[4096] = {0};
    struct group last = last_group(f);
    segment_path(f, 1, path, sizeof path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    for (uint64_t at = 0; at < last.length; at += sizeof zeros) {
        assert_int_equal(fseek(file, (long)(last.offset + at), SEEK_SET), 0);
        assert_int_equal(fwrite(zeros, 1, sizeof zeros, file), sizeof zeros);
    }
    fclose(file);
    expect_recovered(f, PUTS - 1);
}

/* Segments are written to their full length before they are used: no power cut shortens one. */
static void test_recover__a_segment_cut_short_is_damage(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_store *store = NULL;
    struct group last = last_group(f);
    segment_path(f, 1, path, sizeof path);
    assert_int_equal(truncate(path, (off_t)(last.offset + last.length)), 0);
    expect(INGOT_CORRUPT, ingot_store_open(f->path, NULL, &store, &err));
    assert_int_equal(truncate(path, (off_t)MIB), 0);
    expect_recovered(f, PUTS);
}

static void test_recover__damage_before_later_acks_is_said_and_not_cut_off(void **state) {
    struct fixture *f = *state;
    char path[600];
    struct group groups[GROUPS_MAX];
    ingot_store *store = NULL;
    last_group(f);
    assert_true(groups_of(f, 1, groups) >= PUTS);
    segment_path(f, 1, path, sizeof path);
    flip(path, groups[2].offset + 64 + 96 + 10);
    expect(INGOT_CORRUPT, ingot_store_open(f->path, NULL, &store, &err));
    assert_non_null(strstr(err.message, "00000001"));
    flip(path, groups[2].offset + 64 + 96 + 10); /* and nothing was changed by trying */
    expect_recovered(f, PUTS);
}

static void test_recover__a_lost_log_is_not_an_empty_store(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_store *store = NULL;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    put_text(f, "was here");
    close_store(f);
    segment_path(f, 1, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    ingot_status st = ingot_store_open(f->path, NULL, &store, &err);
    if (st != INGOT_CORRUPT && st != INGOT_NO_INDEX)
        fail_msg("open without its log is %s", ingot_status_name(st));
}

/* ---- Damage at rest ------------------------------------------------------------------------ */

static void test_recover__a_damaged_object_is_named_and_the_others_are_served(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_stat stat;
    ingot_buf *buf = NULL;
    ingot_id damaged[4];
    char hex[INGOT_ID_HEX + 1];
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_seed(f, 1, 5000);
    ingot_id other = put_seed(f, 2, 5000);
    expect_ok(ingot_store_stat(f->store, &id, &stat, &err));
    close_store(f);
    segment_path(f, stat.segment, path, sizeof path);
    flip(path, stat.offset + 2500);
    open_with(f, NULL);
    ingot_id_format(&id, hex);
    expect(INGOT_CORRUPT, ingot_store_get(f->store, &id, NULL, &buf, &err));
    assert_non_null(strstr(err.message, hex));
    expect(INGOT_CORRUPT, ingot_store_verify(f->store, &id, NULL, &err));
    expect_ok(ingot_store_has(f->store, &id, &err));
    expect_seed(f, &other, 2, 5000);
    assert_true(stats_of(f).corruptions >= 1);
    options.flags = INGOT_CHECK_READ_DATA;
    options.damaged = damaged;
    options.damaged_max = 4;
    expect(INGOT_CORRUPT, ingot_store_check(f->store, &options, NULL, &report, &err));
    assert_int_equal(report.damaged_objects, 1);
    expect_same_id(&damaged[0], &id);
}

static void test_recover__collection_leaves_a_damaged_segment_alone(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_stat stat;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_seed(f, 1, 5000);
    expect_ok(ingot_store_stat(f->store, &id, &stat, &err));
    for (uint64_t i = 2; i < 30; i++) { /* dead, so that the segment is worth cleaning */
        ingot_id dead = put_seed(f, i, 100 * KIB);
        unref(f, &dead);
    }
    close_store(f);
    segment_path(f, stat.segment, path, sizeof path);
    flip(path, stat.offset + 2500);
    open_with(f, NULL);
    ingot_gc_report report = collect(f, 0, -1, -1);
    assert_true(report.segments_unreadable >= 1);
    assert_int_equal(access(path, F_OK), 0);
    expect_ok(ingot_store_has(f->store, &id, &err));
}

static void test_recover__a_missing_object_file_is_damage_not_absence(void **state) {
    struct fixture *f = *state;
    char path[700];
    ingot_buf *buf = NULL;
    ingot_check_report report;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_seed(f, 1, MIB);
    close_store(f);
    file_of(f, &id, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    open_with(f, NULL);
    expect(INGOT_CORRUPT, ingot_store_get(f->store, &id, NULL, &buf, &err));
    expect_ok(ingot_store_has(f->store, &id, &err));
    expect(INGOT_CORRUPT, ingot_store_check(f->store, NULL, NULL, &report, &err));
    assert_int_equal(report.damaged_objects, 1);
}

static void test_recover__a_foreign_object_file_is_an_orphan(void **state) {
    struct fixture *f = *state;
    char path[700];
    ingot_check_report report;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_seed(f, 1, MIB);
    file_of(f, &id, path, sizeof path);
    unref(f, &id);
    collect(f, 0, -1, -1);
    close_store(f);
    FILE *file = fopen(path, "w"); /* as a crash between file and record leaves it */
    assert_non_null(file);
    fclose(file);
    open_with(f, NULL);
    expect_ok(ingot_store_check(f->store, NULL, NULL, &report, &err));
    assert_int_equal(report.orphan_files, 1);
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
    assert_int_equal(collect(f, 0, 0, 0).orphans, 1);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_recover__a_put_over_an_orphan_stores_the_right_bytes(void **state) {
    struct fixture *f = *state;
    char path[700];
    uint8_t *bytes = bytes_of(1, MIB);
    ingot_id id;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_store_hash(f->store, bytes, MIB, &id);
    file_of(f, &id, path, sizeof path);
    char directory[700];
    snprintf(directory, sizeof directory, "%.*s", (int)(strlen(path) - INGOT_ID_HEX - 1), path);
    mkdir(directory, 0700);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("half of an object", file);
    fclose(file);
    put_seed(f, 1, MIB);
    expect_seed(f, &id, 1, MIB);
    reopen(f);
    expect_seed(f, &id, 1, MIB);
    expect_clean(f);
    free(bytes);
}

#define T(name)                                                                                    \
    cmocka_unit_test_setup_teardown(test_recover__##name, fixture_setup, fixture_teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        T(what_was_acked_is_there_after_a_sudden_end),
        T(sudden_ends_can_follow_each_other),
        T(garbage_in_the_last_group_ends_the_log_before_it),
        T(a_torn_header_ends_the_log_before_it),
        T(a_group_that_never_arrived_is_no_damage),
        T(a_segment_cut_short_is_damage),
        T(damage_before_later_acks_is_said_and_not_cut_off),
        T(a_lost_log_is_not_an_empty_store),
        T(a_damaged_object_is_named_and_the_others_are_served),
        T(collection_leaves_a_damaged_segment_alone),
        T(a_missing_object_file_is_damage_not_absence),
        T(a_foreign_object_file_is_an_orphan),
        T(a_put_over_an_orphan_stores_the_right_bytes),
    };
    if (argc > 1)
        return die_after_puts(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
