#include "cli.h"

#include <stdlib.h>

#define VICTIMS_MAX ((uint64_t)64 << 20) /* ids listed at most: 2 GiB of address space */

#define GC_FIELDS(X)                                                                               \
    X(examined, "objects examined")                                                                \
    X(live, "live objects")                                                                        \
    X(in_grace, "without reference, in their grace period")                                        \
    X(leased, "without reference, leased or pinned")                                               \
    X(swept, "objects swept")                                                                      \
    X(swept_bytes, "bytes of them")                                                                \
    X(purged, "objects purged from limbo")                                                         \
    X(orphans, "unfinished object files removed")                                                  \
    X(segments_cleaned, "segments cleaned")                                                        \
    X(moved_objects, "objects moved")                                                              \
    X(moved_bytes, "bytes of them")                                                                \
    X(freed_bytes, "bytes returned to the file system")                                            \
    X(segments_unreadable, "damaged segments left alone")

static json_t *json_of(const ingot_gc_report *report, bool dry_run) {
    json_t *object = cli_json("gc");
    json_object_set_new(object, "dry_run", json_boolean(dry_run));
    json_object_set_new(object, "finished", json_boolean(report->finished != 0));
#define FIELD(name, text) cli_json_number(object, #name, report->name);
    GC_FIELDS(FIELD)
#undef FIELD
    return object;
}

static void print_report(struct cli *cli, const ingot_gc_report *report, bool dry_run) {
    if (dry_run)
        cli_print(cli, "dry run: nothing was changed\n");
#define FIELD(name, text) cli_print(cli, "%14llu  %s\n", (unsigned long long)report->name, text);
    GC_FIELDS(FIELD)
#undef FIELD
    if (report->finished == 0)
        cli_print(cli, "not finished: the next run goes on from here\n");
}

static void print_all(struct cli *cli, const ingot_gc_options *options,
                      const ingot_gc_report *report) {
    bool dry_run = (options->flags & INGOT_GC_DRY_RUN) != 0;
    size_t listed =
        report->swept < options->victims_max ? (size_t)report->swept : options->victims_max;
    if (cli->json) {
        json_t *object = json_of(report, dry_run);
        json_t *ids = options->victims != NULL ? json_array() : NULL;
        for (size_t i = 0; ids != NULL && i < listed; i++) {
            char hex[INGOT_ID_HEX + 1];
            ingot_id_format(&options->victims[i], hex);
            json_array_append_new(ids, json_string(hex));
        }
        if (ids != NULL)
            json_object_set_new(object, "victims", ids);
        cli_print_json(cli, object);
        return;
    }
    for (size_t i = 0; options->victims != NULL && i < listed; i++) {
        char hex[INGOT_ID_HEX + 1];
        ingot_id_format(&options->victims[i], hex);
        cli_print(cli, "%s\n", hex);
    }
    if (options->victims == NULL && !cli->quiet)
        print_report(cli, report, dry_run);
}

/* Room for every object there is: what is swept is among them. */
static int make_room(struct cli *cli, ingot_gc_options *options) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_stats stats = INGOT_STATS_INIT;
    if (ingot_store_stats(cli->store, &stats, &err) < 0)
        return cli_failed(cli, NULL, &err);
    uint64_t room = stats.objects + 1;
    if (room > VICTIMS_MAX)
        return cli_error(cli, CLI_FAILED, "--list: more than %llu objects; use --max-objects",
                         (unsigned long long)VICTIMS_MAX);
    options->victims = calloc((size_t)room, sizeof *options->victims);
    options->victims_max = (size_t)room;
    if (options->victims == NULL)
        return cli_error(cli, CLI_FAILED, "out of memory");
    return CLI_CONTINUE;
}

static int collect(struct cli *cli, ingot_gc_options *options) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_gc_report report = {0};
    ingot_op op = cli_op();
    ingot_status status = ingot_store_gc(cli->store, options, &op, &report, &err);
    if (status >= 0 || status == INGOT_CANCELLED)
        print_all(cli, options, &report);
    if (options->victims != NULL && report.swept > options->victims_max)
        cli_note(cli, "%llu ids of %llu are named", (unsigned long long)options->victims_max,
                 (unsigned long long)report.swept);
    if (status < 0)
        return status == INGOT_CANCELLED ? cli_exit_of(status) : cli_failed(cli, NULL, &err);
    if (report.segments_unreadable > 0)
        return cli_error(cli, CLI_CORRUPT, "%llu damaged segments; 'ingot check' names the damage",
                         (unsigned long long)report.segments_unreadable);
    return CLI_DONE;
}

/* On the command line 0 means none; in the library it means the default, and -1 none. */
static int64_t period(int64_t asked) { return asked < 0 ? 0 : asked == 0 ? -1 : asked; }

int cmd_gc(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    bool dry_run = false;
    bool no_clean = false;
    bool list = false;
    int64_t grace = -1;
    int64_t limbo = -1;
    const char *const *args;
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    const struct cli_option own[] = {
        {CLI_FLAG, 'n', "dry-run", NULL, "change nothing, say what would be done", &dry_run, 0, 0},
        {CLI_FLAG, 'l', "list", NULL, "print the ids that are swept instead of a report", &list, 0,
         0},
        {CLI_DURATION, 0, "grace", "DUR", "keep objects without references this long (10m)", &grace,
         0, 0},
        {CLI_DURATION, 0, "limbo", "DUR", "keep swept bytes recoverable this long (1h)", &limbo, 0,
         0},
        {CLI_COUNT, 0, "max-objects", "N", "examine N objects; the next run goes on from there",
         &options.max_objects, 1, 0},
        {CLI_FLAG, 0, "no-clean", NULL, "sweep only, leave log segments as they are", &no_clean, 0,
         0},
        {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    options.grace_ms = period(grace);
    options.limbo_ms = period(limbo);
    options.flags = (dry_run ? INGOT_GC_DRY_RUN : 0) | (no_clean ? INGOT_GC_NO_CLEAN : 0);
    /* A dry run too: what it foresees depends on nobody else writing. */
    result = cli_open_store(cli, 0);
    if (result == CLI_CONTINUE && list)
        result = make_room(cli, &options);
    if (result == CLI_CONTINUE)
        result = collect(cli, &options);
    free(options.victims);
    return result;
}
