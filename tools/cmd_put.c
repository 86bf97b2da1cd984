#include "put.h"

#include <string.h>
#include <unistd.h>

#define JOBS_MAX 256

struct put_run {
    struct cli *cli;
    struct put_pool *pool;
    struct cli_progress progress;
    uint64_t files;
    uint64_t bytes;
    uint64_t bad_sources;
    uint64_t not_tried;
    int exit_code;
};

static void report_stored(struct put_run *run, const struct put_job *job) {
    run->files++;
    run->bytes += job->size;
    if (!run->cli->json) {
        cli_progress_clear();
        cli_print_sum(run->cli, &job->id, job->name);
        return;
    }
    json_t *line = cli_json("object");
    cli_json_id(line, "id", &job->id);
    cli_json_name(line, "name", job->name);
    cli_json_number(line, "size", job->size);
    cli_print_json(run->cli, line);
}

static void report(void *context, const struct put_job *job) {
    struct put_run *run = context;
    if (job == NULL) {
        cli_progress_update(run->cli, &run->progress, run->files, source_bytes_read());
        return;
    }
    switch (job->state) {
    case PUT_STORED:
        report_stored(run, job);
        break;
    case PUT_BAD_SOURCE:
        run->bad_sources++;
        cli_failed_as(run->cli, CLI_SOURCES, job->name, &job->err);
        run->exit_code = cli_worse(run->exit_code, CLI_SOURCES);
        break;
    case PUT_FAILED:
        run->exit_code = cli_worse(run->exit_code, cli_failed(run->cli, job->name, &job->err));
        break;
    case PUT_FREE:
    case PUT_QUEUED:
    case PUT_TAKEN:
    case PUT_NOT_TRIED:
    default:
        run->not_tried++;
        break;
    }
    cli_progress_update(run->cli, &run->progress, run->files, source_bytes_read());
}

static bool add(void *context, const char *name, bool is_stdin) {
    struct put_run *run = context;
    return put_pool_add(run->pool, name, is_stdin);
}

static void summarise(struct put_run *run, const struct names *names) {
    struct cli *cli = run->cli;
    ingot_stats stats = INGOT_STATS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    if (ingot_store_stats(cli->store, &stats, &err) < 0)
        run->exit_code = cli_worse(run->exit_code, cli_failed(cli, NULL, &err));
    if (cli->json) {
        json_t *line = cli_json("summary");
        cli_json_number(line, "files", run->files);
        cli_json_number(line, "bytes", run->bytes);
        cli_json_number(line, "new_objects", stats.puts_new);
        cli_json_number(line, "new_bytes", stats.put_new_bytes);
        cli_json_number(line, "unreadable", run->bad_sources + names->failed);
        cli_json_number(line, "skipped", names->skipped);
        cli_json_number(line, "not_tried", run->not_tried);
        cli_json_number(
            line, "exit_code",
            (uint64_t)(cli_stopped() != 0 ? CLI_SIGNAL + cli_stopped() : run->exit_code));
        cli_print_json(cli, line);
    }
    char all[CLI_SIZE_TEXT];
    char fresh[CLI_SIZE_TEXT];
    cli_detail(cli, "%llu files, %s; new: %llu, %s; skipped: %llu", (unsigned long long)run->files,
               cli_size_text(run->bytes, all), (unsigned long long)stats.puts_new,
               cli_size_text(stats.put_new_bytes, fresh), (unsigned long long)names->skipped);
    if (run->bad_sources + names->failed > 0)
        cli_note(cli, "%llu sources could not be stored",
                 (unsigned long long)(run->bad_sources + names->failed));
    if (run->not_tried > 0)
        cli_note(cli, "ended early: %llu more were not stored", (unsigned long long)run->not_tried);
}

static int put_all(struct cli *cli, struct names *names, const char *const *args, const char *list,
                   size_t workers) {
    struct put_run run = {.cli = cli, .exit_code = CLI_DONE};
    run.pool = put_pool_new(cli, workers, report, &run);
    if (run.pool == NULL)
        return cli_error(cli, CLI_FAILED, "cannot start threads");
    cli_progress_start(cli, &run.progress);
    names->cli = cli;
    names->add = add;
    names->context = &run;
    int listed = CLI_CONTINUE;
    if (list != NULL)
        listed = names_of_list(names, list);
    else
        names_of_args(names, args);
    put_pool_drain(run.pool);
    cli_progress_end(cli, &run.progress, run.files, run.bytes);
    if (listed != CLI_CONTINUE)
        run.exit_code = cli_worse(run.exit_code, listed);
    if (names->failed > 0)
        run.exit_code = cli_worse(run.exit_code, CLI_SOURCES);
    if (run.not_tried > 0 || cli_stopped() != 0)
        run.exit_code = cli_worse(run.exit_code, CLI_FAILED);
    summarise(&run, names);
    return run.exit_code;
}

/* Standard input can be read once. */
static int check_args(struct cli *cli, const char *const *args, const char *list) {
    size_t dashes = 0;
    for (const char *const *arg = args; *arg != NULL; arg++)
        dashes += strcmp(*arg, "-") == 0 ? 1 : 0;
    if (list == NULL && args[0] == NULL)
        return cli_usage(cli, "no file given; '-' is standard input");
    if (list != NULL && args[0] != NULL)
        return cli_usage(cli, "--files0-from excludes '%s'", args[0]);
    if (dashes > 1)
        return cli_usage(cli, "'-' is given more than once");
    return CLI_CONTINUE;
}

int cmd_put(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    struct names names = {0};
    const char *list = NULL;
    const char *const *args;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t jobs = cores < 1 ? 1 : cores > JOBS_MAX ? JOBS_MAX : (uint64_t)cores;
    const struct cli_option options[] = {{CLI_FLAG, 'r', "recursive", NULL,
                                          "store the files in directories", &names.recursive, 0, 0},
                                         {CLI_COUNT, 'j', "jobs", "N",
                                          "files read at once (default: processors)", &jobs, 1,
                                          JOBS_MAX},
                                         {CLI_STRING, 0, "files0-from", "LIST",
                                          "read NUL-separated names from LIST or '-'", &list, 0, 0},
                                         {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, options, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = check_args(cli, args, list);
    if (result == CLI_CONTINUE)
        result = cli_open_store(cli, 0);
    if (result != CLI_CONTINUE)
        return result;
    if (stat(cli->store_path, &names.store) != 0)
        names.store = (struct stat){0};
    return put_all(cli, &names, args, list, (size_t)jobs);
}
