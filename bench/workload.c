#include "workload.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define FILL_BATCH 256u
/* Pages that each thread reads back after its puts: the first, the last and some between. */
#define READ_BACK 4u
#define PUT_SECONDS 5.0
/* A get is timed alone in each so many: it can be as short as reading the clock. */
#define GET_STRIDE 32u

/* The serial numbers of different threads do not meet. */
#define THREAD_SHIFT 40

struct put_case {
    const struct wl_subject *subject;
    unsigned batch; /* 1: put, else put_many */
};

struct get_case {
    const struct wl_subject *subject;
    struct wl_get get;
};

struct data_set {
    void *db;
    uint64_t objects;
    uint8_t (*ids)[WL_ID];
};

void wl_page_base(uint8_t page[WL_PAGE], unsigned thread) {
    uint64_t seed = thread;
    for (size_t i = 0; i < WL_PAGE; i += 8) {
        uint64_t word = bench_random(&seed);
        memcpy(page + i, &word, sizeof word);
    }
}

void wl_page_stamp(uint8_t page[WL_PAGE], uint64_t serial) {
    uint64_t mix = serial;
    memcpy(page, &serial, sizeof serial);
    for (size_t i = SECTOR; i < WL_PAGE; i += SECTOR) {
        uint64_t word = bench_random(&mix);
        memcpy(page + i, &word, sizeof word);
    }
}

uint64_t wl_serial_of(const void *page) {
    uint64_t serial;
    memcpy(&serial, page, sizeof serial);
    return serial;
}

static uint64_t serial_of_op(unsigned thread, uint64_t n) {
    return ((uint64_t)thread << THREAD_SHIFT) + n;
}

static void *memory_of_cases(size_t size) {
    /* Lives as long as the list of cases: to the end of the program. */
    static void *chain;
    void **memory = bench_alloc(sizeof *memory + size);
    *memory = chain;
    chain = memory;
    return memory + 1;
}

/* ---- Puts --------------------------------------------------------------------------------- */

static void put_setup(struct bench_run *run) {
    const struct put_case *pc = run->c->arg;
    run->state = pc->subject->open(run->dir, pc->subject);
}

static void put_begin(struct bench_worker *worker) {
    const struct put_case *pc = worker->run->c->arg;
    uint8_t *pages = bench_alloc((size_t)pc->batch * WL_PAGE);
    for (unsigned i = 0; i < pc->batch; i++)
        wl_page_base(pages + (size_t)i * WL_PAGE, worker->index);
    worker->state = pages;
}

static uint64_t put_op(struct bench_worker *worker) {
    const struct put_case *pc = worker->run->c->arg;
    wl_page_stamp(worker->state, serial_of_op(worker->index, worker->ops));
    pc->subject->put(worker->run->state, worker->state, WL_PAGE);
    return 1;
}

static uint64_t put_many_op(struct bench_worker *worker) {
    const struct put_case *pc = worker->run->c->arg;
    uint8_t *pages = worker->state;
    for (unsigned i = 0; i < pc->batch; i++)
        wl_page_stamp(pages + (size_t)i * WL_PAGE,
                      serial_of_op(worker->index, worker->ops * pc->batch + i));
    pc->subject->put_many(worker->run->state, pages, pc->batch);
    return 1;
}

static void put_end(struct bench_worker *worker) { free(worker->state); }

static void read_back(const struct wl_subject *subject, void *db, unsigned thread, uint64_t puts) {
    uint8_t page[WL_PAGE];
    uint8_t got[WL_PAGE];
    uint8_t id[WL_ID];
    wl_page_base(page, thread);
    for (uint64_t i = 0; i < READ_BACK && puts > 0; i++) {
        uint64_t serial = serial_of_op(thread, (puts - 1) * i / (READ_BACK - 1));
        wl_page_stamp(page, serial);
        subject->hash(db, page, WL_PAGE, id);
        subject->read(db, id, got, WL_PAGE);
        if (memcmp(page, got, WL_PAGE) != 0)
            bench_die("%s: page %llu reads back differently", subject->name,
                      (unsigned long long)serial);
    }
}

