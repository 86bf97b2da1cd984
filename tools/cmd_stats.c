#include "cli.h"

#include <string.h>

struct numbers {
    ingot_store_info info;
    ingot_stats stats;
};

static void print_json(struct cli *cli, const struct numbers *numbers) {
    json_t *object = cli_json("stats");
    json_object_set_new(object, "uuid", json_string(numbers->info.uuid));
    json_object_set_new(object, "digest", json_string(numbers->info.digest_name));
    cli_json_number(object, "format", numbers->info.format_version);
    cli_json_number(object, "large_min", numbers->info.large_min);
    cli_json_number(object, "segment_size", numbers->info.segment_size);
#define FIELD(name, kind, help) cli_json_number(object, #name, numbers->stats.name);
    INGOT_STATS_LIST(FIELD)
#undef FIELD
    cli_print_json(cli, object);
}

static void print_sample(struct cli *cli, const char *name, const char *kind, const char *help,
                         uint64_t value) {
    /* The exposition format asks for this ending of counters. */
    const char *ending = strcmp(kind, "counter") == 0 ? "_total" : "";
    cli_print(cli, "# HELP ingot_%s%s %s\n# TYPE ingot_%s%s %s\ningot_%s%s %llu\n", name, ending,
              help, name, ending, kind, name, ending, (unsigned long long)value);
}

static void print_prometheus(struct cli *cli, const struct numbers *numbers) {
    cli_print(cli,
              "# HELP ingot_info what the store is\n# TYPE ingot_info gauge\n"
              "ingot_info{uuid=\"%s\",digest=\"%s\",format=\"%u\",version=\"%s\"} 1\n",
              numbers->info.uuid, numbers->info.digest_name, numbers->info.format_version,
              ingot_version());
#define FIELD(name, kind, help) print_sample(cli, #name, #kind, help, numbers->stats.name);
    INGOT_STATS_LIST(FIELD)
#undef FIELD
}

/* Counters start with the process: in one that only looks they say little. */
static void print_row(struct cli *cli, const char *name, const char *kind, const char *help,
                      uint64_t value) {
    if (strcmp(kind, "gauge") == 0 || cli->verbose)
        cli_print(cli, "%-20s %16llu  %s\n", name, (unsigned long long)value, help);
}

static void print_text(struct cli *cli, const struct numbers *numbers) {
    char large[CLI_SIZE_TEXT];
    char segment[CLI_SIZE_TEXT];
    cli_print(cli, "%s: format %u, %s, large objects from %s, segments of %s\n", numbers->info.uuid,
              numbers->info.format_version, numbers->info.digest_name,
              cli_size_text(numbers->info.large_min, large),
              cli_size_text(numbers->info.segment_size, segment));
#define FIELD(name, kind, help) print_row(cli, #name, #kind, help, numbers->stats.name);
    INGOT_STATS_LIST(FIELD)
#undef FIELD
}

int cmd_stats(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    bool prometheus = false;
    const char *const *args;
    const struct cli_option own[] = {{CLI_FLAG, 0, "prometheus", NULL,
                                      "print the text format that Prometheus reads", &prometheus, 0,
                                      0},
                                     {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    if (prometheus && cli->json)
        return cli_usage(cli, "--prometheus and --json exclude each other");
    result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    if (result != CLI_CONTINUE)
        return result;
    struct numbers numbers = {.stats = INGOT_STATS_INIT};
    ingot_error err = INGOT_ERROR_INIT;
    ingot_store_describe(cli->store, &numbers.info);
    if (ingot_store_stats(cli->store, &numbers.stats, &err) < 0)
        return cli_failed(cli, NULL, &err);
    if (cli->json)
        print_json(cli, &numbers);
    else if (prometheus)
        print_prometheus(cli, &numbers);
    else
        print_text(cli, &numbers);
    return CLI_DONE;
}
