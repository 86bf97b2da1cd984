/* The bottom layer: statuses, ids, bytes, memory, buffers. */
#include "buf.h"
#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "status.h"
#include "wait.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- Status ------------------------------------------------------------------------------- */

/* Written out once more: a changed number in the header has to fail here. */
static const struct {
    const char *name;
    ingot_status value;
} frozen[] = {
    {"INGOT_OK", 0},
    {"INGOT_FAILED", -1},
    {"INGOT_USAGE", -2},
    {"INGOT_NOT_FOUND", -3},
    {"INGOT_CORRUPT", -4},
    {"INGOT_IO", -5},
    {"INGOT_NO_SPACE", -6},
    {"INGOT_NO_MEMORY", -7},
    {"INGOT_NO_STORE", -8},
    {"INGOT_EXISTS", -9},
    {"INGOT_LOCKED", -10},
    {"INGOT_WRONG_KEY", -11},
    {"INGOT_UNSUPPORTED", -12},
    {"INGOT_READ_ONLY", -13},
    {"INGOT_DENIED", -14},
    {"INGOT_TIMEOUT", -15},
    {"INGOT_CANCELLED", -16},
    {"INGOT_TOO_LARGE", -17},
    {"INGOT_AMBIGUOUS", -18},
    {"INGOT_IN_USE", -19},
    {"INGOT_NO_REFERENCE", -20},
    {"INGOT_FORKED", -21},
    {"INGOT_BUSY", -22},
    {"INGOT_NO_INDEX", -23},
    {"INGOT_CHANGED", -24},
};

static void test_status__numbers_are_frozen(void **state) {
    (void)state;
#define ROW(name, value, text) {#name, name},
    static const struct {
        const char *name;
        ingot_status value;
    } listed[] = {INGOT_STATUS_LIST(ROW)};
#undef ROW
    assert_int_equal(COUNT_OF(listed), COUNT_OF(frozen));
    for (size_t i = 0; i < COUNT_OF(frozen); i++) {
        assert_string_equal(listed[i].name, frozen[i].name);
        assert_int_equal(listed[i].value, frozen[i].value);
        assert_string_equal(ingot_status_name(frozen[i].value), frozen[i].name);
    }
}

static void test_status__names_and_texts_are_unique(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frozen); i++) {
        for (size_t j = 0; j < i; j++) {
            ingot_status a = frozen[i].value;
            ingot_status b = frozen[j].value;
            assert_string_not_equal(ingot_status_name(a), ingot_status_name(b));
            assert_string_not_equal(ingot_status_text(a), ingot_status_text(b));
        }
    }
}

static void test_status__unknown_numbers_have_a_name_and_a_text(void **state) {
    (void)state;
    const ingot_status unknown[] = {1, -25, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        assert_string_equal(ingot_status_name(unknown[i]), "INGOT_UNKNOWN");
        assert_string_equal(ingot_status_text(unknown[i]), "unknown status");
    }
}

static void test_status__errno_mapping(void **state) {
    (void)state;
    static const struct {
        int errnum;
        ingot_status status;
    } rows[] = {
        {0, INGOT_OK},
        {ENOSPC, INGOT_NO_SPACE},
        {EDQUOT, INGOT_NO_SPACE},
        {ENOMEM, INGOT_NO_MEMORY},
        {EACCES, INGOT_DENIED},
        {EPERM, INGOT_DENIED},
        {EROFS, INGOT_READ_ONLY},
        {EEXIST, INGOT_EXISTS},
        {ENOTEMPTY, INGOT_EXISTS},
        {EINVAL, INGOT_USAGE},
        {ENAMETOOLONG, INGOT_USAGE},
        {ENOTDIR, INGOT_FAILED},
        {EISDIR, INGOT_FAILED},
        {EIO, INGOT_IO},
        {EMFILE, INGOT_IO},
        /* A file that is missing is not an object that was never put. */
        {ENOENT, INGOT_IO},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(ig_status_of_errno(rows[i].errnum), rows[i].status);
    for (int errnum = 1; errnum < 200; errnum++) {
        assert_true(ig_status_of_errno(errnum) < 0);
        assert_int_not_equal(ig_status_of_errno(errnum), INGOT_NOT_FOUND);
    }
}

static void test_status__fail_fills_the_error_and_returns_the_status(void **state) {
    (void)state;
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ig_fail(&err, INGOT_CORRUPT, "segment %d", 7), INGOT_CORRUPT);
    assert_int_equal(err.status, INGOT_CORRUPT);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "segment 7");

    assert_int_equal(ig_fail_errno(&err, ENOSPC, "cannot write %s", "x"), INGOT_NO_SPACE);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_string_equal(err.message, "cannot write x: No space left on device");

    assert_int_equal(ig_fail_memory(&err, "index"), INGOT_NO_MEMORY);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "out of memory for index");
    assert_int_equal(ig_fail(NULL, INGOT_IO, "nobody listens"), INGOT_IO);
    assert_int_equal(ig_fail_errno(NULL, EIO, "nobody listens"), INGOT_IO);
}