static void put_check(struct bench_run *run) {
    const struct put_case *pc = run->c->arg;
    uint64_t puts = run->total_ops * pc->batch;
    uint64_t count = pc->subject->count(run->state);
    if (count != puts)
        bench_die("%s: %llu puts, but %llu objects", run->c->name, (unsigned long long)puts,
                  (unsigned long long)count);
    for (unsigned i = 0; i < run->worker_count; i++)
        read_back(pc->subject, run->state, i, run->workers[i].ops * pc->batch);
}

static void put_teardown(struct bench_run *run) {
    const struct put_case *pc = run->c->arg;
    pc->subject->close(run->state);
}

static struct bench_case put_template(const struct wl_subject *subject, unsigned batch) {
    struct put_case *pc = memory_of_cases(sizeof *pc);
    *pc = (struct put_case){subject, batch};
    return (struct bench_case){.unit = "us",
                               .seconds = PUT_SECONDS,
                               .items = batch,
                               .bytes = (double)batch * WL_PAGE,
                               .arg = pc,
                               .setup = put_setup,
                               .begin = put_begin,
                               .op = batch > 1 ? put_many_op : put_op,
                               .end = put_end,
                               .check = put_check,
                               .teardown = put_teardown};
}

void wl_add_puts(struct bench_list *list, const struct wl_subject *subject, const char *name,
                 const unsigned *threads, size_t count) {
    struct bench_case c = put_template(subject, 1);
    for (size_t i = 0; i < count; i++) {
        c.threads = threads[i];
        bench_add(list, &c, "%s/%s/%u/threads:%u", subject->name, name, WL_PAGE, threads[i]);
    }
}

void wl_add_batches(struct bench_list *list, const struct wl_subject *subject,
                    const unsigned *batches, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct bench_case c = put_template(subject, batches[i]);
        bench_add(list, &c, "%s/put_batch/%u/%u", subject->name, WL_PAGE, batches[i]);
    }
}

/* ---- Gets --------------------------------------------------------------------------------- */

static void fill(struct data_set *set, const struct wl_subject *subject) {
    unsigned batch = subject->put_many != NULL ? FILL_BATCH : 1;
    uint8_t *pages = bench_alloc((size_t)batch * WL_PAGE);
    for (unsigned i = 0; i < batch; i++)
        wl_page_base(pages + (size_t)i * WL_PAGE, 0);
    for (uint64_t done = 0; done < set->objects;) {
        unsigned count = 0;
        while (count < batch && done + count < set->objects) {
            uint8_t *page = pages + (size_t)count * WL_PAGE;
            wl_page_stamp(page, done + count);
            subject->hash(set->db, page, WL_PAGE, set->ids[done + count]);
            count++;
        }
        if (subject->put_many != NULL)
            subject->put_many(set->db, pages, count);
        else
            subject->put(set->db, pages, WL_PAGE);
        done += count;
    }
    free(pages);
}

/* Once over all of it: what can be cached is, and a page that lacks is found before the window. */
static void warm(const struct data_set *set, const struct get_case *gc) {
    const struct wl_subject *subject = gc->subject;
    uint8_t scratch[WL_PAGE];
    void *reader = subject->reader_new != NULL ? subject->reader_new(set->db) : NULL;
    for (uint64_t i = 0; i < set->objects && gc->get.expect != WL_ABSENT; i++) {
        uint64_t expect = gc->get.expect != 0 ? gc->get.expect : i;
        if (gc->get.get(set->db, reader, set->ids[i], scratch) != expect)
            bench_die("%s: object %llu is lost", subject->name, (unsigned long long)i);
    }
    if (reader != NULL)
        subject->reader_free(reader);
}

