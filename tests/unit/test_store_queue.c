/* The queue, and deadlines and cancellation of the calls that can wait. */
#include "test_store.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

#define MANY 500

static const ingot_id unknown = {{5, 5}};

static ingot_queue *open_queue(struct fixture *f, uint32_t workers, uint32_t depth) {
    ingot_queue_options options = INGOT_QUEUE_OPTIONS_INIT;
    ingot_queue *queue = NULL;
    options.workers = workers;
    options.depth = depth;
    expect_ok(ingot_queue_open(f->store, &options, &queue, &err));
    return queue;
}

static int64_t elapsed_ms(const struct timespec *since) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

static void reap(ingot_queue *queue, ingot_result *results, size_t count) {
    for (size_t got = 0; got < count;) {
        size_t n = 0;
        expect_ok(ingot_queue_wait(queue, results + got, count - got, NULL, &n, &err));
        assert_true(n > 0);
        got += n;
    }
}

static void test_queue__each_request_comes_back_once_with_its_result(void **state) {
    struct fixture *f = *state;
    static ingot_request requests[MANY];
    static ingot_result results[MANY];
    static uint8_t *bytes[MANY];
    bool seen[MANY] = {false};
    ingot_queue *queue = open_queue(f, 3, MANY);
    for (size_t i = 0; i < MANY; i++) {
        bytes[i] = bytes_of(i, i * 20);
        requests[i] =
            (ingot_request){.token = i, .kind = INGOT_QUEUE_PUT, .data = bytes[i], .len = i * 20};
    }
    expect_ok(ingot_queue_submit(queue, requests, MANY, &err));
    reap(queue, results, MANY);
    for (size_t i = 0; i < MANY; i++) {
        const ingot_result *result = &results[i];
        assert_true(result->token < MANY && !seen[result->token]);
        seen[result->token] = true;
        expect_ok(result->status);
        assert_int_equal(result->kind, INGOT_QUEUE_PUT);
        expect_bytes(f, &result->id, bytes[result->token], result->token * 20);
        expect_refs(f, &result->id, 1);
        requests[i] =
            (ingot_request){.token = result->token, .kind = INGOT_QUEUE_GET, .id = result->id};
    }
    expect_ok(ingot_queue_submit(queue, requests, MANY, &err));
    reap(queue, results, MANY);
    for (size_t i = 0; i < MANY; i++) {
        expect_ok(results[i].status);
        assert_int_equal(ingot_buf_size(results[i].buf), results[i].token * 20);
        assert_memory_equal(ingot_buf_data(results[i].buf), bytes[results[i].token],
                            results[i].token * 20);
        ingot_buf_release(results[i].buf);
    }
    for (size_t i = 0; i < MANY; i++)
        free(bytes[i]);
    ingot_queue_close(queue);
}

