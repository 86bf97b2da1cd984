/* The collector: what it takes, what it must not, and what cleaning gives back. */
#include "test_store.h"

#define MANY 400
#define VICTIMS_MAX 1000

static void sleep_ms(uint32_t ms) { usleep(ms * 1000); }

static ingot_status has(struct fixture *f, const ingot_id *id) {
    return ingot_store_has(f->store, id, &err);
}

static void test_gc__nothing_with_a_reference_is_taken(void **state) {
    struct fixture *f = *state;
    ingot_id ids[MANY];
    for (uint64_t i = 0; i < MANY; i++)
        ids[i] = put_seed(f, i, 500);
    ingot_gc_report report = collect(f, 0, -1, -1);
    assert_int_equal(report.examined, MANY);
    assert_int_equal(report.live, MANY);
    assert_int_equal(report.swept, 0);
    assert_int_equal(report.finished, 1);
    for (uint64_t i = 0; i < MANY; i++)
        expect_seed(f, &ids[i], i, 500);
}

static void test_gc__the_grace_period_protects_what_is_young(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "young");
    ingot_gc_report report = collect(f, 0, 0, 0);
    assert_int_equal(report.in_grace, 1);
    assert_int_equal(report.swept, 0);
    expect_ok(has(f, &id));
    sleep_ms(60);
    report = collect(f, 0, 30, 0);
    assert_int_equal(report.in_grace, 0);
    assert_int_equal(report.swept, 1);
    assert_int_equal(report.swept_bytes, 5);
    expect(INGOT_NOT_FOUND, has(f, &id));
}

static void test_gc__losing_the_last_reference_starts_a_new_grace_period(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_text(f, "was used");
    sleep_ms(150);
    unref(f, &id);
    assert_int_equal(collect(f, 0, 100, 0).in_grace, 1);
    expect_ok(has(f, &id));
    sleep_ms(150);
    assert_int_equal(collect(f, 0, 100, 0).swept, 1);
    expect(INGOT_NOT_FOUND, has(f, &id));
}

static void test_gc__limbo_gives_back_until_it_ends(void **state) {
    struct fixture *f = *state;
    ingot_id kept = put_loose(f, "brought back");
    ingot_id lost = put_loose(f, "forgotten");
    int64_t refs = 0;
    ingot_gc_report report = collect(f, 0, -1, HOUR_MS);
    assert_int_equal(report.swept, 2);
    assert_int_equal(report.purged, 0);
    expect(INGOT_NOT_FOUND, has(f, &kept));
    assert_int_equal(stats_of(f).limbo_objects, 2);
    reopen(f);
    expect_ok(ingot_store_ref(f->store, &kept, NULL, &refs, &err));
    assert_int_equal(refs, 1);
    expect_bytes(f, &kept, "brought back", 12);
    report = collect(f, 0, -1, -1);
    assert_int_equal(report.purged, 1);
    expect(INGOT_NOT_FOUND, ingot_store_ref(f->store, &lost, NULL, NULL, &err));
    assert_int_equal(stats_of(f).limbo_objects, 0);
    expect_refs(f, &kept, 1);
    ingot_id again = put_text(f, "forgotten");
    expect_same_id(&again, &lost);
    expect_bytes(f, &again, "forgotten", 9);
    expect_clean(f);
}

static void test_gc__limbo_ends_by_time(void **state) {
    struct fixture *f = *state;
    ingot_id id = put_loose(f, "for a while");
    assert_int_equal(collect(f, 0, -1, 100).swept, 1);
    assert_int_equal(collect(f, 0, -1, HOUR_MS).purged, 0);
    sleep_ms(150);
    assert_int_equal(collect(f, 0, -1, 100).purged, 1);
    expect(INGOT_NOT_FOUND, ingot_store_ref(f->store, &id, NULL, NULL, &err));
}