static void test_status__a_failure_without_errno_is_still_one(void **state) {
    (void)state;
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ig_fail_errno(&err, 0, "cause unknown"), INGOT_FAILED);
    assert_int_equal(err.status, INGOT_FAILED);
    assert_string_equal(err.message, "cause unknown");
}

static void test_status__a_long_message_is_cut_and_ended(void **state) {
    (void)state;
    char text[2 * INGOT_ERROR_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ig_fail_errno(&err, EIO, "%s", text), INGOT_IO);
    assert_int_equal(strlen(err.message), INGOT_ERROR_TEXT_MAX - 1);
    text[INGOT_ERROR_TEXT_MAX - 3] = '\0'; /* room for the colon only */
    assert_int_equal(ig_fail_errno(&err, EIO, "%s", text), INGOT_IO);
    assert_int_equal(strlen(err.message), INGOT_ERROR_TEXT_MAX - 1);
}

/* ---- Ids and bytes ------------------------------------------------------------------------ */

#define HEX_16 "0123456789abcdef"
#define HEX_64 HEX_16 HEX_16 HEX_16 HEX_16

static void test_id__format_and_parse_agree(void **state) {
    (void)state;
    ingot_id id;
    ingot_id again;
    for (size_t i = 0; i < sizeof id.bytes; i++)
        id.bytes[i] = (uint8_t)(i * 37 + 250);
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&id, hex);
    assert_int_equal(strlen(hex), INGOT_ID_HEX);
    assert_int_equal(ingot_id_parse(hex, &again, NULL), INGOT_OK);
    assert_memory_equal(&id, &again, sizeof id);
    for (size_t i = 0; i < INGOT_ID_HEX; i++) {
        assert_non_null(strchr("0123456789abcdef", hex[i]));
        if (hex[i] >= 'a')
            hex[i] = (char)(hex[i] - 'a' + 'A');
    }
    assert_int_equal(ingot_id_parse(hex, &again, NULL), INGOT_OK);
    assert_memory_equal(&id, &again, sizeof id);
}

static void refuse_id(const char *hex, const char *expected) {
    ingot_id id;
    ingot_id before;
    memset(&id, 0xee, sizeof id);
    before = id;
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ingot_id_parse(hex, &id, &err), INGOT_USAGE);
    assert_int_equal(err.status, INGOT_USAGE);
    if (strstr(err.message, expected) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, expected);
    assert_memory_equal(&id, &before, sizeof id);
    assert_int_equal(ingot_id_parse(hex, &id, NULL), INGOT_USAGE);
}

static void test_id__parse_names_the_first_bad_character(void **state) {
    (void)state;
    static const char bad[] = {'g', 'G', '/', ':', '@', '`', ' ', '-', '\n', '\x7f', '\xc3'};
    for (size_t b = 0; b < sizeof bad; b++) {
        for (size_t at = 0; at < INGOT_ID_HEX; at += 9) {
            char hex[] = HEX_64;
            hex[at] = bad[b];
            hex[INGOT_ID_HEX - 1] = 'z';
            char expected[64];
            snprintf(expected, sizeof expected, "character %zu is no hex digit", at + 1);
            refuse_id(hex, expected);
        }
    }
    refuse_id("0x" HEX_64, "character 2 is no hex digit");
}

