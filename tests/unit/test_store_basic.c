/* One object: what each call does, says, and leaves alone. */
#include "test_store.h"

#include <time.h>

static const ingot_id unknown = {{1, 2, 3}};

static void test_store__a_put_can_be_read_and_is_counted_once(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_text(f, "hello");
    ingot_id hash;
    ingot_store_hash(f->store, "hello", 5, &hash);
    expect_same_id(&id, &hash);
    expect_bytes(f, &id, "hello", 5);
    expect_ok(ingot_store_has(f->store, &id, &err));
    expect_refs(f, &id, 1);
    ingot_stat stat = {0};
    expect_ok(ingot_store_stat(f->store, &id, &stat, &err));
    assert_int_equal(stat.size, 5);
    assert_true(stat.stored_size >= 5);
    assert_int_equal(stat.refs, 1);
    assert_int_equal(stat.place, INGOT_PLACE_LOG);
    assert_true(stat.segment >= 1 && stat.offset >= 4096);
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    assert_true(stat.stored_ms > now_ms - 60000 && stat.stored_ms < now_ms + 60000);
    expect_ok(ingot_store_verify(f->store, &id, NULL, &err));
}

static void test_store__ids_are_the_plain_digest(void **state) {
    struct fixture *f = *state;
    ingot_id id;
    ingot_id want;
    expect_ok(ingot_id_parse("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
                             &want, &err));
    ingot_store_hash(f->store, NULL, 0, &id);
    expect_same_id(&id, &want);
}

static void test_store__the_empty_object_is_an_object(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_flags(f, NULL, 0, 0);
    char byte = 'x';
    size_t len = 9;
    expect_bytes(f, &id, NULL, 0);
    expect_ok(ingot_store_get_into(f->store, &id, &byte, 0, NULL, &len, &err));
    assert_int_equal(len, 0);
    len = 9;
    expect_ok(ingot_store_get_range(f->store, &id, 7, &byte, 1, NULL, &len, &err));
    assert_int_equal(len, 0);
    assert_int_equal(byte, 'x');
    expect_ok(ingot_store_verify(f->store, &id, NULL, &err));
    reopen(f);
    expect_bytes(f, &id, NULL, 0);
    expect_refs(f, &id, 1);
}

static void test_store__the_same_bytes_again_are_a_reference(void **state) {
    struct fixture *f = *state;
    ingot_id first = put_text(f, "twice");
    ingot_id second = put_text(f, "twice");
    expect_same_id(&first, &second);
    expect_refs(f, &first, 2);
    ingot_stats stats = stats_of(f);
    assert_int_equal(stats.puts, 2);
    assert_int_equal(stats.puts_new, 1);
    assert_int_equal(stats.puts_duplicate, 1);
    assert_int_equal(stats.objects, 1);
    reopen(f);
    expect_refs(f, &first, 2);
}

static void test_store__a_put_without_reference_adds_none(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "loose");
    expect_refs(f, &id, 0);
    expect_bytes(f, &id, "loose", 5);
    put_text(f, "loose");
    expect_refs(f, &id, 1);
    put_loose(f, "loose");
    expect_refs(f, &id, 1);
    reopen(f);
    expect_refs(f, &id, 1);
}

static void test_store__every_call_says_not_found_for_an_unknown_id(void **state) {
    struct fixture *f = *state;
    char byte;
    size_t len;
    int64_t refs;
    ingot_buf *buf = NULL;
    ingot_stat stat;
    ingot_reader *reader = NULL;
    expect(INGOT_NOT_FOUND, ingot_store_get(f->store, &unknown, NULL, &buf, &err));
    assert_int_equal(err.status, INGOT_NOT_FOUND);
    expect(INGOT_NOT_FOUND, ingot_store_get_into(f->store, &unknown, &byte, 1, NULL, &len, &err));
    expect(INGOT_NOT_FOUND,
           ingot_store_get_range(f->store, &unknown, 0, &byte, 1, NULL, &len, &err));
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &unknown, &err));
    expect(INGOT_NOT_FOUND, ingot_store_stat(f->store, &unknown, &stat, &err));
    expect(INGOT_NOT_FOUND, ingot_store_refcount(f->store, &unknown, &refs, &err));
    expect(INGOT_NOT_FOUND, ingot_store_ref(f->store, &unknown, NULL, &refs, &err));
    expect(INGOT_NOT_FOUND, ingot_store_unref(f->store, &unknown, NULL, &refs, &err));
    expect(INGOT_NOT_FOUND, ingot_store_delete(f->store, &unknown, NULL, &err));
    expect(INGOT_NOT_FOUND, ingot_store_verify(f->store, &unknown, NULL, &err));
    expect(INGOT_NOT_FOUND, ingot_reader_open(f->store, &unknown, &reader, &err));
    expect(INGOT_NOT_FOUND, ingot_cache_get(f->store, &unknown, &buf));
    expect(INGOT_NOT_FOUND, ingot_cache_set(f->store, &unknown, &err));
}

