/* Requests on standard input, one a line; one line of answer each, in the same order. */
#include "files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 8192
#define STREAM_BUFFER ((size_t)4 << 20)
#define ANSWER_MAX 256

struct batch_run {
    struct cli *cli;
    uint8_t *buffer; /* STREAM_BUFFER bytes */
    uint64_t requests;
    uint64_t failed;
    char answer[ANSWER_MAX]; /* what follows "ok " */
    json_t *fields;          /* with --json instead; owned */
};

struct request {
    const char *name;
    bool has_id;
    bool has_path;
    ingot_status (*run)(struct batch_run *run, const ingot_id *id, const char *path,
                        ingot_error *err);
};

static void answer_number(struct batch_run *run, const char *key, int64_t value) {
    snprintf(run->answer, sizeof run->answer, " %lld", (long long)value);
    json_object_set_new(run->fields, key, json_integer((json_int_t)value));
}

static ingot_status put_opened(struct batch_run *run, struct source *source, ingot_id *ret_id,
                               uint64_t *ret_size, ingot_error *err) {
    size_t len;
    bool source_failed;
    ingot_status status = source_read(source, run->buffer, SOURCE_BUFFER_MIN, &len, err);
    if (status < 0)
        return status;
    if (len == SOURCE_BUFFER_MIN)
        return source_stream(run->cli, source, run->buffer, STREAM_BUFFER, len, ret_id, ret_size,
                             &source_failed, err);
    status = source_verify(source, err);
    if (status < 0)
        return status;
    ingot_op op = cli_op();
    *ret_size = len;
    return ingot_store_put(run->cli->store, run->buffer, len, &op, ret_id, err);
}

static ingot_status run_put(struct batch_run *run, const ingot_id *unused, const char *path,
                            ingot_error *err) {
    (void)unused;
    struct source source;
    ingot_id id;
    uint64_t size = 0;
    ingot_status status = source_open(path, false, &source, err);
    if (status < 0)
        return status;
    status = put_opened(run, &source, &id, &size, err);
    source_close(&source, false);
    if (status < 0)
        return status;
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&id, hex);
    snprintf(run->answer, sizeof run->answer, " %s", hex);
    json_object_set_new(run->fields, "id", json_string(hex));
    cli_json_number(run->fields, "size", size);
    return INGOT_OK;
}

static ingot_status run_get(struct batch_run *run, const ingot_id *id, const char *path,
                            ingot_error *err) {
    const struct range range = RANGE_ALL;
    uint64_t bytes = 0;
    ingot_status status = target_write_file(run->cli, id, &range, path, &bytes, err);
    if (status >= 0)
        answer_number(run, "bytes", (int64_t)bytes);
    return status;
}

static ingot_status run_has(struct batch_run *run, const ingot_id *id, const char *path,
                            ingot_error *err) {
    (void)path;
    ingot_status status = ingot_store_has(run->cli->store, id, err);
    if (status < 0 && status != INGOT_NOT_FOUND)
        return status;
    snprintf(run->answer, sizeof run->answer, " %s", status >= 0 ? "yes" : "no");
    json_object_set_new(run->fields, "present", json_boolean(status >= 0));
    return INGOT_OK;
}

static ingot_status run_ref(struct batch_run *run, const ingot_id *id, const char *path,
                            ingot_error *err) {
    (void)path;
    ingot_op op = cli_op();
    int64_t refs = 0;
    ingot_status status = ingot_store_ref(run->cli->store, id, &op, &refs, err);
    if (status >= 0)
        answer_number(run, "refs", refs);
    return status;
}

static ingot_status run_unref(struct batch_run *run, const ingot_id *id, const char *path,
                              ingot_error *err) {
    (void)path;
    ingot_op op = cli_op();
    int64_t refs = 0;
    ingot_status status = ingot_store_unref(run->cli->store, id, &op, &refs, err);
    if (status >= 0)
        answer_number(run, "refs", refs);
    return status;
}

static ingot_status run_stat(struct batch_run *run, const ingot_id *id, const char *path,
                             ingot_error *err) {
    (void)path;
    ingot_stat stat;
    ingot_status status = ingot_store_stat(run->cli->store, id, &stat, err);
    if (status < 0)
        return status;
    snprintf(run->answer, sizeof run->answer, " size=%llu stored-size=%llu refs=%lld place=%s",
             (unsigned long long)stat.size, (unsigned long long)stat.stored_size,
             (long long)stat.refs, stat.place == INGOT_PLACE_FILE ? "file" : "log");
    cli_json_number(run->fields, "size", stat.size);
    cli_json_number(run->fields, "stored_size", stat.stored_size);
    json_object_set_new(run->fields, "refs", json_integer((json_int_t)stat.refs));
    json_object_set_new(run->fields, "place",
                        json_string(stat.place == INGOT_PLACE_FILE ? "file" : "log"));
    return INGOT_OK;
}

static ingot_status run_delete(struct batch_run *run, const ingot_id *id, const char *path,
                               ingot_error *err) {
    (void)path;
    ingot_op op = cli_op();
    return ingot_store_delete(run->cli->store, id, &op, err);
}