static void test_id__parse_refuses_another_length(void **state) {
    (void)state;
    char hex[] = HEX_64;
    for (size_t len = 0; len < INGOT_ID_HEX; len++) {
        char shorter[INGOT_ID_HEX + 1];
        memcpy(shorter, hex, len);
        shorter[len] = '\0';
        refuse_id(shorter, "fewer than 64 hex digits");
    }
    refuse_id(HEX_64 "0", "more than 64 hex digits");
    refuse_id(HEX_64 "\n", "more than 64 hex digits");
    refuse_id(HEX_64 HEX_64 HEX_64 HEX_64 HEX_64 HEX_64 HEX_64 HEX_64, "more than 64");
}

static void test_id__compare_orders_as_unsigned_bytes(void **state) {
    (void)state;
    ingot_id low = {{0}};
    ingot_id high = {{0}};
    assert_int_equal(ingot_id_compare(&low, &high), 0);
    high.bytes[INGOT_ID_BYTES - 1] = 1;
    assert_true(ingot_id_compare(&low, &high) < 0);
    low.bytes[0] = 0x7f;
    high.bytes[0] = 0x80;
    assert_true(ingot_id_compare(&low, &high) < 0);
    assert_true(ingot_id_compare(&high, &low) > 0);
}

static void test_bytes__fields_are_little_endian_at_any_address(void **state) {
    (void)state;
    uint8_t space[16];
    for (size_t at = 0; at < 8; at++) {
        memset(space, 0, sizeof space);
        ig_put64(space + at, UINT64_C(0x0102030405060708));
        assert_int_equal(space[at], 8);
        assert_int_equal(space[at + 7], 1);
        assert_true(ig_get64(space + at) == UINT64_C(0x0102030405060708));
        assert_int_equal(ig_get32(space + at), 0x05060708);
        assert_int_equal(ig_get16(space + at), 0x0708);
        ig_put32(space + at, 0xfffefdfc);
        assert_int_equal(ig_get32(space + at), 0xfffefdfc);
        assert_int_equal(space[at + 4], 4);
        ig_put16(space + at, 0xabcd);
        assert_int_equal(space[at], 0xcd);
        assert_int_equal(ig_get16(space + at), 0xabcd);
        assert_int_equal(space[at + 2], 0xfe);
    }
}

static void test_bytes__align_up_and_hex(void **state) {
    (void)state;
    assert_int_equal(ig_align_up(0, 4096), 0);
    assert_int_equal(ig_align_up(1, 4096), 4096);
    assert_int_equal(ig_align_up(4096, 4096), 4096);
    assert_int_equal(ig_align_up(4097, 4096), 8192);
    assert_int_equal(ig_align_up(5, 1), 5);
    char hex[7] = "??????";
    ig_hex((const uint8_t[]){0x00, 0xff, 0x1a}, 3, hex);
    assert_string_equal(hex, "00ff1a");
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    for (int c = 0; c < 256; c++) {
        const char *digit = c == 0 ? NULL : strchr(digits, c);
        assert_int_equal(ig_hex_digit((char)c), digit == NULL ? -1 : (digit - digits) % 16);
    }
}

/* ---- Memory and buffers ------------------------------------------------------------------- */

static long allocations_left;
static bool allocate_few(void) { return allocations_left-- > 0; }

static void test_mem__a_refused_allocation_is_null_everywhere(void **state) {
    (void)state;
    struct ig_os os = ig_os_real;
    os.may_allocate = allocate_few;
    allocations_left = 0;
    ig_os = &os;
    ingot_cancel *cancel = NULL;
    bool all_null = ig_alloc(1) == NULL && ig_alloc_array(1, 1) == NULL &&
                    ig_alloc_aligned(64, 1) == NULL && ig_realloc(NULL, 1) == NULL &&
                    ig_strdup("x") == NULL && ig_path("a", "b") == NULL && ig_buf_new(1) == NULL;
    ingot_status status = ingot_cancel_new(&cancel);
    ig_os = &ig_os_real;
    assert_true(all_null);
    assert_int_equal(status, INGOT_NO_MEMORY);
    assert_null(cancel);
}

