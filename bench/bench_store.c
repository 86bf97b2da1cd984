/* ingot: the common workload, and what only a content-addressed store has: puts of bytes that are
 * already there, the queue, and has. */
#include "store_subject.h"

#include <stdlib.h>
#include <string.h>

#define RESIDENT_PAGES 1024u
#define OUTSTANDING 1024u
#define SUBMIT_MAX 64u
#define REAP_MAX 256u
#define PUT_SECONDS 5.0
/* Of the gets of a data set that the cache holds, at least this share must come from it. */
#define HIT_SHARE 0.99

/* ---- Gets --------------------------------------------------------------------------------- */

static ingot_id id_of(const uint8_t bytes[WL_ID]) {
    ingot_id id;
    memcpy(id.bytes, bytes, WL_ID);
    return id;
}

static uint64_t get_view(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_id wanted = id_of(id);
    ingot_buf *buf = NULL;
    (void)reader;
    (void)scratch;
    op.flags = (db->variant & STORE_NO_CACHE) != 0 ? INGOT_NO_CACHE : 0;
    ingot_status status = ingot_store_get(db->store, &wanted, &op, &buf, &err);
    if (status == INGOT_NOT_FOUND)
        return WL_ABSENT;
    store_must("get", status, &err);
    if (ingot_buf_size(buf) != WL_PAGE)
        bench_die("ingot: a page of %zu bytes", ingot_buf_size(buf));
    uint64_t serial = wl_serial_of(ingot_buf_data(buf));
    ingot_buf_release(buf);
    return serial;
}

static uint64_t get_copy(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_id wanted = id_of(id);
    size_t len = 0;
    (void)reader;
    op.flags = (db->variant & STORE_NO_CACHE) != 0 ? INGOT_NO_CACHE : 0;
    store_must("get_into",
               ingot_store_get_into(db->store, &wanted, scratch, WL_PAGE, &op, &len, &err), &err);
    return len == WL_PAGE ? wl_serial_of(scratch) : WL_ABSENT;
}

static uint64_t has(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_id wanted = id_of(id);
    (void)reader;
    (void)scratch;
    ingot_status status = ingot_store_has(db->store, &wanted, &err);
    if (status == INGOT_NOT_FOUND)
        return WL_ABSENT;
    store_must("has", status, &err);
    return WL_PRESENT;
}

/* Settles the fill: nothing of it is still on its way to the device while reads are timed. */
static void sync_store(void *handle) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    store_must("sync", ingot_store_sync(db->store, NULL, &err), &err);
}

static void check_from_cache(void *handle, uint64_t gets) {
    struct store_db *db = handle;
    ingot_stats stats = store_stats_of(db->store);
    if ((double)stats.gets_l1 < HIT_SHARE * (double)gets)
        bench_die("only %llu of %llu gets came from memory", (unsigned long long)stats.gets_l1,
                  (unsigned long long)gets);
}

static void check_from_log(void *handle, uint64_t gets) {
    struct store_db *db = handle;
    ingot_stats stats = store_stats_of(db->store);
    if (stats.gets_log < gets)
        bench_die("only %llu of %llu gets came from the log", (unsigned long long)stats.gets_log,
                  (unsigned long long)gets);
}

/* ---- Puts of bytes that are already there ------------------------------------------------- */

struct resident {
    struct store_db *db;
    uint8_t *pages;
};

static const uint8_t *resident_page(const struct resident *set, uint64_t n) {
    return set->pages + (size_t)(n % RESIDENT_PAGES) * WL_PAGE;
}

static void duplicate_setup(struct bench_run *run) {
    const struct wl_subject *subject = run->c->arg;
    struct resident *set = bench_alloc(sizeof *set);
    set->db = subject->open(run->dir, subject);
    set->pages = bench_alloc((size_t)RESIDENT_PAGES * WL_PAGE);
    for (unsigned i = 0; i < RESIDENT_PAGES; i++) {
        uint8_t *page = set->pages + (size_t)i * WL_PAGE;
        wl_page_base(page, 0);
        wl_page_stamp(page, i);
    }
    subject->put_many(set->db, set->pages, RESIDENT_PAGES);
    run->state = set;
}

static uint64_t duplicate_op(struct bench_worker *worker) {
    const struct wl_subject *subject = worker->run->c->arg;
    struct resident *set = worker->run->state;
    subject->put(set->db, resident_page(set, bench_random(&worker->random)), WL_PAGE);
    return 1;
}