static void test_store__failure_leaves_outputs_alone(void **state) {
    struct fixture *f = *state;
    ingot_buf *buf = (ingot_buf *)(uintptr_t)7;
    size_t len = 7;
    int64_t refs = 7;
    ingot_stat stat = {.size = 7};
    char byte = 'x';
    expect(INGOT_NOT_FOUND, ingot_store_get(f->store, &unknown, NULL, &buf, &err));
    expect(INGOT_NOT_FOUND, ingot_store_get_into(f->store, &unknown, &byte, 1, NULL, &len, &err));
    expect(INGOT_NOT_FOUND, ingot_store_refcount(f->store, &unknown, &refs, &err));
    expect(INGOT_NOT_FOUND, ingot_store_stat(f->store, &unknown, &stat, &err));
    assert_true(buf == (ingot_buf *)(uintptr_t)7 && len == 7 && refs == 7 && stat.size == 7);
    assert_int_equal(byte, 'x');
}

static void test_store__references_go_up_and_down_and_never_below_zero(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_text(f, "counted");
    int64_t refs = -1;
    expect_ok(ingot_store_ref(f->store, &id, NULL, &refs, &err));
    assert_int_equal(refs, 2);
    expect_ok(ingot_store_unref(f->store, &id, NULL, &refs, &err));
    assert_int_equal(refs, 1);
    expect_ok(ingot_store_unref(f->store, &id, NULL, &refs, &err));
    assert_int_equal(refs, 0);
    refs = 7;
    expect(INGOT_NO_REFERENCE, ingot_store_unref(f->store, &id, NULL, &refs, &err));
    assert_int_equal(refs, 7);
    expect_refs(f, &id, 0);
    expect_bytes(f, &id, "counted", 7); /* its grace period lasts */
    reopen(f);
    expect(INGOT_NO_REFERENCE, ingot_store_unref(f->store, &id, NULL, NULL, &err));
    expect_ok(ingot_store_ref(f->store, &id, NULL, NULL, &err));
    expect_refs(f, &id, 1);
}

static void test_store__delete_is_refused_while_there_is_a_reference(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_text(f, "mine");
    expect(INGOT_IN_USE, ingot_store_delete(f->store, &id, NULL, &err));
    expect_bytes(f, &id, "mine", 4);
    unref(f, &id);
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    ingot_buf *buf = NULL;
    expect(INGOT_NOT_FOUND, ingot_store_get(f->store, &id, NULL, &buf, &err));
    expect(INGOT_NOT_FOUND, ingot_cache_get(f->store, &id, &buf));
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
    expect(INGOT_NOT_FOUND, ingot_store_unref(f->store, &id, NULL, NULL, &err));
    expect(INGOT_NOT_FOUND, ingot_store_delete(f->store, &id, NULL, &err));
    assert_int_equal(stats_of(f).objects, 0);
    assert_int_equal(stats_of(f).limbo_objects, 1);
    reopen(f);
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
    expect_clean(f);
}

static void test_store__a_reference_brings_back_what_is_in_limbo(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "back");
    int64_t refs = -1;
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    expect_ok(ingot_store_ref(f->store, &id, NULL, &refs, &err));
    assert_int_equal(refs, 1);
    expect_bytes(f, &id, "back", 4);
    assert_int_equal(stats_of(f).limbo_objects, 0);
    assert_int_equal(stats_of(f).objects, 1);
    reopen(f);
    expect_refs(f, &id, 1);
    expect_bytes(f, &id, "back", 4);
    expect_clean(f);
}

static void test_store__a_put_brings_back_what_is_in_limbo(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "again");
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    put_text(f, "again");
    expect_refs(f, &id, 1);
    expect_bytes(f, &id, "again", 5);
    unref(f, &id);
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    put_loose(f, "again");
    expect_refs(f, &id, 0);
    reopen(f);
    expect_refs(f, &id, 0);
    expect_clean(f);
}

static void test_store__a_buffer_too_small_gets_nothing(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_text(f, "twelve bytes");
    char buffer[13] = "------------";
    size_t len = 99;
    expect(INGOT_TOO_LARGE, ingot_store_get_into(f->store, &id, buffer, 11, NULL, &len, &err));
    assert_string_equal(buffer, "------------");
    assert_int_equal(len, 99);
    assert_non_null(strstr(err.message, "12"));
    expect_ok(ingot_store_get_into(f->store, &id, buffer, 12, NULL, &len, &err));
    assert_string_equal(buffer, "twelve bytes");
    assert_int_equal(len, 12);
}

