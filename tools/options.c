#include "cli.h"

#include <errno.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24 /* of one command, the common ones included */
#define PARSES_MAX 2   /* the words before the command, and those after it */

/* What outlives the parser: values of options, and the words left over. */
struct held {
    char *values[PARSES_MAX * OPTIONS_MAX];
    size_t value_count;
    char **args[PARSES_MAX];
    size_t args_count;
};

struct common {
    bool help;
    bool version;
};

static int bad(const struct cli *cli, const struct cli_option *option, const char *value,
               const char *what) {
    return cli_usage(cli, "--%s: '%s' is not %s", option->name, value, what);
}

/* Digits only, then *ret_rest. False for anything else, or over 2^63. */
static bool read_number(const char *text, uint64_t *ret_value, const char **ret_rest) {
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || value > INT64_MAX)
        return false;
    *ret_value = value;
    *ret_rest = end;
    return true;
}

static bool read_size(const char *text, uint64_t *ret_bytes) {
    static const char units[] = "KMGT";
    uint64_t value;
    const char *rest;
    if (!read_number(text, &value, &rest))
        return false;
    unsigned shift = 0;
    if (rest[0] != '\0') {
        const char *unit = strchr(units, rest[0]);
        if (unit == NULL || (rest[1] != '\0' && strcmp(rest + 1, "iB") != 0))
            return false;
        shift = 10U * (unsigned)(unit - units + 1);
    }
    if (value > (uint64_t)INT64_MAX >> shift)
        return false;
    *ret_bytes = value << shift;
    return true;
}

static bool read_duration(const char *text, int64_t *ret_ms) {
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t value;
    const char *rest;
    if (!read_number(text, &value, &rest))
        return false;
    if (rest[0] == '\0' && value == 0) {
        *ret_ms = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(rest, units[i].unit) != 0)
            continue;
        if (value > (uint64_t)INT64_MAX / units[i].ms)
            return false;
        *ret_ms = (int64_t)(value * units[i].ms);
        return true;
    }
    return false;
}

static int set_bounded(struct cli *cli, const struct cli_option *option, const char *value,
                       bool is_size) {
    uint64_t number;
    const char *rest = "";
    bool ok = is_size ? read_size(value, &number) : read_number(value, &number, &rest);
    if (!ok || *rest != '\0')
        return bad(cli, option, value, is_size ? "a size such as 512K, 64M or 1G" : "a number");
    if (number < option->min || (option->max != 0 && number > option->max))
        return cli_usage(cli, "--%s: %s is out of range, %llu to %llu", option->name, value,
                         (unsigned long long)option->min, (unsigned long long)option->max);
    *(uint64_t *)option->target = number;
    return CLI_CONTINUE;
}

static int set_percent(struct cli *cli, const struct cli_option *option, const char *value) {
    uint64_t number = 100;
    const char *rest = "";
    if (value != NULL &&
        (!read_number(value, &number, &rest) || (*rest != '\0' && strcmp(rest, "%") != 0)))
        return bad(cli, option, value, "a percentage such as 10%");
    if (number < 1 || number > 100)
        return cli_usage(cli, "--%s: %s is out of range, 1%% to 100%%", option->name, value);
    *(uint32_t *)option->target = (uint32_t)number;
    return CLI_CONTINUE;
}

static int set(struct cli *cli, const struct cli_option *option, const char *value) {
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        return CLI_CONTINUE;
    case CLI_STRING:
        *(const char **)option->target = value;
        return CLI_CONTINUE;
    case CLI_COUNT:
    case CLI_SIZE:
        return set_bounded(cli, option, value, option->kind == CLI_SIZE);
    case CLI_PERCENT:
        return set_percent(cli, option, value);
    case CLI_DURATION:
        if (!read_duration(value, option->target))
            return bad(cli, option, value, "a duration such as 500ms, 10s, 5m, 2h or 1d");
        return CLI_CONTINUE;
    case CLI_END:
    default:
        abort();
    }
}

static struct poptOption popt_of(const struct cli_option *option, int value) {
    struct poptOption made = {.longName = option->name,
                              .shortName = option->letter,
                              .argInfo = option->kind == CLI_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING,
                              .val = value,
                              .descrip = option->help,
                              .argDescrip = option->argument};
    if (option->kind == CLI_PERCENT)
        made.argInfo |= POPT_ARGFLAG_OPTIONAL;
    return made;
}

static size_t list_common(struct cli *cli, struct common *common,
                          struct cli_option list[OPTIONS_MAX]) {
    const struct cli_option options[] = {
        {CLI_STRING, 'C', "store", "STORE", "the store (default: $INGOT_STORE)", &cli->store_path,
         0, 0},
        {CLI_STRING, 0, "key-file", "FILE", "key of a keyed store (default: $INGOT_KEY_FILE)",
         &cli->key_path, 0, 0},
        {CLI_DURATION, 0, "wait", "DUR", "wait this long for a locked store", &cli->lock_wait_ms, 0,
         0},
        {CLI_FLAG, 0, "json", NULL, "print JSON", &cli->json, 0, 0},
        {CLI_FLAG, 'q', "quiet", NULL, "print errors only", &cli->quiet, 0, 0},
        {CLI_FLAG, 'v', "verbose", NULL, "say more", &cli->verbose, 0, 0},
        {CLI_STRING, 0, "progress", "WHEN", "show progress: auto, always or never",
         &cli->progress_mode, 0, 0},
        {CLI_FLAG, 'h', "help", NULL, "show this text", &common->help, 0, 0},
        {CLI_FLAG, 0, "version", NULL, "show the version", &common->version, 0, 0},
    };
    memcpy(list, options, sizeof options);
    return sizeof options / sizeof options[0];
}