static void test_gc__limbo_survives_cleaning(void **state) {
    struct fixture *f = *state;
    ingot_id ids[8];
    for (uint64_t i = 0; i < 8; i++) {
        uint8_t *bytes = bytes_of(i, 100 * KIB);
        ids[i] = put_flags(f, bytes, 100 * KIB, INGOT_NO_REF);
        free(bytes);
    }
    for (uint64_t i = 8; i < 80; i++) {
        ingot_id id = put_seed(f, i, 100 * KIB);
        unref(f, &id);
    }
    assert_int_equal(collect(f, 0, -1, HOUR_MS).swept, 80);
    for (int round = 0; round < 3; round++)
        collect(f, 0, -1, HOUR_MS);
    for (uint64_t i = 0; i < 8; i++) {
        expect_ok(ingot_store_ref(f->store, &ids[i], NULL, NULL, &err));
        expect_seed(f, &ids[i], i, 100 * KIB);
    }
    expect_clean(f);
}

static void test_gc__a_lease_protects_until_the_session_ends(void **state) {
    struct fixture *f = *state;
    ingot_session *session = NULL;
    ingot_op op = INGOT_OP_INIT;
    ingot_id put;
    op.flags = INGOT_NO_REF;
    ingot_id leased = put_loose(f, "leased");
    ingot_id bare = put_loose(f, "bare");
    expect_ok(ingot_session_open(f->store, &session, &err));
    expect_ok(ingot_session_lease(session, &leased, &err));
    expect_ok(ingot_session_put(session, "put", 3, &op, &put, &err));
    ingot_gc_report report = collect(f, 0, -1, -1);
    assert_int_equal(report.leased, 2);
    assert_int_equal(report.swept, 1);
    expect(INGOT_NOT_FOUND, has(f, &bare));
    expect_bytes(f, &leased, "leased", 6);
    expect_bytes(f, &put, "put", 3);
    expect(INGOT_IN_USE, ingot_store_delete(f->store, &leased, NULL, &err));
    expect(INGOT_NOT_FOUND, ingot_session_lease(session, &bare, &err));
    ingot_session_close(session);
    assert_int_equal(collect(f, 0, -1, -1).swept, 2);
    expect(INGOT_NOT_FOUND, has(f, &put));
}

static void test_gc__two_leases_end_with_the_second(void **state) {
    struct fixture *f = *state;
    ingot_session *sessions[2] = {NULL, NULL};
    ingot_id id = put_loose(f, "twice");
    for (int i = 0; i < 2; i++) {
        expect_ok(ingot_session_open(f->store, &sessions[i], &err));
        expect_ok(ingot_session_lease(sessions[i], &id, &err));
        expect_ok(ingot_session_lease(sessions[i], &id, &err));
    }
    ingot_session_close(sessions[0]);
    expect(INGOT_IN_USE, ingot_store_delete(f->store, &id, NULL, &err));
    ingot_session_close(sessions[1]);
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
}

static void test_gc__a_dry_run_says_what_the_real_run_does(void **state) {
    struct fixture *f = *state;
    ingot_id foretold[VICTIMS_MAX];
    ingot_id taken[VICTIMS_MAX];
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report dry;
    ingot_gc_report real;
    for (uint64_t i = 0; i < MANY; i++) {
        ingot_id id = put_seed(f, i, 200 * i);
        if (i % 3 != 0)
            unref(f, &id);
    }
    options.grace_ms = -1;
    options.limbo_ms = -1;
    options.victims_max = VICTIMS_MAX;
    options.victims = foretold;
    options.flags = INGOT_GC_DRY_RUN;
    expect_ok(ingot_store_gc(f->store, &options, NULL, &dry, &err));
    assert_int_equal(stats_of(f).objects, MANY);
    assert_int_equal(stats_of(f).collected_objects, 0);
    options.victims = taken;
    options.flags = 0;
    expect_ok(ingot_store_gc(f->store, &options, NULL, &real, &err));
    assert_int_equal(dry.swept, MANY - (MANY + 2) / 3);
    assert_memory_equal(&dry, &real, offsetof(ingot_gc_report, segments_cleaned));
    /* What the real run itself writes may complete the segment at the end of the log. */
    assert_in_range(real.segments_cleaned, dry.segments_cleaned, dry.segments_cleaned + 1);
    assert_int_equal(real.segments_unreadable, dry.segments_unreadable);
    assert_int_equal(real.finished, dry.finished);
    for (uint64_t i = 0; i < dry.swept; i++) {
        expect_same_id(&foretold[i], &taken[i]);
        if (i > 0)
            assert_true(ingot_id_compare(&taken[i - 1], &taken[i]) < 0);
    }
    assert_int_equal(stats_of(f).collected_objects, real.swept);
}

