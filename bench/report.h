/* What was measured, as Google Benchmark's JSON and as its console table. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "harness.h"

#include <jansson.h>
#include <stdio.h>

struct report {
    json_t *root;       /* owned */
    json_t *benchmarks; /* borrowed from root */
    FILE *console;      /* NULL: no table */
    int name_width;
};

struct report_entry {
    const char *name;
    unsigned family;
    unsigned instance;
    unsigned repetition;
};

void report_begin(struct report *report, const char *executable, const struct bench_suite *suite,
                  const struct bench_options *options);
/* One finished repetition. Owned by the caller. */
json_t *report_entry_new(const struct report_entry *entry, const struct bench_run *run);
void report_add(struct report *report, json_t *entry);
/* Mean, median, standard deviation and coefficient of variation of these repetitions. */
void report_add_aggregates(struct report *report, const json_t *repetitions);
void report_write_json(const struct report *report, FILE *out);
void report_end(struct report *report);

#endif