static int check_common(struct cli *cli) {
    const char *mode = cli->progress_mode;
    if (mode != NULL && strcmp(mode, "auto") != 0 && strcmp(mode, "always") != 0 &&
        strcmp(mode, "never") != 0)
        return cli_usage(cli, "--progress: '%s' is not auto, always or never", mode);
    if (cli->quiet && cli->verbose)
        return cli_usage(cli, "-q and -v exclude each other");
    return CLI_CONTINUE;
}

size_t cli_count(const char *const *args) {
    size_t count = 0;
    while (args != NULL && args[count] != NULL)
        count++;
    return count;
}

static struct held *held_of(struct cli *cli) {
    if (cli->held == NULL)
        cli->held = calloc(1, sizeof *cli->held);
    if (cli->held == NULL)
        abort();
    return cli->held;
}

void cli_options_free(struct cli *cli) {
    struct held *held = cli->held;
    if (held == NULL)
        return;
    for (size_t i = 0; i < held->args_count; i++) {
        for (char **arg = held->args[i]; *arg != NULL; arg++)
            free(*arg);
        free(held->args[i]);
    }
    for (size_t i = 0; i < held->value_count; i++)
        free(held->values[i]);
    free(held);
    cli->held = NULL;
}

/* Copies, because the parser frees its own. */
static const char *const *keep_args(struct held *held, const char *const *args) {
    size_t count = cli_count(args);
    char **copy = calloc(count + 1, sizeof *copy);
    if (copy == NULL || held->args_count == PARSES_MAX)
        abort();
    for (size_t i = 0; i < count; i++) {
        copy[i] = strdup(args[i]);
        if (copy[i] == NULL)
            abort();
    }
    held->args[held->args_count++] = copy;
    return (const char *const *)copy;
}

/* Options given again and again would need room without bound; the last one counts anyway. */
static int read_all(struct cli *cli, poptContext context, const struct cli_option *list) {
    struct held *held = held_of(cli);
    int value;
    while ((value = poptGetNextOpt(context)) > 0) {
        char *text = poptGetOptArg(context);
        if (text != NULL) {
            if (held->value_count == sizeof held->values / sizeof held->values[0]) {
                free(text);
                return cli_usage(cli, "too many options");
            }
            held->values[held->value_count++] = text;
        }
        int result = set(cli, &list[value - 1], text);
        if (result != CLI_CONTINUE)
            return result;
    }
    if (value < -1)
        return cli_usage(cli, "%s: %s", poptBadOption(context, 0), poptStrerror(value));
    return CLI_CONTINUE;
}

static int parse(struct cli *cli, const struct cli_command *self, const struct cli_option *own,
                 struct common *common, int argc, const char *const *argv,
                 const char *const **ret_args) {
    struct cli_option list[OPTIONS_MAX];
    struct poptOption shared_table[OPTIONS_MAX + 1] = {{0}};
    struct poptOption table[OPTIONS_MAX + 2] = {{0}};
    size_t shared = list_common(cli, common, list);
    size_t count = shared;
    size_t filled = 0;
    for (; own != NULL && own->kind != CLI_END; own++) {
        if (count == OPTIONS_MAX)
            abort();
        list[count++] = *own;
        table[filled++] = popt_of(own, (int)count);
    }
    for (size_t i = 0; i < shared; i++)
        shared_table[i] = popt_of(&list[i], (int)i + 1);
    table[filled] = (struct poptOption){.argInfo = POPT_ARG_INCLUDE_TABLE,
                                        .arg = shared_table,
                                        .descrip = "Options of every command:"};
    char name[64];
    snprintf(name, sizeof name, "ingot%s%s", self != NULL ? " " : "",
             self != NULL ? self->name : "");
    const char **words = calloc((size_t)argc + 2, sizeof *words);
    if (words == NULL)
        abort();
    for (int i = 1; i < argc; i++)
        words[i] = argv[i];
    words[0] = name;
    poptContext context = poptGetContext(NULL, argc > 0 ? argc : 1, words, table,
                                         self == NULL ? POPT_CONTEXT_POSIXMEHARDER : 0);
    if (context == NULL)
        abort();
    int result = read_all(cli, context, list);
    if (result == CLI_CONTINUE && self != NULL && common->help) {
        poptSetOtherOptionHelp(context, self->arguments);
        printf("ingot %s: %s\n", self->name, self->summary);
        poptPrintHelp(context, stdout, 0);
        result = CLI_DONE;
    }
    if (result == CLI_CONTINUE)
        result = check_common(cli);
    if (result == CLI_CONTINUE)
        *ret_args = keep_args(held_of(cli), poptGetArgs(context));
    poptFreeContext(context);
    free(words);
    return result;
}

int cli_parse(struct cli *cli, const struct cli_command *self, const struct cli_option *own,
              int argc, const char *const *argv, const char *const **ret_args) {
    struct common common = {0};
    int result = parse(cli, self, own, &common, argc, argv, ret_args);
    if (result == CLI_CONTINUE && common.version) {
        printf("ingot %s (format %d)\n", ingot_version(), INGOT_FORMAT_VERSION);
        return CLI_DONE;
    }
    return result;
}

int cli_parse_common(struct cli *cli, int argc, const char *const *argv, bool *ret_help,
                     bool *ret_version, const char *const **ret_args) {
    struct common common = {0};
    int result = parse(cli, NULL, NULL, &common, argc, argv, ret_args);
    if (result == CLI_CONTINUE) {
        *ret_help = common.help;
        *ret_version = common.version;
    }
    return result;
}
