#include "report.h"

#include "machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSON_LAYOUT (JSON_INDENT(2) | JSON_REAL_PRECISION(12))

/* Fields that are neither of a measurement's own nor counters. */
static const char *const fixed_fields[] = {
    "name",           "family_index",     "per_family_instance_index",
    "run_name",       "run_type",         "iterations",
    "repetitions",    "repetition_index", "threads",
    "aggregate_name", "real_time",        "cpu_time",
    "time_unit",      "aggregate_unit"};

static bool is_counter(const char *key) {
    for (size_t i = 0; i < sizeof fixed_fields / sizeof *fixed_fields; i++)
        if (strcmp(key, fixed_fields[i]) == 0)
            return false;
    return true;
}

static double unit_ns(const char *unit) {
    return strcmp(unit, "ms") == 0 ? 1e6 : strcmp(unit, "us") == 0 ? 1e3 : 1;
}

static double number(const json_t *entry, const char *key) {
    return json_number_value(json_object_get(entry, key));
}

static const char *text(const json_t *entry, const char *key) {
    return json_string_value(json_object_get(entry, key));
}

static void print_rule(const struct report *report) {
    for (int i = 0; i < report->name_width + 43; i++)
        fputc('-', report->console);
    fputc('\n', report->console);
}

static void print_entry(const struct report *report, json_t *entry) {
    const char *unit = text(entry, "time_unit");
    const char *key;
    json_t *value;
    double scale = 1;
    if (strcmp(json_string_value(json_object_get(entry, "run_type")), "aggregate") == 0 &&
        strcmp(text(entry, "aggregate_unit"), "percentage") == 0) {
        unit = "%";
        scale = 100;
    }
    fprintf(report->console, "%-*s %11.4g %-2s %11.4g %-2s %11lld", report->name_width,
            text(entry, "name"), scale * number(entry, "real_time"), unit,
            scale * number(entry, "cpu_time"), unit,
            (long long)json_integer_value(json_object_get(entry, "iterations")));
    json_object_foreach(entry, key, value) {
        if (is_counter(key))
            fprintf(report->console, " %s=%.6g", key, json_number_value(value));
    }
    fputc('\n', report->console);
    fflush(report->console);
}

void report_begin(struct report *report, const char *executable, const struct bench_suite *suite,
                  const struct bench_options *options) {
    report->root = json_object();
    report->benchmarks = json_array();
    json_t *context = machine_context(executable);
    machine_add_storage(context, options->dir);
    json_object_set_new(context, "subject", json_string(suite->subject));
    json_object_set_new(context, "subject_version", json_string(suite->version()));
    json_object_set_new(report->root, "context", context);
    json_object_set_new(report->root, "benchmarks", report->benchmarks);
    if (report->console == NULL)
        return;
    fprintf(report->console, "%s %s\n", suite->subject, suite->version());
    print_rule(report);
    fprintf(report->console, "%-*s %14s %14s %11s\n", report->name_width, "Benchmark", "Time",
            "CPU", "Iterations");
    print_rule(report);
}

json_t *report_entry_new(const struct report_entry *entry, const struct bench_run *run) {
    const struct bench_case *c = run->c;
    double scale = (double)run->iterations * unit_ns(c->unit);
    double seconds = run->real_ns / 1e9;
    json_t *out = json_object();
    json_object_set_new(out, "name", json_string(entry->name));
    json_object_set_new(out, "family_index", json_integer(entry->family));
    json_object_set_new(out, "per_family_instance_index", json_integer(entry->instance));
    json_object_set_new(out, "run_name", json_string(entry->name));
    json_object_set_new(out, "run_type", json_string("iteration"));
    json_object_set_new(out, "repetitions", json_integer(run->options->repetitions));
    json_object_set_new(out, "repetition_index", json_integer(entry->repetition));
    json_object_set_new(out, "threads", json_integer(c->threads));
    json_object_set_new(out, "iterations", json_integer((json_int_t)run->iterations));
    json_object_set_new(out, "real_time", json_real(run->real_ns / scale));
    json_object_set_new(out, "cpu_time", json_real(run->cpu_ns / scale));
    json_object_set_new(out, "time_unit", json_string(c->unit));
    if (c->bytes > 0)
        json_object_set_new(out, "bytes_per_second",
                            json_real((double)run->iterations * c->bytes / seconds));
    json_object_set_new(out, "items_per_second",
                        json_real((double)run->iterations * c->items / seconds));
    for (unsigned i = 0; i < run->counter_count; i++)
        json_object_set_new(out, run->counters[i].name, json_real(run->counters[i].value));
    return out;
}

void report_add(struct report *report, json_t *entry) {
    json_array_append(report->benchmarks, entry);
    if (report->console != NULL)
        print_entry(report, entry);
}

/* ---- Aggregates --------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b) {
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static double mean_of(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum / (double)n;
}

static double median_of(const double *values, size_t n) {
    double *sorted = bench_alloc(n * sizeof *sorted);
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    double median = n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    free(sorted);
    return median;
}

static double stddev_of(const double *values, size_t n) {
    double mean = mean_of(values, n);
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    return n < 2 ? 0 : sqrt(squares / (double)(n - 1));
}

static double cv_of(const double *values, size_t n) {
    double mean = mean_of(values, n);
    return mean > 0 || mean < 0 ? stddev_of(values, n) / mean : 0;
}

static const struct {
    const char *name;
    const char *unit;
    double (*of)(const double *values, size_t n);
} aggregates[] = {{"mean", "time", mean_of},
                  {"median", "time", median_of},
                  {"stddev", "time", stddev_of},
                  {"cv", "percentage", cv_of}};

static json_t *aggregate(const json_t *repetitions, size_t which) {
    size_t n = json_array_size(repetitions);
    const json_t *first = json_array_get(repetitions, 0);
    json_t *out = json_copy(json_array_get(repetitions, 0));
    double *values = bench_alloc(n * sizeof *values);
    char name[512];
    const char *key;
    json_t *value;

    snprintf(name, sizeof name, "%s_%s", text(first, "run_name"), aggregates[which].name);
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "run_type", json_string("aggregate"));
    json_object_set_new(out, "aggregate_name", json_string(aggregates[which].name));
    json_object_set_new(out, "aggregate_unit", json_string(aggregates[which].unit));
    json_object_set_new(out, "iterations", json_integer((json_int_t)n));
    json_object_del(out, "repetition_index");
    json_t *shown = json_copy(out);
    json_object_foreach(shown, key, value) {
        if (!json_is_real(value))
            continue;
        for (size_t i = 0; i < n; i++)
            values[i] = number(json_array_get(repetitions, i), key);
        json_object_set_new(out, key, json_real(aggregates[which].of(values, n)));
    }
    json_decref(shown);
    free(values);
    return out;
}

void report_add_aggregates(struct report *report, const json_t *repetitions) {
    for (size_t i = 0; i < sizeof aggregates / sizeof *aggregates; i++) {
        json_t *entry = aggregate(repetitions, i);
        report_add(report, entry);
        json_decref(entry);
    }
}

void report_write_json(const struct report *report, FILE *out) {
    if (json_dumpf(report->root, out, JSON_LAYOUT) != 0 || fputc('\n', out) == EOF)
        bench_die("cannot write the JSON");
}

void report_end(struct report *report) { json_decref(report->root); }
