#include "cli.h"

static void report(struct cli *cli, const char *text, bool there) {
    if (!cli->json) {
        cli_print(cli, "%s %s\n", text, there ? "yes" : "no");
        return;
    }
    json_t *line = cli_json("has");
    json_object_set_new(line, "id", json_string(text));
    json_object_set_new(line, "present", json_boolean(there));
    cli_print_json(cli, line);
}

static int has_one(struct cli *cli, const char *text) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_id id;
    ingot_status status = cli_find_id(cli, text, &id, &err);
    if (status >= 0)
        status = ingot_store_has(cli->store, &id, &err);
    if (status < 0 && status != INGOT_NOT_FOUND)
        return cli_failed(cli, text, &err);
    char hex[INGOT_ID_HEX + 1];
    if (status >= 0)
        ingot_id_format(&id, hex);
    report(cli, status >= 0 ? hex : text, status >= 0);
    return status >= 0 ? CLI_DONE : CLI_NOT_FOUND;
}

int cmd_has(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *const *args;
    int result = cli_parse(cli, self, NULL, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = cli_check_ids(cli, args);
    if (result == CLI_CONTINUE)
        result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    if (result != CLI_CONTINUE)
        return result;
    result = CLI_DONE;
    for (; *args != NULL && !cli_stopping(); args++)
        result = cli_worse(result, has_one(cli, *args));
    return cli_stopping() ? cli_worse(result, CLI_FAILED) : result;
}