static const struct request requests[] = {
    {"put", false, true, run_put},       {"get", true, true, run_get},
    {"has", true, false, run_has},       {"ref", true, false, run_ref},
    {"unref", true, false, run_unref},   {"stat", true, false, run_stat},
    {"delete", true, false, run_delete},
};

/* Cuts the next word off; what follows it, after one blank, stays in *line. */
static char *next_word(char **line) {
    char *word = *line;
    size_t len = strcspn(word, " \t");
    *line = word + len;
    if (**line != '\0')
        *(*line)++ = '\0';
    return word;
}

static ingot_status run_line(struct batch_run *run, char *line, ingot_error *err) {
    const char *name = next_word(&line);
    const struct request *request = NULL;
    for (size_t i = 0; request == NULL && i < sizeof requests / sizeof requests[0]; i++)
        if (strcmp(requests[i].name, name) == 0)
            request = &requests[i];
    if (request == NULL)
        return cli_fail(err, INGOT_USAGE, "'%.40s' is not a request", name);
    ingot_id id = {{0}};
    if (request->has_id) {
        const char *text = next_word(&line);
        ingot_status status = cli_find_id(run->cli, text, &id, err);
        /* An id that begins no object is as absent as a whole one. */
        if (status == INGOT_NOT_FOUND && request->run == run_has) {
            snprintf(run->answer, sizeof run->answer, " no");
            json_object_set_new(run->fields, "present", json_false());
            return INGOT_OK;
        }
        if (status < 0)
            return status;
    }
    if (request->has_path && line[0] == '\0')
        return cli_fail(err, INGOT_USAGE, "'%s' needs a file name", request->name);
    if (!request->has_path && line[0] != '\0')
        return cli_fail(err, INGOT_USAGE, "'%s' takes an id and nothing else", request->name);
    if (request->has_path && strcmp(line, "-") == 0)
        return cli_fail(err, INGOT_USAGE, "'-' cannot be used here; './-' is a file of that name");
    return request->run(run, &id, line, err);
}

static void answer(struct batch_run *run, uint64_t line_number, ingot_status status,
                   const ingot_error *err) {
    struct cli *cli = run->cli;
    run->requests++;
    run->failed += status < 0 ? 1 : 0;
    if (cli->json) {
        json_object_set_new(run->fields, "line", json_integer((json_int_t)line_number));
        json_object_set_new(run->fields, "status", json_string(ingot_status_name(status)));
        if (status < 0)
            cli_json_name(run->fields, "message", err->message);
        cli_print_json(cli, run->fields);
        run->fields = NULL;
        return;
    }
    if (status >= 0) {
        cli_print(cli, "ok%s\n", run->answer);
        return;
    }
    /* One line each, whatever is in a name. */
    char text[INGOT_ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s",
             err->message[0] != '\0' ? err->message : ingot_status_text(status));
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    cli_print(cli, "error %s line %llu: %s\n", ingot_status_name(status),
              (unsigned long long)line_number, text);
}

static void handle(struct batch_run *run, enum record record, uint64_t number, char *line) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status status;
    if (record == RECORD_OK && (line[0] == '\0' || line[0] == '#'))
        return;
    run->answer[0] = '\0';
    run->fields = run->cli->json ? cli_json("result") : NULL;
    if (record == RECORD_TOO_LONG)
        status = cli_fail(&err, INGOT_USAGE, "longer than %d bytes", LINE_BYTES_MAX - 1);
    else if (record == RECORD_HAS_NUL)
        status = cli_fail(&err, INGOT_USAGE, "contains a NUL byte");
    else
        status = run_line(run, line, &err);
    answer(run, number, status, &err);
}

static int serve(struct batch_run *run) {
    static struct records records;
    static char line[LINE_BYTES_MAX];
    records = (struct records){.cli = run->cli, .fd = 0, .delimiter = '\n'};
    while (!cli_stopping()) {
        enum record record = records_next(&records, line, sizeof line);
        if (record == RECORD_END)
            break;
        if (record == RECORD_FAILED) {
            if (errno == EINTR)
                break;
            return cli_error(run->cli, CLI_FAILED, "standard input: %s", strerror(errno));
        }
        handle(run, record, records.number, line);
    }
    if (run->cli->json) {
        json_t *summary = cli_json("summary");
        cli_json_number(summary, "requests", run->requests);
        cli_json_number(summary, "failed", run->failed);
        cli_print_json(run->cli, summary);
    }
    if (run->failed > 0)
        cli_note(run->cli, "%llu of %llu requests failed", (unsigned long long)run->failed,
                 (unsigned long long)run->requests);
    return run->failed > 0 || cli_stopping() ? CLI_FAILED : CLI_DONE;
}

int cmd_batch(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *const *args;
    int result = cli_parse(cli, self, NULL, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'; requests are read from standard input",
                         args[0]);
    struct batch_run run = {.cli = cli, .buffer = malloc(STREAM_BUFFER)};
    if (run.buffer == NULL)
        return cli_error(cli, CLI_FAILED, "out of memory");
    result = cli_open_store(cli, 0);
    if (result == CLI_CONTINUE)
        result = serve(&run);
    free(run.buffer);
    return result;
}