static void get_setup(struct bench_run *run) {
    const struct get_case *gc = run->c->arg;
    struct data_set *set = bench_alloc(sizeof *set);
    set->objects = run->options->objects > 0 ? run->options->objects : WL_OBJECTS_DEFAULT;
    set->ids = bench_alloc(set->objects * sizeof *set->ids);
    set->db = gc->subject->open(run->dir, gc->subject);
    fill(set, gc->subject);
    if (gc->subject->count(set->db) != set->objects)
        bench_die("%s: the data set is incomplete", run->c->name);
    if (gc->get.prepare != NULL)
        gc->get.prepare(set->db);
    warm(set, gc);
    run->state = set;
}

struct get_thread {
    void *reader;
    uint8_t scratch[WL_PAGE];
};

static void get_begin(struct bench_worker *worker) {
    const struct get_case *gc = worker->run->c->arg;
    const struct data_set *set = worker->run->state;
    struct get_thread *thread = bench_alloc(sizeof *thread);
    if (gc->subject->reader_new != NULL)
        thread->reader = gc->subject->reader_new(set->db);
    worker->state = thread;
}

static uint64_t get_op(struct bench_worker *worker) {
    const struct get_case *gc = worker->run->c->arg;
    const struct data_set *set = worker->run->state;
    struct get_thread *thread = worker->state;
    uint64_t serial = bench_random(&worker->random) % set->objects;
    uint64_t expect = gc->get.expect != 0 ? gc->get.expect : serial;
    uint64_t found = gc->get.get(set->db, thread->reader, set->ids[serial], thread->scratch);
    if (found != expect)
        bench_die("%s: object %llu was answered with %llu", worker->run->c->name,
                  (unsigned long long)serial, (unsigned long long)found);
    return 1;
}

/* Another random id each time: a filter that remembers its misses gains nothing. */
static uint64_t absent_op(struct bench_worker *worker) {
    const struct get_case *gc = worker->run->c->arg;
    const struct data_set *set = worker->run->state;
    struct get_thread *thread = worker->state;
    uint64_t id[WL_ID / 8];
    for (size_t i = 0; i < WL_ID / 8; i++)
        id[i] = bench_random(&worker->random);
    if (gc->get.get(set->db, thread->reader, (const uint8_t *)id, thread->scratch) != WL_ABSENT)
        bench_die("%s: found an object that was never stored", worker->run->c->name);
    return 1;
}

static void get_end(struct bench_worker *worker) {
    const struct get_case *gc = worker->run->c->arg;
    struct get_thread *thread = worker->state;
    if (gc->subject->reader_free != NULL)
        gc->subject->reader_free(thread->reader);
    free(thread);
}

static void get_check(struct bench_run *run) {
    const struct get_case *gc = run->c->arg;
    const struct data_set *set = run->state;
    if (gc->get.check != NULL)
        gc->get.check(set->db, run->total_ops);
    read_back(gc->subject, set->db, 0, set->objects);
}

static void get_teardown(struct bench_run *run) {
    const struct get_case *gc = run->c->arg;
    struct data_set *set = run->state;
    gc->subject->close(set->db);
    free(set->ids);
    free(set);
}

void wl_add_gets(struct bench_list *list, const struct wl_subject *subject,
                 const struct wl_get *get, const unsigned *threads, size_t count) {
    struct get_case *gc = memory_of_cases(sizeof *gc);
    *gc = (struct get_case){subject, *get};
    struct bench_case c = {.stride = GET_STRIDE,
                           .bytes = get->expect == 0 ? WL_PAGE : 0,
                           .arg = gc,
                           .setup = get_setup,
                           .begin = get_begin,
                           .op = get->expect == WL_ABSENT ? absent_op : get_op,
                           .end = get_end,
                           .check = get_check,
                           .teardown = get_teardown};
    for (size_t i = 0; i < count; i++) {
        c.threads = threads[i];
        bench_add(list, &c, "%s/%s/%u/threads:%u", subject->name, get->name, WL_PAGE, threads[i]);
    }
}