static void test_gc__it_can_be_done_in_portions(void **state) {
    struct fixture *f = *state;
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report = {0};
    uint64_t swept = 0;
    uint64_t examined = 0;
    int calls = 0;
    for (uint64_t i = 0; i < 100; i++) {
        ingot_id id = put_seed(f, i, 10);
        unref(f, &id);
    }
    options.grace_ms = -1;
    options.max_objects = 7;
    for (; report.finished == 0 && calls < 100; calls++) {
        expect_ok(ingot_store_gc(f->store, &options, NULL, &report, &err));
        assert_true(report.examined <= 7);
        swept += report.swept;
        examined += report.examined;
    }
    assert_int_equal(swept, 100);
    assert_int_equal(examined, 100);
    assert_true(calls >= 15);
}

static void test_gc__a_cancelled_run_reports_and_goes_on_later(void **state) {
    struct fixture *f = *state;
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report;
    ingot_op op = INGOT_OP_INIT;
    ingot_cancel *cancel = NULL;
    for (uint64_t i = 0; i < 100; i++) {
        ingot_id id = put_seed(f, i, 10);
        unref(f, &id);
    }
    expect_ok(ingot_cancel_new(&cancel));
    ingot_cancel_raise(cancel);
    op.cancel = cancel;
    options.grace_ms = -1;
    memset(&report, 0x5a, sizeof report);
    expect(INGOT_CANCELLED, ingot_store_gc(f->store, &options, &op, &report, &err));
    assert_int_equal(report.finished, 0);
    assert_true(report.swept <= 100);
    assert_int_equal(report.swept + collect(f, 0, -1, 0).swept, 100);
    ingot_cancel_free(cancel);
}

static void test_gc__cleaning_gives_space_back_and_moves_what_lives(void **state) {
    struct fixture *f = *state;
    ingot_id ids[MANY];
    for (uint64_t i = 0; i < MANY; i++) {
        ids[i] = put_seed(f, i, 20000);
        if (i % 8 == 0)
            expect_ok(ingot_store_ref(f->store, &ids[i], NULL, NULL, &err));
    }
    for (uint64_t i = 0; i < MANY; i++)
        if (i % 8 != 0)
            unref(f, &ids[i]);
    ingot_stats before = stats_of(f);
    ingot_gc_report report = collect(f, 0, -1, -1);
    ingot_stats after = stats_of(f);
    assert_int_equal(report.swept, MANY - MANY / 8);
    assert_true(report.segments_cleaned > 0);
    assert_true(report.moved_objects > 0);
    assert_true(report.freed_bytes > 0);
    assert_true(after.log_bytes < before.log_bytes / 2);
    assert_true(after.segments < before.segments);
    assert_int_equal(after.cleaned_segments, report.segments_cleaned);
    for (uint64_t i = 0; i < MANY; i += 8) {
        expect_refs(f, &ids[i], 2);
        ingot_cache_evict(f->store, NULL);
        expect_seed(f, &ids[i], i, 20000);
    }
    expect_clean(f);
    close_store(f);
    ingot_rebuild_report rebuild;
    expect_ok(ingot_store_rebuild_index(f->path, NULL, NULL, &rebuild, &err));
    assert_int_equal(rebuild.objects, MANY / 8);
    open_with(f, NULL);
    for (uint64_t i = 0; i < MANY; i++) {
        if (i % 8 != 0)
            expect(INGOT_NOT_FOUND, has(f, &ids[i]));
        else
            expect_refs(f, &ids[i], 2);
    }
    expect_clean(f);
}

