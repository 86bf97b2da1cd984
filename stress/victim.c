#include "ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define STACK_BYTES (512 << 10)

struct writer {
    struct ledger *ledger;
    ingot_store *store;
    struct rng rng;
    uint32_t number;
    uint32_t made; /* own contents put so far this round */
    ingot_id ids[OWN_CONTENTS];
    uint32_t balance[OWN_CONTENTS]; /* references that this writer was told it has */
    ingot_id shared_ids[SHARED_CONTENTS];
    uint8_t *bytes; /* CONTENT_MAX */
};

static void finish(struct writer *writer, atomic_uint *started, atomic_uint *acked, ingot_status st,
                   const ingot_error *err, bool may_refuse) {
    if (st == INGOT_OK) {
        atomic_fetch_add(acked, 1);
        atomic_fetch_add(&writer->ledger->acked, 1);
        return;
    }
    if (!may_refuse || (st != INGOT_NO_REFERENCE && st != INGOT_NOT_FOUND))
        complain(writer->ledger, "writer %" PRIu32 ": %s: %s", writer->number,
                 ingot_status_name(st), err->message);
    atomic_fetch_sub(started, 1);
}

static void put(struct writer *writer, struct tally *tally, uint64_t key, ingot_id *ret_id) {
    ingot_error err = INGOT_ERROR_INIT;
    size_t len = content_of(key, writer->bytes);
    atomic_fetch_add(&tally->add_started, 1);
    ingot_status st = ingot_store_put(writer->store, writer->bytes, len, NULL, ret_id, &err);
    finish(writer, &tally->add_started, &tally->add_acked, st, &err, false);
}

static void count(struct writer *writer, struct tally *tally, const ingot_id *id, bool add,
                  bool may_refuse) {
    ingot_error err = INGOT_ERROR_INIT;
    atomic_uint *started = add ? &tally->add_started : &tally->sub_started;
    atomic_uint *acked = add ? &tally->add_acked : &tally->sub_acked;
    int64_t refs;
    atomic_fetch_add(started, 1);
    ingot_status st = add ? ingot_store_ref(writer->store, id, NULL, &refs, &err)
                          : ingot_store_unref(writer->store, id, NULL, &refs, &err);
    finish(writer, started, acked, st, &err, may_refuse);
}

static struct tally *own_tally(const struct writer *writer, uint32_t n) {
    return ledger_own(writer->ledger, writer->ledger->round, writer->number, n);
}

static void put_own(struct writer *writer, uint32_t n) {
    uint64_t key = key_own(writer->ledger, writer->ledger->round, writer->number, n);
    put(writer, own_tally(writer, n), key, &writer->ids[n]);
    writer->balance[n]++;
}

static void count_own(struct writer *writer) {
    if (writer->made == 0)
        return;
    uint32_t n = rng_below(&writer->rng, writer->made);
    if (writer->balance[n] == 0) {
        put_own(writer, n);
        return;
    }
    bool add = rng_chance(&writer->rng, 40);
    count(writer, own_tally(writer, n), &writer->ids[n], add, false);
    writer->balance[n] += add ? 1 : UINT32_MAX;
}

static void count_shared(struct writer *writer) {
    uint32_t n = rng_below(&writer->rng, SHARED_CONTENTS);
    struct tally *tally = &writer->ledger->shared[n];
    if (rng_chance(&writer->rng, 40))
        put(writer, tally, key_shared(writer->ledger, n), &writer->shared_ids[n]);
    else
        count(writer, tally, &writer->shared_ids[n], rng_chance(&writer->rng, 30), true);
}

