#include "cli.h"

#include <ctype.h>
#include <string.h>

static void print_object(struct cli *cli, const char *hex, const ingot_stat *stat, bool details) {
    if (cli->json) {
        json_t *line = cli_json("object");
        json_object_set_new(line, "id", json_string(hex));
        cli_json_number(line, "size", stat->size);
        cli_json_number(line, "stored_size", stat->stored_size);
        json_object_set_new(line, "refs", json_integer((json_int_t)stat->refs));
        json_object_set_new(line, "stored_ms", json_integer((json_int_t)stat->stored_ms));
        json_object_set_new(line, "place",
                            json_string(stat->place == INGOT_PLACE_FILE ? "file" : "log"));
        cli_print_json(cli, line);
        return;
    }
    char when[CLI_TIME_TEXT];
    if (details)
        cli_print(cli, "%s %6lld %14llu %s %s\n", hex, (long long)stat->refs,
                  (unsigned long long)stat->size, stat->place == INGOT_PLACE_FILE ? "file" : "log ",
                  cli_time_text(stat->stored_ms, when));
    else
        cli_print(cli, "%s\n", hex);
}

static int list(struct cli *cli, const char *prefix, bool details) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_iter *iter;
    if (ingot_iter_open(cli->store, &iter, &err) < 0)
        return cli_failed(cli, NULL, &err);
    size_t len = strlen(prefix);
    int result = CLI_DONE;
    while (!cli_stopping()) {
        ingot_id id;
        ingot_stat stat;
        char hex[INGOT_ID_HEX + 1];
        ingot_status status = ingot_iter_next(iter, &id, &stat, &err);
        if (status == INGOT_NOT_FOUND)
            break;
        if (status < 0) {
            result = cli_failed(cli, NULL, &err);
            break;
        }
        ingot_id_format(&id, hex);
        int order = strncmp(hex, prefix, len);
        if (order > 0)
            break;
        if (order == 0)
            print_object(cli, hex, &stat, details);
    }
    ingot_iter_close(iter);
    return cli_stopping() ? cli_worse(result, CLI_FAILED) : result;
}

int cmd_ls(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *asked = "";
    bool details = false;
    const char *const *args;
    const struct cli_option own[] = {
        {CLI_STRING, 0, "prefix", "HEX", "only ids that start with these digits", &asked, 0, 0},
        {CLI_FLAG, 'l', "long", NULL, "references, size, place and time too", &details, 0, 0},
        {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    char prefix[INGOT_ID_HEX + 1] = "";
    size_t len = strlen(asked);
    if (len > INGOT_ID_HEX || strspn(asked, "0123456789abcdefABCDEF") != len)
        return cli_usage(cli, "--prefix: '%s' is not 1 to %d hex digits", asked, INGOT_ID_HEX);
    for (size_t i = 0; i < len; i++)
        prefix[i] = (char)tolower((unsigned char)asked[i]);
    result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    return result != CLI_CONTINUE ? result : list(cli, prefix, details);
}
