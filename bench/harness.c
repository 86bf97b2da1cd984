#include "harness.h"

#include "options.h"
#include "report.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Hundreds of them at once; the libraries under test keep their buffers on the heap. */
#define STACK_BYTES (512 * 1024)
#define REMOVE_DESCRIPTORS 32

struct bench_list {
    struct bench_case *cases; /* names owned */
    size_t count;
};

_Noreturn void bench_die(const char *format, ...) {
    va_list args;
    fflush(stdout);
    fputs("benchmark failed: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    /* Other threads may still be at work: no exit handlers. */
    _exit(1);
}

void *bench_alloc(size_t size) {
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (memory == NULL)
        bench_die("out of memory");
    memset(memory, 0, size);
    return memory;
}

uint64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t bench_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

uint64_t bench_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void bench_keep(const void *pointer) { __asm__ volatile("" : : "r"(pointer) : "memory"); }

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void bench_remove_tree(const char *dir) {
    if (nftw(dir, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0)
        bench_die("cannot remove %s: %s", dir, strerror(errno));
}

void bench_counter(struct bench_run *run, const char *name, double value) {
    if (run->counter_count == BENCH_COUNTERS_MAX)
        bench_die("too many counters");
    run->counters[run->counter_count++] = (struct bench_counter){name, value};
}

static bool in_window(const struct bench_run *run, uint64_t now) {
    return now >= run->window_begin_ns && now < run->window_end_ns;
}

void bench_record(struct bench_worker *worker, uint64_t begin_ns, uint64_t end_ns) {
    if (in_window(worker->run, end_ns))
        hist_add(&worker->latency, end_ns - begin_ns);
}

void bench_add(struct bench_list *list, const struct bench_case *c, const char *format, ...) {
    va_list args;
    char *name = NULL;
    va_start(args, format);
    int len = vasprintf(&name, format, args);
    va_end(args);
    struct bench_case *cases = realloc(list->cases, (list->count + 1) * sizeof *cases);
    if (len < 0 || cases == NULL)
        bench_die("out of memory");
    list->cases = cases;
    struct bench_case *added = &cases[list->count++];
    *added = *c;
    added->name = name;
    added->threads = c->threads > 0 ? c->threads : 1;
    if (added->threads > BENCH_THREADS_MAX)
        bench_die("%s: more than %d threads", name, BENCH_THREADS_MAX);
    added->stride = c->stride > 0 ? c->stride : 1;
    added->unit = c->unit != NULL ? c->unit : "ns";
    added->seconds = c->seconds > 0 ? c->seconds : 0.5;
    added->items = c->items > 0 ? c->items : 1;
}

/* ---- One repetition ----------------------------------------------------------------------- */

struct crew {
    struct bench_run *run;
    pthread_barrier_t ready; /* all workers have begun */
    pthread_barrier_t go;    /* the window is fixed */
};

struct hire {
    struct crew *crew;
    struct bench_worker *worker;
    pthread_t thread;
};

static void work(struct bench_worker *worker) {
    const struct bench_run *run = worker->run;
    const struct bench_case *c = run->c;
    uint64_t now = bench_now_ns();
    while (now < run->window_end_ns) {
        uint64_t done = 0;
        for (unsigned i = 1; i < c->stride; i++)
            done += c->op(worker);
        uint64_t begin = c->stride > 1 ? bench_now_ns() : now;
        done += c->op(worker);
        now = bench_now_ns();
        worker->ops += done;
        if (in_window(run, now)) {
            worker->counted += done;
            if (!c->self_timed)
                hist_add(&worker->latency, now - begin);
        }
    }
}

static void *worker_main(void *arg) {
    struct hire *hire = arg;
    struct bench_worker *worker = hire->worker;
    const struct bench_case *c = worker->run->c;
    if (c->begin != NULL)
        c->begin(worker);
    pthread_barrier_wait(&hire->crew->ready);
    pthread_barrier_wait(&hire->crew->go);
    work(worker);
    if (c->end != NULL)
        c->end(worker);
    return NULL;
}

static void sleep_until(uint64_t when_ns) {
    struct timespec when = {.tv_sec = (time_t)(when_ns / UINT64_C(1000000000)),
                            .tv_nsec = (long)(when_ns % UINT64_C(1000000000))};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        continue;
}

/* Processor time per nanosecond of wall time in the window. */
static double cpu_rate(const struct bench_run *run) {
    sleep_until(run->window_begin_ns);
    uint64_t wall = bench_now_ns();
    uint64_t cpu = bench_cpu_ns();
    sleep_until(run->window_end_ns);
    /* Among hundreds of busy threads this one wakes late: divide by what really passed. */
    wall = bench_now_ns() - wall;
    cpu = bench_cpu_ns() - cpu;
    return wall > 0 ? (double)cpu / (double)wall : 0;
}

static void run_window(struct bench_run *run) {
    struct crew crew = {.run = run};
    struct hire *hires = bench_alloc(run->worker_count * sizeof *hires);
    pthread_attr_t attr;
    double seconds = run->options->min_time_s > 0 ? run->options->min_time_s : run->c->seconds;

    pthread_barrier_init(&crew.ready, NULL, run->worker_count + 1);
    pthread_barrier_init(&crew.go, NULL, run->worker_count + 1);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (unsigned i = 0; i < run->worker_count; i++) {
        hires[i] = (struct hire){.crew = &crew, .worker = &run->workers[i]};
        int error = pthread_create(&hires[i].thread, &attr, worker_main, &hires[i]);
        if (error != 0)
            bench_die("cannot start thread %u: %s", i, strerror(error));
    }
    pthread_attr_destroy(&attr);
    pthread_barrier_wait(&crew.ready);
    run->window_begin_ns = bench_now_ns() + (uint64_t)(run->options->warmup_s * 1e9);
    run->window_end_ns = run->window_begin_ns + (uint64_t)(seconds * 1e9);
    pthread_barrier_wait(&crew.go);
    double rate = cpu_rate(run);
    for (unsigned i = 0; i < run->worker_count; i++)
        pthread_join(hires[i].thread, NULL);
    pthread_barrier_destroy(&crew.ready);
    pthread_barrier_destroy(&crew.go);
    free(hires);
    run->real_ns = (double)(run->window_end_ns - run->window_begin_ns);
    run->cpu_ns = rate * run->real_ns;
}

static void sum_workers(struct bench_run *run) {
    struct hist *all = bench_alloc(sizeof *all);
    for (unsigned i = 0; i < run->worker_count; i++) {
        run->total_ops += run->workers[i].ops;
        run->iterations += run->workers[i].counted;
        hist_merge(all, &run->workers[i].latency);
    }
    if (run->iterations == 0 || all->count == 0)
        bench_die("%s: no operation ended within the window", run->c->name);
    bench_counter(run, "p50_us", hist_quantile(all, 0.5) / 1e3);
    bench_counter(run, "p99_us", hist_quantile(all, 0.99) / 1e3);
    bench_counter(run, "p999_us", hist_quantile(all, 0.999) / 1e3);
    bench_counter(run, "max_us", (double)all->max / 1e3);
    free(all);
}

static void run_once(struct bench_run *run, uint64_t seed) {
    const struct bench_case *c = run->c;
    int len = snprintf(run->dir, sizeof run->dir, "%s/ingot-bench-XXXXXX", run->options->dir);
    if (len < 0 || (size_t)len >= sizeof run->dir || mkdtemp(run->dir) == NULL)
        bench_die("cannot make a directory in %s: %s", run->options->dir, strerror(errno));
    run->worker_count = c->once != NULL ? 0 : c->threads;
    run->workers = bench_alloc((run->worker_count + 1) * sizeof *run->workers);
    for (unsigned i = 0; i < run->worker_count; i++) {
        run->workers[i].run = run;
        run->workers[i].index = i;
        run->workers[i].random = bench_random(&seed);
    }
    if (c->setup != NULL)
        c->setup(run);
    if (c->once != NULL) {
        c->once(run);
        if (run->iterations == 0)
            bench_die("%s: nothing was done", c->name);
    } else {
        run_window(run);
        sum_workers(run);
    }
    if (c->check != NULL)
        c->check(run);
    if (c->teardown != NULL)
        c->teardown(run);
    free(run->workers);
    bench_remove_tree(run->dir);
}

/* ---- All of them -------------------------------------------------------------------------- */

static void run_case(const struct bench_case *c, struct report_entry entry, struct report *report,
                     const struct bench_options *options) {
    json_t *repetitions = json_array();
    for (unsigned i = 0; i < options->repetitions; i++) {
        struct bench_run *run = bench_alloc(sizeof *run);
        run->c = c;
        run->options = options;
        run_once(run, i + 1);
        entry.repetition = i;
        json_t *result = report_entry_new(&entry, run);
        if (!options->aggregates_only || options->repetitions == 1)
            report_add(report, result);
        json_array_append_new(repetitions, result);
        free(run);
    }
    if (options->repetitions > 1)
        report_add_aggregates(report, repetitions);
    json_decref(repetitions);
}

/* Everything before the last '/': cases that differ only there are one family. */
static size_t family_len(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash != NULL ? (size_t)(slash - name) : strlen(name);
}

static bool same_family(const char *a, const char *b) {
    return family_len(a) == family_len(b) && strncmp(a, b, family_len(a)) == 0;
}

/* Keeps the cases that the filter selects and returns the width of the longest name. */
static int select_cases(struct bench_list *list, const char *filter) {
    regex_t regex;
    size_t kept = 0;
    int width = 0;
    if (regcomp(&regex, filter != NULL ? filter : ".", REG_EXTENDED | REG_NOSUB) != 0)
        bench_die("bad filter");
    for (size_t i = 0; i < list->count; i++) {
        if (regexec(&regex, list->cases[i].name, 0, NULL, 0) != 0)
            continue;
        list->cases[kept++] = list->cases[i];
        int len = (int)strlen(list->cases[i].name);
        width = len > width ? len : width;
    }
    regfree(&regex);
    list->count = kept;
    return width;
}

/* Hundreds of threads with a file each need more than the usual soft limit. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void write_out(const struct report *report, const struct bench_options *options) {
    if (options->json_on_stdout)
        report_write_json(report, stdout);
    if (options->out == NULL || !options->json_in_out)
        return;
    FILE *out = fopen(options->out, "we");
    if (out == NULL)
        bench_die("cannot write %s: %s", options->out, strerror(errno));
    report_write_json(report, out);
    if (fclose(out) != 0)
        bench_die("cannot write %s: %s", options->out, strerror(errno));
}

static void run_all(const struct bench_list *list, struct report *report,
                    const struct bench_options *options) {
    struct report_entry entry = {.family = 0};
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0 && same_family(list->cases[i - 1].name, list->cases[i].name)) {
            entry.instance++;
        } else if (i > 0) {
            entry.family++;
            entry.instance = 0;
        }
        entry.name = list->cases[i].name;
        run_case(&list->cases[i], entry, report, options);
    }
}

int bench_main(int argc, char **argv, const struct bench_suite *suite) {
    struct bench_options options;
    struct bench_list list = {NULL, 0};
    struct report report = {.console = NULL};

    options_parse(argc, argv, &options);
    suite->list(&list, &options);
    report.name_width = select_cases(&list, options.filter);
    if (options.list_only) {
        for (size_t i = 0; i < list.count; i++)
            puts(list.cases[i].name);
        return 0;
    }
    if (list.count == 0)
        bench_die("no case matches '%s'", options.filter != NULL ? options.filter : "");
    raise_descriptor_limit();
    report.console = options.json_on_stdout ? NULL : stdout;
    if (options.out != NULL && !options.json_in_out) {
        report.console = fopen(options.out, "we");
        if (report.console == NULL)
            bench_die("cannot write %s: %s", options.out, strerror(errno));
    }
    report_begin(&report, argv[0], suite, &options);
    run_all(&list, &report, &options);
    write_out(&report, &options);
    report_end(&report);
    return 0;
}