static void test_queue__every_kind_says_what_its_call_says(void **state) {
    struct fixture *f = *state;
    ingot_queue *queue = open_queue(f, 1, 16);
    ingot_id id = put_text(f, "counted");
    ingot_result result;
    const struct {
        ingot_request request;
        ingot_status status;
        int64_t refs;
    } cases[] = {
        {{.kind = INGOT_QUEUE_REF, .id = id}, INGOT_OK, 2},
        {{.kind = INGOT_QUEUE_UNREF, .id = id}, INGOT_OK, 1},
        {{.kind = INGOT_QUEUE_UNREF, .id = id}, INGOT_OK, 0},
        {{.kind = INGOT_QUEUE_UNREF, .id = id}, INGOT_NO_REFERENCE, 0},
        {{.kind = INGOT_QUEUE_REF, .id = unknown}, INGOT_NOT_FOUND, 0},
        {{.kind = INGOT_QUEUE_GET, .id = unknown}, INGOT_NOT_FOUND, 0},
        {{.kind = INGOT_QUEUE_PUT, .data = "x", .len = 1, .flags = INGOT_NO_REF}, INGOT_OK, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_ok(ingot_queue_submit(queue, &cases[i].request, 1, &err));
        reap(queue, &result, 1);
        assert_int_equal(result.kind, cases[i].request.kind);
        expect(cases[i].status, result.status);
        if (result.status == INGOT_OK && result.kind >= INGOT_QUEUE_REF)
            assert_int_equal(result.refs, cases[i].refs);
    }
    expect_refs(f, &result.id, 0);
    ingot_queue_close(queue);
}

static void test_queue__what_does_not_fit_is_refused_whole(void **state) {
    struct fixture *f = *state;
    ingot_queue *queue = open_queue(f, 1, 4);
    ingot_request requests[5];
    ingot_result results[5];
    size_t count = 0;
    for (uint64_t i = 0; i < 5; i++)
        requests[i] =
            (ingot_request){.token = i, .kind = INGOT_QUEUE_PUT, .data = &"abcde"[i], .len = 1};
    expect(INGOT_BUSY, ingot_queue_submit(queue, requests, 5, &err));
    expect_ok(ingot_queue_submit(queue, requests, 3, &err));
    expect(INGOT_BUSY, ingot_queue_submit(queue, requests + 3, 2, &err));
    expect_ok(ingot_queue_submit(queue, requests + 3, 1, &err));
    reap(queue, results, 4);
    expect_ok(ingot_queue_submit(queue, requests + 4, 1, &err)); /* reaping made room */
    reap(queue, results, 1);
    expect(INGOT_NOT_FOUND, ingot_queue_wait(queue, results, 5, NULL, &count, &err));
    assert_int_equal(stats_of(f).objects, 5);
    ingot_queue_close(queue);
}

static bool readable(const ingot_queue *queue, int timeout_ms) {
    struct pollfd pfd = {.fd = ingot_queue_fd(queue), .events = POLLIN};
    return poll(&pfd, 1, timeout_ms) == 1 && (pfd.revents & POLLIN) != 0;
}

static void test_queue__its_descriptor_is_readable_while_results_wait(void **state) {
    struct fixture *f = *state;
    ingot_queue *queue = open_queue(f, 1, 16);
    ingot_result results[2];
    size_t count = 0;
    assert_false(readable(queue, 0));
    for (int round = 0; round < 50; round++) {
        ingot_request requests[2] = {
            {.kind = INGOT_QUEUE_PUT, .data = "one", .len = 3},
            {.kind = INGOT_QUEUE_GET, .id = unknown},
        };
        expect_ok(ingot_queue_submit(queue, requests, 2, &err));
        assert_true(readable(queue, 10000));
        expect_ok(ingot_queue_wait(queue, results, 1, NULL, &count, &err));
        assert_int_equal(count, 1);
        assert_true(readable(queue, 10000));
        expect_ok(ingot_queue_wait(queue, results, 2, NULL, &count, &err));
        assert_int_equal(count, 1);
        assert_false(readable(queue, 0));
    }
    ingot_queue_close(queue);
}

static void test_queue__close_finishes_what_was_submitted(void **state) {
    struct fixture *f = *state;
    static uint8_t bytes[MANY][64];
    static ingot_request requests[MANY];
    ingot_id id = put_text(f, "read and never reaped");
    ingot_queue *queue = open_queue(f, 2, 2 * MANY);
    for (size_t i = 0; i < MANY; i++) {
        memset(bytes[i], (int)i, sizeof bytes[i]);
        memcpy(bytes[i], &i, sizeof i);
        requests[i] =
            (ingot_request){.kind = INGOT_QUEUE_PUT, .data = bytes[i], .len = sizeof bytes[i]};
    }
    expect_ok(ingot_queue_submit(queue, requests, MANY, &err));
    for (size_t i = 0; i < MANY; i++)
        requests[i] = (ingot_request){.kind = INGOT_QUEUE_GET, .id = id};
    expect_ok(ingot_queue_submit(queue, requests, MANY, &err));
    ingot_queue_close(queue);
    assert_int_equal(stats_of(f).objects, MANY + 1);
    reopen(f);
    assert_int_equal(stats_of(f).objects, MANY + 1);
    expect_clean(f);
}

static void test_queue__options_out_of_range_are_refused(void **state) {
    struct fixture *f = *state;
    ingot_queue_options options = INGOT_QUEUE_OPTIONS_INIT;
    ingot_queue *queue = NULL;
    options.workers = 65;
    expect(INGOT_USAGE, ingot_queue_open(f->store, &options, &queue, &err));
    options.workers = 1;
    options.depth = 65537;
    expect(INGOT_USAGE, ingot_queue_open(f->store, &options, &queue, &err));
    options.depth = 1;
    options.size = 2;
    expect(INGOT_USAGE, ingot_queue_open(f->store, &options, &queue, &err));
    expect_ok(ingot_queue_open(f->store, NULL, &queue, &err));
    ingot_request request = {.kind = 99};
    expect(INGOT_USAGE, ingot_queue_submit(queue, &request, 1, &err));
    ingot_queue_close(queue);
}

struct submitter {
    ingot_queue *queue;
    pthread_t thread;
    uint64_t submitted;
    uint64_t reaped;
};

static void *submit_and_reap(void *arg) {
    struct submitter *submitter = arg;
    for (int i = 0; i < 300; i++) {
        ingot_request request = {.kind = INGOT_QUEUE_PUT, .data = "shared", .len = 6};
        ingot_result results[8];
        size_t count = 0;
        if (ingot_queue_submit(submitter->queue, &request, 1, NULL) == INGOT_OK)
            submitter->submitted++;
        ingot_op op = INGOT_OP_INIT;
        op.timeout_ms = 20;
        if (ingot_queue_wait(submitter->queue, results, 8, &op, &count, NULL) == INGOT_OK)
            submitter->reaped += count;
    }
    return NULL;
}

static void test_queue__many_threads_may_submit_and_reap(void **state) {
    struct fixture *f = *state;
    struct submitter submitters[8];
    uint64_t submitted = 0;
    uint64_t reaped = 0;
    ingot_queue *queue = open_queue(f, 2, 64);
    for (int i = 0; i < 8; i++) {
        submitters[i] = (struct submitter){.queue = queue};
        assert_int_equal(
            pthread_create(&submitters[i].thread, NULL, submit_and_reap, &submitters[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(submitters[i].thread, NULL);
        submitted += submitters[i].submitted;
        reaped += submitters[i].reaped;
    }
    while (reaped < submitted) {
        ingot_result results[8];
        size_t count = 0;
        expect_ok(ingot_queue_wait(queue, results, 8, NULL, &count, &err));
        reaped += count;
    }
    assert_int_equal(reaped, submitted);
    ingot_queue_close(queue);
    ingot_id id;
    ingot_store_hash(f->store, "shared", 6, &id);
    expect_refs(f, &id, (int64_t)submitted);
}

/* ---- Deadlines and cancellation ------------------------------------------------------------ */

struct raiser {
    ingot_cancel *cancel;
    pthread_t thread;
};

static void *raise_later(void *arg) {
    usleep(50000);
    ingot_cancel_raise(((struct raiser *)arg)->cancel);
    return NULL;
}

static void test_queue__a_raised_cancel_ends_calls_at_once(void **state) {
    struct fixture *f = *state;
    ingot_op op = INGOT_OP_INIT;
    ingot_cancel *cancel = NULL;
    ingot_check_report report;
    ingot_id before = put_text(f, "before");
    expect_ok(ingot_cancel_new(&cancel));
    op.cancel = cancel;
    ingot_id id;
    expect_ok(ingot_store_put(f->store, "not yet", 7, &op, &id, &err));
    ingot_cancel_raise(cancel);
    ingot_cancel_raise(cancel);
    int64_t refs = 0;
    ingot_status st = ingot_store_put(f->store, "cancelled", 9, &op, &id, &err);
    if (st != INGOT_CANCELLED && st != INGOT_OK)
        fail_msg("put with a raised cancel is %s", ingot_status_name(st));
    st = ingot_store_ref(f->store, &before, &op, &refs, &err);
    if (st != INGOT_CANCELLED && st != INGOT_OK)
        fail_msg("ref with a raised cancel is %s", ingot_status_name(st));
    expect(INGOT_CANCELLED, ingot_store_check(f->store, NULL, &op, &report, &err));
    ingot_cancel_free(cancel);
    expect_clean(f);
    reopen(f);
    expect_clean(f);
}

static void test_queue__waiting_ends_by_deadline_and_by_cancel(void **state) {
    struct fixture *f = *state;
    ingot_queue *queue = open_queue(f, 1, 16);
    ingot_result results[2];
    size_t count = 77;
    ingot_op op = INGOT_OP_INIT;
    struct timespec start;
    static uint8_t large[8 << 20];
    /* The worker is busy for a while with these; the wait of 1 ms may pass before any is done. */
    for (uint64_t i = 0; i < 8; i++) {
        memset(large, (int)i, sizeof large);
        ingot_request request = {.kind = INGOT_QUEUE_PUT, .data = large, .len = sizeof large};
        expect_ok(ingot_queue_submit(queue, &request, 1, &err));
        op.timeout_ms = 1;
        clock_gettime(CLOCK_MONOTONIC, &start);
        ingot_status st = ingot_queue_wait(queue, results, 2, &op, &count, &err);
        if (st == INGOT_TIMEOUT) {
            assert_true(elapsed_ms(&start) < 2000);
            reap(queue, results, 1);
        } else {
            expect_ok(st);
        }
    }
    struct raiser raiser = {0};
    expect_ok(ingot_cancel_new(&raiser.cancel));
    assert_int_equal(pthread_create(&raiser.thread, NULL, raise_later, &raiser), 0);
    op.timeout_ms = 0;
    op.cancel = raiser.cancel;
    ingot_request request = {.kind = INGOT_QUEUE_PUT, .data = "x", .len = 1};
    ingot_status st = INGOT_OK;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (st == INGOT_OK) {
        expect_ok(ingot_queue_submit(queue, &request, 1, &err));
        st = ingot_queue_wait(queue, results, 2, &op, &count, &err);
    }
    expect(INGOT_CANCELLED, st);
    assert_true(elapsed_ms(&start) < 5000);
    pthread_join(raiser.thread, NULL);
    ingot_cancel_free(raiser.cancel);
    ingot_queue_close(queue);
}

static void test_queue__a_deadline_is_kept_and_its_outcome_stays(void **state) {
    struct fixture *f = *state;
    ingot_op op = INGOT_OP_INIT;
    op.timeout_ms = 1;
    ingot_id ids[64];
    bool done[64];
    for (uint64_t i = 0; i < 64; i++) {
        uint8_t *bytes = bytes_of(i, 200 * KIB);
        ingot_store_hash(f->store, bytes, 200 * KIB, &ids[i]);
        ingot_status st = ingot_store_put(f->store, bytes, 200 * KIB, &op, &ids[i], &err);
        if (st != INGOT_OK && st != INGOT_TIMEOUT)
            fail_msg("put with a deadline is %s", ingot_status_name(st));
        if (st == INGOT_OK)
            expect_refs(f, &ids[i], 1);
        free(bytes);
    }
    expect_ok(ingot_store_sync(f->store, NULL, &err));
    for (uint64_t i = 0; i < 64; i++)
        done[i] = ingot_store_has(f->store, &ids[i], &err) == INGOT_OK;
    reopen(f);
    for (uint64_t i = 0; i < 64; i++) {
        expect(done[i] ? INGOT_OK : INGOT_NOT_FOUND, ingot_store_has(f->store, &ids[i], &err));
        if (done[i])
            expect_seed(f, &ids[i], i, 200 * KIB);
    }
    expect_clean(f);
}

#define T(name) cmocka_unit_test_setup_teardown(test_queue__##name, store_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(each_request_comes_back_once_with_its_result),
        T(every_kind_says_what_its_call_says),
        T(what_does_not_fit_is_refused_whole),
        T(its_descriptor_is_readable_while_results_wait),
        T(close_finishes_what_was_submitted),
        T(options_out_of_range_are_refused),
        T(many_threads_may_submit_and_reap),
        T(a_raised_cancel_ends_calls_at_once),
        T(waiting_ends_by_deadline_and_by_cancel),
        T(a_deadline_is_kept_and_its_outcome_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