static void test_gc__no_clean_leaves_segments_alone(void **state) {
    struct fixture *f = *state;
    for (uint64_t i = 0; i < MANY; i++) {
        ingot_id id = put_seed(f, i, 20000);
        unref(f, &id);
    }
    ingot_gc_report report = collect(f, INGOT_GC_NO_CLEAN, -1, -1);
    assert_int_equal(report.swept, MANY);
    assert_int_equal(report.segments_cleaned, 0);
    assert_int_equal(report.moved_objects, 0);
    assert_true(collect(f, 0, -1, -1).segments_cleaned > 0);
}

static void test_gc__the_file_of_a_large_object_goes_when_it_is_purged(void **state) {
    struct fixture *f = *state;
    char path[700];
    ingot_id id = put_seed(f, 1, MIB);
    file_of(f, &id, path, sizeof path);
    unref(f, &id);
    collect(f, 0, -1, HOUR_MS);
    assert_int_equal(access(path, F_OK), 0);
    ingot_gc_report report = collect(f, 0, -1, -1);
    assert_int_equal(report.purged, 1);
    assert_true(report.freed_bytes >= MIB);
    assert_int_not_equal(access(path, F_OK), 0);
    strcat(path, ".tree");
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(stats_of(f).large_bytes, 0);
    put_seed(f, 1, MIB);
    expect_seed(f, &id, 1, MIB);
    expect_clean(f);
}

static void test_gc__a_view_outlives_its_object(void **state) {
    struct fixture *f = *state;
    ingot_buf *buf = NULL;
    ingot_id id = put_loose(f, "pinned");
    expect_ok(ingot_store_get(f->store, &id, NULL, &buf, &err));
    assert_int_equal(collect(f, 0, -1, -1).swept, 1);
    expect(INGOT_NOT_FOUND, has(f, &id));
    assert_int_equal(ingot_buf_size(buf), strlen("pinned"));
    assert_memory_equal(ingot_buf_data(buf), "pinned", strlen("pinned"));
    ingot_buf_release(buf);
}

static void test_gc__options_out_of_range_are_refused(void **state) {
    struct fixture *f = *state;
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report;
    options.clean_below_percent = 100;
    expect(INGOT_USAGE, ingot_store_gc(f->store, &options, NULL, &report, &err));
    options = (ingot_gc_options)INGOT_GC_OPTIONS_INIT;
    options.flags = 1u << 20;
    expect(INGOT_USAGE, ingot_store_gc(f->store, &options, NULL, &report, &err));
    options = (ingot_gc_options)INGOT_GC_OPTIONS_INIT;
    options.size = 1;
    expect(INGOT_USAGE, ingot_store_gc(f->store, &options, NULL, &report, &err));
    options = (ingot_gc_options)INGOT_GC_OPTIONS_INIT;
    options.victims_max = 5;
    expect(INGOT_USAGE, ingot_store_gc(f->store, &options, NULL, &report, &err));
}

#define T(name) cmocka_unit_test_setup_teardown(test_gc__##name, store_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(nothing_with_a_reference_is_taken),
        T(the_grace_period_protects_what_is_young),
        T(losing_the_last_reference_starts_a_new_grace_period),
        T(limbo_gives_back_until_it_ends),
        T(limbo_ends_by_time),
        T(limbo_survives_cleaning),
        T(a_lease_protects_until_the_session_ends),
        T(two_leases_end_with_the_second),
        T(a_dry_run_says_what_the_real_run_does),
        T(it_can_be_done_in_portions),
        T(a_cancelled_run_reports_and_goes_on_later),
        T(cleaning_gives_space_back_and_moves_what_lives),
        T(no_clean_leaves_segments_alone),
        T(the_file_of_a_large_object_goes_when_it_is_purged),
        T(a_view_outlives_its_object),
        T(options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
