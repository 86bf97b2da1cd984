#include "cli.h"

static void print(struct cli *cli, const ingot_rebuild_report *report) {
    if (cli->json) {
        json_t *object = cli_json("repair");
        cli_json_number(object, "segments", report->segments);
        cli_json_number(object, "records", report->records);
        cli_json_number(object, "objects", report->objects);
        cli_json_number(object, "references", report->references);
        cli_json_number(object, "damaged_records", report->damaged_records);
        cli_print_json(cli, object);
    } else if (!cli->quiet) {
        cli_print(cli,
                  "index made from %llu records in %llu segments: %llu objects, %llu references\n",
                  (unsigned long long)report->records, (unsigned long long)report->segments,
                  (unsigned long long)report->objects, (unsigned long long)report->references);
    }
}

static int rebuild(struct cli *cli) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_rebuild_report report = {0};
    ingot_op op = cli_op();
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    options.key = cli->has_key ? cli->key : NULL;
    options.lock_wait_ms = cli->lock_wait_ms;
    ingot_status status = ingot_store_rebuild_index(cli->store_path, &options, &op, &report, &err);
    if (status < 0)
        return cli_failed(cli, cli->store_path, &err);
    print(cli, &report);
    if (report.damaged_records > 0)
        return cli_error(cli, CLI_CORRUPT, "%llu damaged records were left out",
                         (unsigned long long)report.damaged_records);
    return CLI_DONE;
}

int cmd_repair(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    bool rebuild_index = false;
    const char *const *args;
    const struct cli_option own[] = {{CLI_FLAG, 0, "rebuild-index", NULL,
                                      "make the index again from log and object files",
                                      &rebuild_index, 0, 0},
                                     {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    if (!rebuild_index)
        return cli_usage(cli, "nothing to do: give --rebuild-index");
    if (cli_store_path(cli) == NULL)
        return CLI_USAGE;
    result = cli_load_key(cli);
    return result != CLI_CONTINUE ? result : rebuild(cli);
}