static void test_mem__sizes_that_overflow_are_refused(void **state) {
    (void)state;
    volatile size_t huge = SIZE_MAX; /* hidden from the compiler, which warns of it */
    assert_null(ig_alloc_array(huge / 2, 4));
    assert_null(ig_buf_new(huge));
    assert_null(ig_buf_new(huge - 8));
}

static void test_mem__zeroed_aligned_and_never_null_for_nothing(void **state) {
    (void)state;
    static const uint8_t zeros[1000];
    IG_CLEANUP_FREE uint8_t *zeroed = ig_alloc_array(10, 100);
    assert_memory_equal(zeroed, zeros, sizeof zeros);
    IG_CLEANUP_FREE void *empty = ig_alloc(0);
    assert_non_null(empty);
    IG_CLEANUP_FREE void *aligned = ig_alloc_aligned(4096, 0);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    IG_CLEANUP_FREE char *path = ig_path("dir", "name");
    assert_string_equal(path, "dir/name");
    IG_CLEANUP_FREE char *copy = ig_strdup("");
    assert_string_equal(copy, "");
}

static void test_buf__bytes_live_as_long_as_one_pin(void **state) {
    (void)state;
    ingot_buf *buf = ig_buf_new(3);
    memcpy(ig_buf_bytes(buf), "abc", 3);
    assert_int_equal(ingot_buf_size(buf), 3);
    assert_true(ig_buf_footprint(buf) > 3);
    assert_ptr_equal(ingot_buf_ref(buf), buf);
    ingot_buf_release(buf);
    assert_memory_equal(ingot_buf_data(buf), "abc", 3);
    ingot_buf_release(buf);
    ingot_buf_release(NULL);
    ingot_buf *empty = ig_buf_new(0);
    assert_int_equal(ingot_buf_size(empty), 0);
    assert_non_null(ingot_buf_data(empty));
    ingot_buf_release(empty);
}

static void *pin_and_drop(void *arg) {
    for (int i = 0; i < 10000; i++)
        ingot_buf_release(ingot_buf_ref(arg));
    ingot_buf_release(arg);
    return NULL;
}

/* The sanitizer presets tell whether it was freed too early, twice or never. */
static void test_buf__threads_drop_the_last_pin_once(void **state) {
    (void)state;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    ingot_buf *buf = ig_buf_new(100);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pin_and_drop, ingot_buf_ref(buf)), 0);
    ingot_buf_release(buf);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status__numbers_are_frozen),
        cmocka_unit_test(test_status__names_and_texts_are_unique),
        cmocka_unit_test(test_status__unknown_numbers_have_a_name_and_a_text),
        cmocka_unit_test(test_status__errno_mapping),
        cmocka_unit_test(test_status__fail_fills_the_error_and_returns_the_status),
        cmocka_unit_test(test_status__a_failure_without_errno_is_still_one),
        cmocka_unit_test(test_status__a_long_message_is_cut_and_ended),
        cmocka_unit_test(test_id__format_and_parse_agree),
        cmocka_unit_test(test_id__parse_names_the_first_bad_character),
        cmocka_unit_test(test_id__parse_refuses_another_length),
        cmocka_unit_test(test_id__compare_orders_as_unsigned_bytes),
        cmocka_unit_test(test_bytes__fields_are_little_endian_at_any_address),
        cmocka_unit_test(test_bytes__align_up_and_hex),
        cmocka_unit_test(test_mem__a_refused_allocation_is_null_everywhere),
        cmocka_unit_test(test_mem__sizes_that_overflow_are_refused),
        cmocka_unit_test(test_mem__zeroed_aligned_and_never_null_for_nothing),
        cmocka_unit_test(test_buf__bytes_live_as_long_as_one_pin),
        cmocka_unit_test(test_buf__threads_drop_the_last_pin_once),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
