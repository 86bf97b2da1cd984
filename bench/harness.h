/* Runs benchmark cases and reports them in the JSON and with the flags of Google Benchmark
 * (https://github.com/google/benchmark, docs/user_guide.md), so its compare.py reads the results.
 *
 * A case runs for a fixed time, not for a number of iterations. Its threads work through a warm-up
 * and then through one window that is the same for all of them; an operation counts if it ends
 * inside the window. So the throughput is that of the steady state, and no thread's start or drain
 * is part of it. real_time is the window divided by the operations of all threads; cpu_time is the
 * processor time of the whole process, helper threads included, divided by the same.
 *
 * A case proves its work: `check` runs after the window, and bench_die ends the program with
 * status 1 when anything is not as it must be. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include "hist.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_COUNTERS_MAX 24
#define BENCH_THREADS_MAX 4096

struct bench_options {
    const char *filter; /* POSIX extended regular expression, NULL: all */
    const char *out;    /* file for the JSON, NULL: none */
    const char *dir;    /* where fresh directories are made */
    bool json_on_stdout;
    bool json_in_out; /* else the console's text */
    bool list_only;
    bool aggregates_only;
    unsigned repetitions;
    double min_time_s; /* length of the window; 0: what each case says */
    double warmup_s;
    uint64_t objects; /* size of the data set of cases that read; 0: the case's default */
};

struct bench_counter {
    const char *name; /* static */
    double value;
};

struct bench_run;

struct bench_worker {
    struct bench_run *run;
    unsigned index;
    uint64_t random;  /* state of bench_random */
    uint64_t ops;     /* finished, warm-up included */
    void *state;      /* the case's */
    uint64_t counted; /* finished inside the window */
    struct hist latency;
};

/* Zero fields mean the default. Only one of op and once is given. */
struct bench_case {
    const char *name; /* given to bench_add as a format */
    unsigned threads; /* default 1 */
    unsigned stride;  /* only each stride-th operation is timed alone; default 1. For operations
                         that are not much longer than reading the clock */
    const char *unit; /* of real_time: "ns" (default), "us", "ms" */
    double seconds;   /* length of the window; default 0.5 */
    double items;     /* per operation, for items_per_second; default 1 */
    double bytes;     /* per operation, for bytes_per_second */
    bool self_timed;  /* op calls bench_record itself */
    const void *arg;  /* the case's, borrowed */
    void (*setup)(struct bench_run *run);
    void (*begin)(struct bench_worker *worker);  /* in its thread, before the warm-up */
    uint64_t (*op)(struct bench_worker *worker); /* returns how many operations it finished */
    void (*end)(struct bench_worker *worker);    /* in its thread, after the window */
    void (*check)(struct bench_run *run);
    void (*teardown)(struct bench_run *run);
    void (*once)(struct bench_run *run); /* measures itself: sets iterations, real_ns, cpu_ns */
};

/* One repetition of one case. */
struct bench_run {
    const struct bench_case *c;
    const struct bench_options *options;
    char dir[PATH_MAX]; /* fresh and empty at setup, removed after teardown */
    void *state;        /* the case's */
    struct bench_worker *workers;
    unsigned worker_count;
    uint64_t total_ops; /* of all workers, warm-up included; set before check */
    uint64_t iterations;
    double real_ns; /* of all iterations together */
    double cpu_ns;
    struct bench_counter counters[BENCH_COUNTERS_MAX];
    unsigned counter_count;
    uint64_t window_begin_ns; /* fixed before the workers are let go */
    uint64_t window_end_ns;
};

struct bench_list;

struct bench_suite {
    void (*list)(struct bench_list *list, const struct bench_options *options);
    const char *subject;          /* what is measured, for the context */
    const char *(*version)(void); /* of the subject; static text */
};

int bench_main(int argc, char **argv, const struct bench_suite *suite);

/* Copies the case; the name is made from format and arguments. Cases of one family, whose names
 * differ only after the last '/', are added one after another. */
void bench_add(struct bench_list *list, const struct bench_case *c, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void bench_counter(struct bench_run *run, const char *name, double value);
/* For self_timed cases: one operation from begin_ns to end_ns. */
void bench_record(struct bench_worker *worker, uint64_t begin_ns, uint64_t end_ns);
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t bench_now_ns(void);
/* Processor time of this process so far. */
uint64_t bench_cpu_ns(void);
/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t bench_random(uint64_t *state);
/* Ends the program when memory is out. */
void *bench_alloc(size_t size);
void bench_remove_tree(const char *dir);
/* Keeps a result alive that nobody else uses. */
void bench_keep(const void *pointer);

#endif
