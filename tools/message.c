#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* Room for a name of CLI_NAME_MAX bytes and the text of an error object. */
#define LINE_MAX_BYTES (CLI_NAME_MAX + 2 * INGOT_ERROR_TEXT_MAX)

/* Names come from anywhere: an escape sequence in one must not reach the terminal. */
__attribute__((format(printf, 2, 0))) static void print_line(const struct cli *cli,
                                                             const char *format, va_list args) {
    char line[LINE_MAX_BYTES];
    vsnprintf(line, sizeof line, format, args);
    for (char *c = line; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    cli_progress_clear();
    if (cli->command != NULL)
        fprintf(stderr, "ingot: %s: %s\n", cli->command, line);
    else
        fprintf(stderr, "ingot: %s\n", line);
}

int cli_error(const struct cli *cli, int exit_code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    return exit_code;
}

void cli_note(const struct cli *cli, const char *format, ...) {
    if (cli->quiet)
        return;
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
}

void cli_detail(const struct cli *cli, const char *format, ...) {
    if (!cli->verbose)
        return;
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
}

int cli_usage(const struct cli *cli, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    fprintf(stderr, "Try 'ingot %s%s--help'.\n", cli->command != NULL ? cli->command : "",
            cli->command != NULL ? " " : "");
    return CLI_USAGE;
}

int cli_exit_of(ingot_status status) {
    switch (status) {
    case INGOT_OK:
        return CLI_DONE;
    case INGOT_USAGE:
        return CLI_USAGE;
    case INGOT_NOT_FOUND:
        return CLI_NOT_FOUND;
    case INGOT_CORRUPT:
    case INGOT_NO_INDEX:
        return CLI_CORRUPT;
    case INGOT_NO_SPACE:
        return CLI_NO_SPACE;
    case INGOT_NO_STORE:
        return CLI_NO_STORE;
    case INGOT_LOCKED:
        return CLI_LOCKED;
    case INGOT_WRONG_KEY:
        return CLI_WRONG_KEY;
    case INGOT_CHANGED:
        return CLI_SOURCES;
    case INGOT_CANCELLED:
        return cli_stopped() != 0 ? CLI_SIGNAL + cli_stopped() : CLI_FAILED;
    default:
        return CLI_FAILED;
    }
}

int cli_worse(int before, int now) {
    if (now == CLI_CORRUPT || before == CLI_DONE)
        return now;
    if (before == CLI_SOURCES && now != CLI_DONE)
        return now;
    return before;
}

/* The library's text often names the store or the id already. */
static bool names_item(const char *reason, const char *item) {
    size_t len = strlen(item);
    if (len == INGOT_ID_HEX)
        return strstr(reason, item) != NULL;
    return strncmp(reason, item, len) == 0 && (reason[len] == ':' || reason[len] == ' ');
}

int cli_failed_as(struct cli *cli, int exit_code, const char *item, const ingot_error *err) {
    const char *reason = err->message[0] != '\0' ? err->message : ingot_status_text(err->status);
    if (item == NULL || names_item(reason, item))
        cli_error(cli, exit_code, "%s", reason);
    else
        cli_error(cli, exit_code, "%s: %s", item, reason);
    if (cli->json) {
        json_t *line = cli_json("error");
        json_object_set_new(line, "command", json_string(cli->command));
        if (item != NULL)
            cli_json_name(line, "item", item);
        json_object_set_new(line, "status", json_string(ingot_status_name(err->status)));
        cli_json_name(line, "message", reason);
        json_object_set_new(line, "exit_code", json_integer(exit_code));
        cli_print_json(cli, line);
    }
    return exit_code;
}

int cli_failed(struct cli *cli, const char *item, const ingot_error *err) {
    return cli_failed_as(cli, cli_exit_of(err->status), item, err);
}

static ingot_status status_of_errno(int errnum) {
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return INGOT_NO_SPACE;
    case ENOMEM:
        return INGOT_NO_MEMORY;
    case EACCES:
    case EPERM:
        return INGOT_DENIED;
    default:
        return INGOT_IO;
    }
}

ingot_status cli_fail(ingot_error *err, ingot_status status, const char *format, ...) {
    err->status = status;
    err->sys_errno = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return status;
}

ingot_status cli_fail_errno(ingot_error *err, int errnum, const char *format, ...) {
    err->status = status_of_errno(errnum);
    err->sys_errno = errnum;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    /* A long name is cut rather than the reason. */
    const char *reason = strerror(errnum);
    size_t room = sizeof err->message - strlen(reason) - 3;
    size_t at = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room;
    snprintf(err->message + at, sizeof err->message - at, "%s%s", at > 0 ? ": " : "", reason);
    return err->status;
}
