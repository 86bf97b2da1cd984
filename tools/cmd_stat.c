#include "cli.h"

static void print_text(struct cli *cli, const ingot_id *id, const ingot_stat *stat) {
    char hex[INGOT_ID_HEX + 1];
    char when[CLI_TIME_TEXT];
    ingot_id_format(id, hex);
    cli_print(cli, "id:          %s\n", hex);
    cli_print(cli, "size:        %llu\n", (unsigned long long)stat->size);
    cli_print(cli, "stored-size: %llu\n", (unsigned long long)stat->stored_size);
    cli_print(cli, "references:  %lld\n", (long long)stat->refs);
    cli_print(cli, "stored:      %s\n", cli_time_text(stat->stored_ms, when));
    if (stat->place == INGOT_PLACE_FILE)
        cli_print(cli, "place:       file of its own\n");
    else
        cli_print(cli, "place:       log segment %u at %llu\n", stat->segment,
                  (unsigned long long)stat->offset);
}

static void print_line(struct cli *cli, const ingot_id *id, const ingot_stat *stat) {
    json_t *line = cli_json("stat");
    cli_json_id(line, "id", id);
    cli_json_number(line, "size", stat->size);
    cli_json_number(line, "stored_size", stat->stored_size);
    json_object_set_new(line, "refs", json_integer((json_int_t)stat->refs));
    json_object_set_new(line, "stored_ms", json_integer((json_int_t)stat->stored_ms));
    json_object_set_new(line, "place",
                        json_string(stat->place == INGOT_PLACE_FILE ? "file" : "log"));
    if (stat->place != INGOT_PLACE_FILE) {
        cli_json_number(line, "segment", stat->segment);
        cli_json_number(line, "offset", stat->offset);
    }
    cli_print_json(cli, line);
}

static int stat_one(struct cli *cli, const char *text, bool first) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_id id;
    ingot_stat stat;
    ingot_status status = cli_find_id(cli, text, &id, &err);
    if (status >= 0)
        status = ingot_store_stat(cli->store, &id, &stat, &err);
    if (status < 0)
        return cli_failed(cli, text, &err);
    if (cli->json) {
        print_line(cli, &id, &stat);
    } else {
        if (!first)
            cli_print(cli, "\n");
        print_text(cli, &id, &stat);
    }
    return CLI_DONE;
}

int cmd_stat(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *const *args;
    int result = cli_parse(cli, self, NULL, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = cli_check_ids(cli, args);
    if (result == CLI_CONTINUE)
        result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    if (result != CLI_CONTINUE)
        return result;
    result = CLI_DONE;
    for (size_t i = 0; args[i] != NULL && !cli_stopping(); i++)
        result = cli_worse(result, stat_one(cli, args[i], i == 0));
    return cli_stopping() ? cli_worse(result, CLI_FAILED) : result;
}
