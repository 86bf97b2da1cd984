#include "cli.h"

#include <string.h>

#define COMMAND_ENTRY(name, arguments, summary) {#name, arguments, summary, cmd_##name},
static const struct cli_command commands[] = {CLI_COMMANDS(COMMAND_ENTRY)};
#undef COMMAND_ENTRY
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(void) {
    printf("Usage: ingot [-C STORE] [--json] [-q|-v] [--progress=auto|always|never] COMMAND ...\n"
           "A content-addressed store. An id is the plain digest of an object's bytes.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-8s %-10s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    printf("\nOptions, before or after the command:\n"
           "  -C, --store=STORE    the store (default: $INGOT_STORE)\n"
           "      --key-file=FILE  key of a keyed store (default: $INGOT_KEY_FILE)\n"
           "      --wait=DUR       wait this long for a locked store: 500ms, 10s, 5m, 2h, 1d\n"
           "      --json           print JSON\n"
           "  -q, --quiet          print errors only\n"
           "  -v, --verbose        say more\n"
           "      --progress=WHEN  auto, always or never\n"
           "  -h, --help           this text, or that of a command\n"
           "      --version        the version\n");
}

static const struct cli_command *find(const char *name) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int run(struct cli *cli, int argc, const char *const *argv) {
    bool help = false;
    bool version = false;
    const char *const *args = NULL;
    int result = cli_parse_common(cli, argc, argv, &help, &version, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (version) {
        printf("ingot %s (format %d)\n", ingot_version(), INGOT_FORMAT_VERSION);
        return CLI_DONE;
    }
    if (help) {
        print_help();
        return CLI_DONE;
    }
    if (args[0] == NULL)
        return cli_usage(cli, "no command given");
    const struct cli_command *command = find(args[0]);
    if (command == NULL)
        return cli_usage(cli, "'%s' is not a command", args[0]);
    cli->command = command->name;
    return command->run(cli, command, (int)cli_count(args), args);
}

int main(int argc, char **argv) {
    struct cli cli = {0};
    int result = cli_signals_start(&cli);
    if (result == CLI_CONTINUE)
        result = run(&cli, argc, (const char *const *)argv);
    return cli_finish(&cli, result);
}
