#include "files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct get_options {
    const char *output;
    const char *dir;
    bool force;
    struct range range;
};

static void report(struct cli *cli, const ingot_id *id, const char *path, uint64_t bytes) {
    if (!cli->json)
        return;
    json_t *line = cli_json("object");
    cli_json_id(line, "id", id);
    cli_json_name(line, "file", path);
    cli_json_number(line, "bytes", bytes);
    cli_print_json(cli, line);
}

static int get_one(struct cli *cli, const struct get_options *options, const char *text) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_id id;
    ingot_status status = cli_find_id(cli, text, &id, &err);
    if (status < 0)
        return cli_failed(cli, text, &err);
    if (options->output == NULL && options->dir == NULL) {
        status = target_write_stdout(cli, &id, &options->range, options->force, &err);
        if (cli_output_failed(cli))
            return CLI_FAILED;
        return status < 0 ? cli_failed(cli, text, &err) : CLI_DONE;
    }
    char path[CLI_NAME_MAX];
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&id, hex);
    int n = options->dir != NULL ? snprintf(path, sizeof path, "%s/%s", options->dir, hex)
                                 : snprintf(path, sizeof path, "%s", options->output);
    if (n < 0 || (size_t)n >= sizeof path)
        return cli_error(cli, CLI_FAILED, "name too long");
    uint64_t bytes = 0;
    status = target_write_file(cli, &id, &options->range, path, &bytes, &err);
    if (status < 0)
        return cli_failed(cli, path, &err);
    report(cli, &id, path, bytes);
    return CLI_DONE;
}

static int check(struct cli *cli, struct get_options *options, const char *const *args) {
    size_t count = cli_count(args);
    if (options->output != NULL && strcmp(options->output, "-") == 0)
        options->output = NULL;
    if (options->output != NULL && options->dir != NULL)
        return cli_usage(cli, "-o and -d exclude each other");
    if (count > 1 && options->dir == NULL)
        return cli_usage(cli, "several ids need -d DIR");
    if (cli->json && options->output == NULL && options->dir == NULL)
        return cli_usage(cli, "--json needs -o or -d: the bytes go to standard output");
    return CLI_CONTINUE;
}

static int get_all(struct cli *cli, const struct get_options *options, const char *const *args) {
    struct cli_progress progress;
    size_t count = cli_count(args);
    int result = CLI_DONE;
    if (options->dir != NULL && mkdir(options->dir, 0777) != 0 && errno != EEXIST)
        return cli_error(cli, CLI_FAILED, "%s: %s", options->dir, strerror(errno));
    cli_progress_start(cli, &progress);
    progress.shown = progress.shown && options->dir != NULL;
    for (size_t i = 0; i < count && !cli_stopping(); i++) {
        result = cli_worse(result, get_one(cli, options, args[i]));
        cli_progress_update(cli, &progress, i + 1, target_bytes_written());
    }
    cli_progress_end(cli, &progress, count, target_bytes_written());
    return cli_stopping() ? cli_worse(result, CLI_FAILED) : result;
}

int cmd_get(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    struct get_options options = {.range = RANGE_ALL};
    const char *const *args;
    const struct cli_option own[] = {
        {CLI_STRING, 'o', "output", "FILE", "write to FILE, which appears when it is complete",
         &options.output, 0, 0},
        {CLI_STRING, 'd', "directory", "DIR", "write files named by id into DIR", &options.dir, 0,
         0},
        {CLI_SIZE, 0, "offset", "SIZE", "start here", &options.range.offset, 0, 0},
        {CLI_SIZE, 0, "length", "SIZE", "write this much", &options.range.len, 0, 0},
        {CLI_FLAG, 'f', "force", NULL, "write binary data to a terminal too", &options.force, 0, 0},
        {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = cli_check_ids(cli, args);
    if (result == CLI_CONTINUE)
        result = check(cli, &options, args);
    if (result == CLI_CONTINUE)
        result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    return result != CLI_CONTINUE ? result : get_all(cli, &options, args);
}