/* Every put added one reference, and none stored a byte. */
static void duplicate_check(struct bench_run *run) {
    struct resident *set = run->state;
    ingot_store *store = set->db->store;
    ingot_stats stats = store_stats_of(store);
    uint64_t refs = 0;
    for (unsigned i = 0; i < RESIDENT_PAGES; i++) {
        ingot_error err = INGOT_ERROR_INIT;
        int64_t count = 0;
        ingot_id id;
        ingot_store_hash(store, resident_page(set, i), WL_PAGE, &id);
        store_must("refcount", ingot_store_refcount(store, &id, &count, &err), &err);
        refs += (uint64_t)count;
    }
    if (refs != run->total_ops + RESIDENT_PAGES || stats.objects != RESIDENT_PAGES)
        bench_die("%s: %llu puts, but %llu references to %llu objects", run->c->name,
                  (unsigned long long)(run->total_ops + RESIDENT_PAGES), (unsigned long long)refs,
                  (unsigned long long)stats.objects);
}

static void duplicate_teardown(struct bench_run *run) {
    const struct wl_subject *subject = run->c->arg;
    struct resident *set = run->state;
    subject->close(set->db);
    free(set->pages);
    free(set);
}

static void add_duplicates(struct bench_list *list, const struct wl_subject *subject,
                           const char *name, const unsigned *threads, size_t count) {
    struct bench_case c = {.unit = "us",
                           .seconds = PUT_SECONDS,
                           .bytes = WL_PAGE,
                           .arg = subject,
                           .setup = duplicate_setup,
                           .op = duplicate_op,
                           .check = duplicate_check,
                           .teardown = duplicate_teardown};
    for (size_t i = 0; i < count; i++) {
        c.threads = threads[i];
        bench_add(list, &c, "ingot/%s/%u/threads:%u", name, WL_PAGE, threads[i]);
    }
}

/* ---- Queue -------------------------------------------------------------------------------- */

struct slot {
    uint64_t serial;
    uint64_t submitted_ns;
    uint8_t *page;
};

struct pipeline {
    ingot_queue *queue;
    uint64_t submitted;
    uint32_t free_count;
    uint32_t free_slots[OUTSTANDING];
    struct slot slots[OUTSTANDING];
    uint8_t *pages;
};

static void queue_setup(struct bench_run *run) {
    run->state = store_durable.open(run->dir, &store_durable);
}

static void queue_begin(struct bench_worker *worker) {
    struct store_db *db = worker->run->state;
    struct pipeline *line = bench_alloc(sizeof *line);
    ingot_error err = INGOT_ERROR_INIT;
    line->pages = bench_alloc((size_t)OUTSTANDING * WL_PAGE);
    for (uint32_t i = 0; i < OUTSTANDING; i++) {
        line->slots[i].page = line->pages + (size_t)i * WL_PAGE;
        wl_page_base(line->slots[i].page, worker->index);
        line->free_slots[line->free_count++] = i;
    }
    store_must("queue_open", ingot_queue_open(db->store, NULL, &line->queue, &err), &err);
    worker->state = line;
}

static void submit_some(struct pipeline *line) {
    ingot_request requests[SUBMIT_MAX];
    ingot_error err = INGOT_ERROR_INIT;
    size_t count = 0;
    uint64_t now = bench_now_ns();
    while (count < SUBMIT_MAX && line->free_count > 0) {
        uint32_t index = line->free_slots[--line->free_count];
        struct slot *slot = &line->slots[index];
        slot->serial = line->submitted++;
        slot->submitted_ns = now;
        wl_page_stamp(slot->page, slot->serial);
        requests[count++] = (ingot_request){
            .token = index, .kind = INGOT_QUEUE_PUT, .data = slot->page, .len = WL_PAGE};
    }
    if (count > 0)
        store_must("queue_submit", ingot_queue_submit(line->queue, requests, count, &err), &err);
}

static uint64_t reap_some(struct bench_worker *worker) {
    struct pipeline *line = worker->state;
    ingot_result results[REAP_MAX];
    ingot_error err = INGOT_ERROR_INIT;
    size_t count = 0;
    store_must("queue_wait", ingot_queue_wait(line->queue, results, REAP_MAX, NULL, &count, &err),
               &err);
    uint64_t now = bench_now_ns();
    for (size_t i = 0; i < count; i++) {
        if (results[i].token >= OUTSTANDING || results[i].status != INGOT_OK)
            bench_die("queue: %s", ingot_status_name(results[i].status));
        bench_record(worker, line->slots[results[i].token].submitted_ns, now);
        line->free_slots[line->free_count++] = (uint32_t)results[i].token;
    }
    return count;
}

