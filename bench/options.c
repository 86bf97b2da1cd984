#include "options.h"

#include <getopt.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPETITIONS_MAX 1000
#define SECONDS_MAX 3600.0

static const char usage_text[] =
    "  --benchmark_filter=REGEX           run only cases whose name matches\n"
    "  --benchmark_list_tests             print the names and run nothing\n"
    "  --benchmark_min_time=S             length of the measured window in seconds\n"
    "  --benchmark_min_warmup_time=S      time before the window, default 0.5\n"
    "  --benchmark_repetitions=N          runs of each case, default 1\n"
    "  --benchmark_report_aggregates_only[=BOOL]\n"
    "  --benchmark_format=console|json    what to print, default console\n"
    "  --benchmark_out=FILE               write the results there too\n"
    "  --benchmark_out_format=json|console  default json\n"
    "  --dir=DIR                          where to make fresh directories, default .\n"
    "  --objects=N                        size of the data set, where a case has one\n";

enum {
    FILTER = 1,
    LIST,
    MIN_TIME,
    WARMUP,
    REPETITIONS,
    AGGREGATES,
    FORMAT,
    OUT,
    OUT_FORMAT,
    DIR,
    OBJECTS,
    HELP,
    IGNORED
};

static const struct option flags[] = {
    {"benchmark_filter", required_argument, NULL, FILTER},
    {"benchmark_list_tests", optional_argument, NULL, LIST},
    {"benchmark_min_time", required_argument, NULL, MIN_TIME},
    {"benchmark_min_warmup_time", required_argument, NULL, WARMUP},
    {"benchmark_repetitions", required_argument, NULL, REPETITIONS},
    {"benchmark_report_aggregates_only", optional_argument, NULL, AGGREGATES},
    {"benchmark_format", required_argument, NULL, FORMAT},
    {"benchmark_out", required_argument, NULL, OUT},
    {"benchmark_out_format", required_argument, NULL, OUT_FORMAT},
    {"benchmark_color", optional_argument, NULL, IGNORED},
    {"benchmark_counters_tabular", optional_argument, NULL, IGNORED},
    {"dir", required_argument, NULL, DIR},
    {"objects", required_argument, NULL, OBJECTS},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0}};

static _Noreturn void usage(const char *program, int status) {
    fprintf(status == 0 ? stdout : stderr, "usage: %s [FLAG...]\n%s", program, usage_text);
    exit(status);
}

static _Noreturn void bad_value(const char *program, const char *flag, const char *value) {
    fprintf(stderr, "%s: --%s: bad value '%s'\n", program, flag, value);
    usage(program, 2);
}

static bool parse_bool(const char *value) {
    return value == NULL || (strcmp(value, "false") != 0 && strcmp(value, "0") != 0);
}

/* "5" or "5s". False for anything else, a count of iterations ("5x") included. */
static bool parse_seconds(const char *value, double *ret_seconds) {
    char *end = NULL;
    double seconds = strtod(value, &end);
    if (end == value || (strcmp(end, "") != 0 && strcmp(end, "s") != 0))
        return false;
    if (!(seconds >= 0) || seconds > SECONDS_MAX)
        return false;
    *ret_seconds = seconds;
    return true;
}

static bool parse_count(const char *value, uint64_t max, uint64_t *ret_count) {
    char *end = NULL;
    unsigned long long count = strtoull(value, &end, 10);
    if (end == value || *end != '\0' || *value == '-' || count == 0 || count > max)
        return false;
    *ret_count = count;
    return true;
}

static bool parse_format(const char *value, bool *ret_json) {
    if (strcmp(value, "json") != 0 && strcmp(value, "console") != 0)
        return false;
    *ret_json = strcmp(value, "json") == 0;
    return true;
}

static bool valid_regex(const char *pattern) {
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    regfree(&regex);
    return true;
}

static bool apply(int flag, const char *value, struct bench_options *options) {
    uint64_t count = 1;
    switch (flag) {
    case FILTER:
        options->filter = value;
        return valid_regex(value);
    case LIST:
        options->list_only = parse_bool(value);
        return true;
    case MIN_TIME:
        return parse_seconds(value, &options->min_time_s) && options->min_time_s > 0;
    case WARMUP:
        return parse_seconds(value, &options->warmup_s);
    case REPETITIONS:
        if (!parse_count(value, REPETITIONS_MAX, &count))
            return false;
        options->repetitions = (unsigned)count;
        return true;
    case AGGREGATES:
        options->aggregates_only = parse_bool(value);
        return true;
    case FORMAT:
        return parse_format(value, &options->json_on_stdout);
    case OUT:
        options->out = value;
        return true;
    case OUT_FORMAT:
        return parse_format(value, &options->json_in_out);
    case DIR:
        options->dir = value;
        return true;
    case OBJECTS:
        return parse_count(value, UINT64_C(1) << 32, &options->objects);
    default:
        return true;
    }
}

void options_parse(int argc, char **argv, struct bench_options *ret_options) {
    struct bench_options options = {
        .dir = ".", .json_in_out = true, .repetitions = 1, .warmup_s = 0.5};
    int index = 0;
    for (;;) {
        int flag = getopt_long(argc, argv, "", flags, &index);
        if (flag == -1)
            break;
        if (flag == HELP)
            usage(argv[0], 0);
        if (flag == '?')
            usage(argv[0], 2);
        if (!apply(flag, optarg, &options))
            bad_value(argv[0], flags[index].name, optarg != NULL ? optarg : "");
    }
    if (optind < argc)
        bad_value(argv[0], "", argv[optind]);
    *ret_options = options;
}
