#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEY_HEX (2 * INGOT_KEY_BYTES)
#define LOCK_RETRY_MS 20

ingot_op cli_op(void) {
    ingot_op op = INGOT_OP_INIT;
    op.cancel = cli_cancel();
    return op;
}

const char *cli_store_path(struct cli *cli) {
    if (cli->store_path == NULL)
        cli->store_path = getenv("INGOT_STORE");
    if (cli->store_path == NULL || cli->store_path[0] == '\0') {
        cli_usage(cli, "no store given: use -C STORE or set INGOT_STORE");
        return NULL;
    }
    return cli->store_path;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool key_of_hex(const uint8_t *text, uint8_t key[INGOT_KEY_BYTES]) {
    for (size_t i = 0; i < INGOT_KEY_BYTES; i++) {
        int high = hex_value((char)text[2 * i]);
        int low = hex_value((char)text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int cli_load_key(struct cli *cli) {
    if (cli->has_key)
        return CLI_CONTINUE;
    const char *path = cli->key_path != NULL ? cli->key_path : getenv("INGOT_KEY_FILE");
    if (path == NULL || path[0] == '\0')
        return CLI_CONTINUE;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cli_error(cli, CLI_FAILED, "key file %s: %s", path, strerror(errno));
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 077) != 0)
        cli_note(cli, "key file %s: other users may use it (mode %04o)", path,
                 (unsigned)info.st_mode & 07777U);
    uint8_t text[KEY_HEX + 2];
    size_t len = 0;
    ssize_t n = 1;
    while (n > 0 && len < sizeof text) {
        n = read(fd, text + len, sizeof text - len);
        len += n > 0 ? (size_t)n : 0;
    }
    int failed = n < 0 ? errno : 0;
    close(fd);
    if (failed != 0)
        return cli_error(cli, CLI_FAILED, "key file %s: %s", path, strerror(failed));
    if (len == INGOT_KEY_BYTES) {
        memcpy(cli->key, text, INGOT_KEY_BYTES);
        cli->has_key = true;
    } else if (len == KEY_HEX || (len == KEY_HEX + 1 && text[KEY_HEX] == '\n')) {
        cli->has_key = key_of_hex(text, cli->key);
    }
    explicit_bzero(text, sizeof text);
    if (!cli->has_key)
        return cli_error(cli, CLI_WRONG_KEY, "key file %s: neither %d bytes nor %d hex digits",
                         path, INGOT_KEY_BYTES, KEY_HEX);
    return CLI_CONTINUE;
}

/* The wait for another process is here, not in the library, so that a signal ends it. */
static ingot_status open_waiting(struct cli *cli, const char *path,
                                 const ingot_open_options *options, ingot_error *err) {
    int64_t start = cli_now_ms();
    for (;;) {
        /* The library's threads inherit the block: signals come to this one. */
        cli_signals_block(true);
        ingot_status status = ingot_store_open(path, options, &cli->store, err);
        cli_signals_block(false);
        if (status != INGOT_LOCKED || cli_now_ms() - start >= cli->lock_wait_ms)
            return status;
        if (cli_stopped() != 0)
            return cli_fail(err, INGOT_CANCELLED, "%s: stopped while waiting for the lock", path);
        struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
}

ingot_status cli_try_open(struct cli *cli, uint32_t open_flags, ingot_error *err) {
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    options.flags = open_flags;
    options.key = cli->has_key ? cli->key : NULL;
    ingot_status status = open_waiting(cli, cli->store_path, &options, err);
    if (status < 0)
        return status;
    ingot_store_info info;
    ingot_store_describe(cli->store, &info);
    cli->digest = info.digest;
    return INGOT_OK;
}

int cli_open_store(struct cli *cli, uint32_t open_flags) {
    const char *path = cli_store_path(cli);
    if (path == NULL)
        return CLI_USAGE;
    int result = cli_load_key(cli);
    if (result != CLI_CONTINUE)
        return result;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status status = cli_try_open(cli, open_flags, &err);
    if (status < 0) {
        result = cli_failed(cli, path, &err);
        if (status == INGOT_NO_STORE)
            cli_detail(cli, "'ingot init' makes a store");
        if (status == INGOT_NO_INDEX)
            cli_note(cli, "'ingot repair --rebuild-index' makes it again");
        return result;
    }
    return CLI_CONTINUE;
}

int cli_finish(struct cli *cli, int exit_code) {
    if (cli->store != NULL) {
        ingot_error err = INGOT_ERROR_INIT;
        if (ingot_store_close(cli->store, &err) < 0)
            exit_code = cli_worse(exit_code, cli_failed(cli, NULL, &err));
        cli->store = NULL;
    }
    explicit_bzero(cli->key, sizeof cli->key);
    cli_flush(cli);
    int signum = cli_stopped();
    bool pipe_closed = cli->output_errno == EPIPE && !cli_pipe_ignored();
    if (cli->output_errno != 0 && !pipe_closed && signum == 0)
        exit_code = cli_error(cli, cli->output_errno == ENOSPC ? CLI_NO_SPACE : CLI_FAILED,
                              "standard output: %s", strerror(cli->output_errno));
    if (signum != 0 && exit_code != CLI_DONE) {
        cli_note(cli, "stopped by signal %d", signum);
        exit_code = CLI_SIGNAL + signum;
    }
    cli_options_free(cli);
    cli_signals_end();
    if (pipe_closed && signum == 0)
        cli_die_of_pipe();
    return exit_code;
}

int cli_check_ids(struct cli *cli, const char *const *args) {
    if (args[0] == NULL)
        return cli_usage(cli, "no id given");
    for (; *args != NULL; args++) {
        size_t len = strlen(*args);
        for (size_t i = 0; i < len; i++)
            if (hex_value((*args)[i]) < 0)
                return cli_usage(cli, "malformed id '%s': character %zu is no hex digit", *args,
                                 i + 1);
        if (len < INGOT_ID_PREFIX_MIN || len > INGOT_ID_HEX)
            return cli_usage(cli, "malformed id '%s': %zu hex digits, not %d to %d", *args, len,
                             INGOT_ID_PREFIX_MIN, INGOT_ID_HEX);
    }
    return CLI_CONTINUE;
}

ingot_status cli_find_id(struct cli *cli, const char *text, ingot_id *ret_id, ingot_error *err) {
    if (strlen(text) == INGOT_ID_HEX)
        return ingot_id_parse(text, ret_id, err);
    return ingot_store_resolve(cli->store, text, ret_id, err);
}