static uint64_t queue_op(struct bench_worker *worker) {
    struct pipeline *line = worker->state;
    while (line->free_count >= SUBMIT_MAX)
        submit_some(line);
    return reap_some(worker);
}

static void queue_end(struct bench_worker *worker) {
    struct pipeline *line = worker->state;
    while (line->free_count < OUTSTANDING)
        worker->ops += reap_some(worker);
    if (line->submitted != worker->ops)
        bench_die("queue: %llu submitted, %llu finished", (unsigned long long)line->submitted,
                  (unsigned long long)worker->ops);
    ingot_queue_close(line->queue);
    free(line->pages);
    free(line);
}

static void queue_check(struct bench_run *run) {
    struct store_db *db = run->state;
    uint8_t page[WL_PAGE];
    uint8_t got[WL_PAGE];
    uint8_t id[WL_ID];
    if (store_durable.count(db) != run->total_ops)
        bench_die("queue: %llu puts, but %llu objects", (unsigned long long)run->total_ops,
                  (unsigned long long)store_durable.count(db));
    wl_page_base(page, 0);
    wl_page_stamp(page, run->total_ops - 1);
    store_durable.hash(db, page, WL_PAGE, id);
    store_durable.read(db, id, got, WL_PAGE);
    if (memcmp(page, got, WL_PAGE) != 0)
        bench_die("queue: the last page reads back differently");
}

static void queue_teardown(struct bench_run *run) { store_durable.close(run->state); }

static void add_queue(struct bench_list *list) {
    struct bench_case c = {.unit = "us",
                           .seconds = PUT_SECONDS,
                           .bytes = WL_PAGE,
                           .self_timed = true,
                           .setup = queue_setup,
                           .begin = queue_begin,
                           .op = queue_op,
                           .end = queue_end,
                           .check = queue_check,
                           .teardown = queue_teardown};
    bench_add(list, &c, "ingot/put_queue/%u/outstanding:%u", WL_PAGE, OUTSTANDING);
}

/* ---- The list ----------------------------------------------------------------------------- */

static void list_cases(struct bench_list *list, const struct bench_options *options) {
    static const unsigned many[] = {1, 2, 16, 64, 256, 850};
    static const unsigned writers[] = {1, 850};
    static const unsigned readers[] = {1, 2};
    static const unsigned batches[] = {64, 256};
    static const struct wl_get cached[] = {
        {.name = "get_view", .get = get_view, .prepare = sync_store, .check = check_from_cache},
        {.name = "get_copy", .get = get_copy, .prepare = sync_store, .check = check_from_cache},
        {.name = "get_miss", .get = get_view, .expect = WL_ABSENT, .prepare = sync_store},
        {.name = "has_present", .get = has, .expect = WL_PRESENT, .prepare = sync_store},
        {.name = "has_absent", .get = has, .expect = WL_ABSENT, .prepare = sync_store}};
    static const struct wl_get from_log = {
        .name = "get_verified", .get = get_view, .prepare = sync_store, .check = check_from_log};
    static const struct wl_get has_uncached = {
        .name = "has_present_uncached", .get = has, .expect = WL_PRESENT, .prepare = sync_store};
    (void)options;
    wl_add_puts(list, &store_durable, "put_durable", many, 6);
    wl_add_batches(list, &store_durable, batches, 2);
    add_queue(list);
    wl_add_puts(list, &store_relaxed, "put_relaxed", writers, 2);
    add_duplicates(list, &store_durable, "put_duplicate", writers, 2);
    add_duplicates(list, &store_relaxed, "put_duplicate_relaxed", writers, 2);
    for (size_t i = 0; i < sizeof cached / sizeof *cached; i++)
        wl_add_gets(list, &store_cached, &cached[i], readers, 2);
    wl_add_gets(list, &store_uncached, &from_log, readers, 2);
    wl_add_gets(list, &store_uncached, &has_uncached, readers, 2);
}

int main(int argc, char **argv) {
    static const struct bench_suite suite = {list_cases, "ingot", ingot_version};
    return bench_main(argc, argv, &suite);
}
