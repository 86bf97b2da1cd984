#include "cli.h"

#include <stdlib.h>

#define DAMAGED_MAX ((size_t)1 << 16) /* ids named at most */

#define CHECK_FIELDS(X)                                                                            \
    X(segments, "log segments")                                                                    \
    X(groups, "commit groups")                                                                     \
    X(records, "records")                                                                          \
    X(objects, "objects in the index")                                                             \
    X(objects_read, "objects read")                                                                \
    X(bytes_read, "bytes read")                                                                    \
    X(damaged_objects, "damaged objects")                                                          \
    X(damaged_segments, "damaged segments")                                                        \
    X(index_mismatches, "mismatches of log and index")                                             \
    X(orphan_files, "orphan files, harmless")

static void print_json(struct cli *cli, const ingot_check_report *report, const ingot_id *damaged,
                       size_t named, bool clean) {
    json_t *object = cli_json("check");
    json_t *ids = json_array();
    json_object_set_new(object, "clean", json_boolean(clean));
#define FIELD(name, text) cli_json_number(object, #name, report->name);
    CHECK_FIELDS(FIELD)
#undef FIELD
    for (size_t i = 0; i < named; i++) {
        char hex[INGOT_ID_HEX + 1];
        ingot_id_format(&damaged[i], hex);
        json_array_append_new(ids, json_string(hex));
    }
    json_object_set_new(object, "damaged", ids);
    cli_print_json(cli, object);
}

static void print_text(struct cli *cli, const ingot_check_report *report, const ingot_id *damaged,
                       size_t named, bool clean) {
    if (!cli->quiet) {
#define FIELD(name, text) cli_print(cli, "%14llu  %s\n", (unsigned long long)report->name, text);
        CHECK_FIELDS(FIELD)
#undef FIELD
        cli_print(cli, "%s\n", clean ? "clean" : "DAMAGED");
    }
    for (size_t i = 0; i < named; i++) {
        char hex[INGOT_ID_HEX + 1];
        ingot_id_format(&damaged[i], hex);
        cli_print(cli, "damaged %s\n", hex);
    }
}

static int check(struct cli *cli, ingot_check_options *options) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_check_report report = {0};
    ingot_op op = cli_op();
    ingot_status status = ingot_store_check(cli->store, options, &op, &report, &err);
    if (status < 0 && status != INGOT_CORRUPT)
        return cli_failed(cli, NULL, &err);
    size_t named = report.damaged_objects < options->damaged_max ? (size_t)report.damaged_objects
                                                                 : options->damaged_max;
    if (cli->json)
        print_json(cli, &report, options->damaged, named, status >= 0);
    else
        print_text(cli, &report, options->damaged, named, status >= 0);
    if (status >= 0)
        return CLI_DONE;
    return cli_error(cli, CLI_CORRUPT, "%s",
                     err.message[0] != '\0' ? err.message : ingot_status_text(status));
}

int cmd_check(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *const *args;
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    const struct cli_option own[] = {{CLI_PERCENT, 0, "read-data", "N%",
                                      "read and hash the objects too, or a share of them",
                                      &options.data_percent, 0, 0},
                                     {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    options.flags = options.data_percent != 0 ? INGOT_CHECK_READ_DATA : 0;
    options.damaged = calloc(DAMAGED_MAX, sizeof *options.damaged);
    options.damaged_max = DAMAGED_MAX;
    if (options.damaged == NULL)
        return cli_error(cli, CLI_FAILED, "out of memory");
    result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    if (result == CLI_CONTINUE)
        result = check(cli, &options);
    free(options.damaged);
    return result;
}
