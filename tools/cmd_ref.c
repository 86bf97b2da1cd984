/* ref and unref: one changes a count up, the other down. */
#include "cli.h"

static void report(struct cli *cli, const ingot_id *id, int64_t refs) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    if (!cli->json) {
        cli_print(cli, "%s %lld\n", hex, (long long)refs);
        return;
    }
    json_t *line = cli_json("reference");
    json_object_set_new(line, "id", json_string(hex));
    json_object_set_new(line, "refs", json_integer((json_int_t)refs));
    cli_print_json(cli, line);
}

static int change_one(struct cli *cli, const char *text, bool up) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = cli_op();
    ingot_id id;
    int64_t refs = 0;
    ingot_status status = cli_find_id(cli, text, &id, &err);
    if (status >= 0)
        status = up ? ingot_store_ref(cli->store, &id, &op, &refs, &err)
                    : ingot_store_unref(cli->store, &id, &op, &refs, &err);
    if (status < 0)
        return cli_failed(cli, text, &err);
    report(cli, &id, refs);
    return CLI_DONE;
}

static int change(struct cli *cli, const struct cli_command *self, int argc,
                  const char *const *argv, bool up) {
    const char *const *args;
    int result = cli_parse(cli, self, NULL, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = cli_check_ids(cli, args);
    if (result == CLI_CONTINUE)
        result = cli_open_store(cli, 0);
    if (result != CLI_CONTINUE)
        return result;
    result = CLI_DONE;
    for (; *args != NULL && !cli_stopping(); args++)
        result = cli_worse(result, change_one(cli, *args, up));
    return cli_stopping() ? cli_worse(result, CLI_FAILED) : result;
}

int cmd_ref(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    return change(cli, self, argc, argv, true);
}

int cmd_unref(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    return change(cli, self, argc, argv, false);
}