/* Two references that must appear together or not at all. */
static void count_pair(struct writer *writer) {
    uint32_t a = 0;
    while (a < writer->made && writer->balance[a] == 0)
        a++;
    uint32_t b = a + 1;
    while (b < writer->made && writer->balance[b] == 0)
        b++;
    if (b >= writer->made)
        return;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_batch *batch = NULL;
    if (ingot_batch_new(writer->store, &batch, &err) != INGOT_OK ||
        ingot_batch_ref(batch, &writer->ids[a], &err) != INGOT_OK ||
        ingot_batch_ref(batch, &writer->ids[b], &err) != INGOT_OK)
        complain(writer->ledger, "batch: %s", err.message);
    struct pair_in_flight *pair = &writer->ledger->pairs[writer->number];
    struct tally *first = own_tally(writer, a);
    struct tally *second = own_tally(writer, b);
    atomic_store(&pair->first, a);
    atomic_store(&pair->second, b);
    atomic_fetch_add(&first->add_started, 1);
    atomic_fetch_add(&second->add_started, 1);
    atomic_store(&pair->open, 1);
    ingot_status st = ingot_batch_commit(batch, NULL, &err);
    atomic_store(&pair->open, 0);
    finish(writer, &first->add_started, &first->add_acked, st, &err, false);
    finish(writer, &second->add_started, &second->add_acked, st, &err, false);
    writer->balance[a]++;
    writer->balance[b]++;
    ingot_batch_free(batch);
}

static void read_own(struct writer *writer) {
    if (writer->made == 0)
        return;
    uint32_t n = rng_below(&writer->rng, writer->made);
    if (writer->balance[n] == 0)
        return;
    uint64_t key = key_own(writer->ledger, writer->ledger->round, writer->number, n);
    size_t len = content_of(key, writer->bytes);
    ingot_error err = INGOT_ERROR_INIT;
    ingot_buf *buf = NULL;
    ingot_status st = ingot_store_get(writer->store, &writer->ids[n], NULL, &buf, &err);
    if (st != INGOT_OK)
        complain(writer->ledger, "get of an acked object: %s: %s", ingot_status_name(st),
                 err.message);
    if (ingot_buf_size(buf) != len || memcmp(ingot_buf_data(buf), writer->bytes, len) != 0)
        complain(writer->ledger, "get returned wrong bytes");
    ingot_buf_release(buf);
}

static __attribute__((noreturn)) void *write_until_killed(void *arg) {
    struct writer *writer = arg;
    for (uint32_t n = 0; n < SHARED_CONTENTS; n++) {
        size_t len = content_of(key_shared(writer->ledger, n), writer->bytes);
        ingot_store_hash(writer->store, writer->bytes, len, &writer->shared_ids[n]);
    }
    for (;;) {
        uint32_t what = rng_below(&writer->rng, 100);
        if (what < 45 && writer->made < OWN_CONTENTS)
            put_own(writer, writer->made++);
        else if (what < 60)
            count_own(writer);
        else if (what < 85)
            count_shared(writer);
        else if (what < 90)
            count_pair(writer);
        else
            read_own(writer);
    }
}

static __attribute__((noreturn)) void *collect_until_killed(void *arg) {
    struct writer *writer = arg;
    for (;;) {
        ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
        ingot_gc_report report;
        ingot_error err = INGOT_ERROR_INIT;
        options.grace_ms = -1;
        options.limbo_ms = -1;
        options.clean_below_percent = 90;
        ingot_status st = ingot_store_gc(writer->store, &options, NULL, &report, &err);
        if (st != INGOT_OK)
            complain(writer->ledger, "gc: %s: %s", ingot_status_name(st), err.message);
        sleep_ms(5);
    }
}

static void start(struct ledger *ledger, void *(*run)(void *), struct writer *writer) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int e = pthread_create(&thread, &attr, run, writer);
    pthread_attr_destroy(&attr);
    if (e != 0)
        complain(ledger, "cannot start a thread: %s", strerror(e));
}

void victim(struct ledger *ledger) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_store *store = NULL;
    ingot_status st = ingot_store_open(ledger->path, NULL, &store, &err);
    if (st != INGOT_OK)
        complain(ledger, "open: %s: %s", ingot_status_name(st), err.message);
    struct writer *writers = must_alloc((ledger->writers + 1) * sizeof *writers);
    for (uint32_t i = 0; i <= ledger->writers; i++) {
        writers[i] = (struct writer){.ledger = ledger, .store = store, .number = i};
        writers[i].rng = rng_fork(ledger->seed + 1, ledger->round, i);
        writers[i].bytes = must_alloc(CONTENT_MAX);
    }
    for (uint32_t i = 0; i < ledger->writers; i++)
        start(ledger, write_until_killed, &writers[i]);
    if (ledger->collects)
        start(ledger, collect_until_killed, &writers[ledger->writers]);
    atomic_store(&ledger->opened, 1);
    for (;;)
        pause();
}