static void test_store__options_of_another_kind_are_refused(void **state) {
    struct fixture *f = *state;
    ingot_op op = INGOT_OP_INIT;
    ingot_id id;
    op.size = 3;
    expect(INGOT_USAGE, ingot_store_put(f->store, "a", 1, &op, &id, &err));
    op = (ingot_op)INGOT_OP_INIT;
    op.flags = UINT32_C(1) << 31;
    expect(INGOT_USAGE, ingot_store_put(f->store, "a", 1, &op, &id, &err));
    op = (ingot_op)INGOT_OP_INIT;
    op.timeout_ms = -1;
    expect(INGOT_USAGE, ingot_store_put(f->store, "a", 1, &op, &id, &err));
    assert_int_equal(stats_of(f).objects, 0);
}

static void test_store__check_duplicate_tells_and_changes_nothing(void **state) {
    struct fixture *f = *state;
    ingot_id id;
    ingot_id hash;
    ingot_store_hash(f->store, "maybe", 5, &hash);
    expect(INGOT_NOT_FOUND, ingot_store_check_duplicate(f->store, "maybe", 5, &id, &err));
    expect_same_id(&id, &hash);
    expect(INGOT_NOT_FOUND, ingot_store_has(f->store, &id, &err));
    put_text(f, "maybe");
    expect_ok(ingot_store_check_duplicate(f->store, "maybe", 5, &id, &err));
    expect_same_id(&id, &hash);
    expect_refs(f, &id, 1);
}

static void test_store__a_view_outlives_deletion_and_close(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "long lived");
    ingot_buf *buf = NULL;
    expect_ok(ingot_store_get(f->store, &id, NULL, &buf, &err));
    ingot_buf *second = ingot_buf_ref(buf);
    ingot_buf_release(buf);
    ingot_cache_evict(f->store, NULL);
    collect(f, 0, -1, -1);
    close_store(f);
    assert_memory_equal(ingot_buf_data(second), "long lived", 10);
    ingot_buf_release(second);
}

static void test_store__relaxed_puts_are_visible_at_once_and_durable_after_sync(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_flags(f, "soon", 4, INGOT_RELAXED);
    expect_bytes(f, &id, "soon", 4);
    expect_refs(f, &id, 1);
    expect_ok(ingot_store_sync(f->store, NULL, &err));
    ingot_id later = put_flags(f, "later", 5, INGOT_RELAXED);
    reopen(f); /* close is a barrier too */
    expect_bytes(f, &id, "soon", 4);
    expect_bytes(f, &later, "later", 5);
}

static void test_store__destructors_accept_null(void **state) {
    (void)state;
    ingot_buf_release(NULL);
    ingot_iter_close(NULL);
    ingot_batch_free(NULL);
    ingot_writer_free(NULL);
    ingot_reader_close(NULL);
    ingot_session_close(NULL);
    ingot_queue_close(NULL);
    ingot_cancel_free(NULL);
    expect_ok(ingot_store_close(NULL, NULL));
}

static void test_store__an_error_object_is_optional(void **state) {
    struct fixture *f = *state;
    ingot_buf *buf;
    expect(INGOT_NOT_FOUND, ingot_store_get(f->store, &unknown, NULL, &buf, NULL));
    expect(INGOT_NOT_FOUND, ingot_store_unref(f->store, &unknown, NULL, NULL, NULL));
}

static void test_store__describe_says_what_was_created(void **state) {
    struct fixture *f = *state;
    ingot_store_info info;
    ingot_store_describe(f->store, &info);
    assert_int_equal(info.format_version, INGOT_FORMAT_VERSION);
    assert_int_equal(info.digest, INGOT_DIGEST_BLAKE3);
    assert_string_equal(info.digest_name, "blake3");
    assert_int_equal(info.large_min, LARGE_MIN);
    assert_int_equal(info.segment_size, MIB);
    assert_int_equal(strlen(info.uuid), 36);
}

#define T(name) cmocka_unit_test_setup_teardown(test_store__##name, store_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_put_can_be_read_and_is_counted_once),
        T(ids_are_the_plain_digest),
        T(the_empty_object_is_an_object),
        T(the_same_bytes_again_are_a_reference),
        T(a_put_without_reference_adds_none),
        T(every_call_says_not_found_for_an_unknown_id),
        T(failure_leaves_outputs_alone),
        T(references_go_up_and_down_and_never_below_zero),
        T(delete_is_refused_while_there_is_a_reference),
        T(a_reference_brings_back_what_is_in_limbo),
        T(a_put_brings_back_what_is_in_limbo),
        T(a_buffer_too_small_gets_nothing),
        T(options_of_another_kind_are_refused),
        T(check_duplicate_tells_and_changes_nothing),
        T(a_view_outlives_deletion_and_close),
        T(relaxed_puts_are_visible_at_once_and_durable_after_sync),
        T(destructors_accept_null),
        T(an_error_object_is_optional),
        T(describe_says_what_was_created),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
