#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LARGE_MIN_LEAST ((uint64_t)4 << 10)
#define LARGE_MIN_MOST ((uint64_t)16 << 20)
#define SEGMENT_LEAST ((uint64_t)1 << 20)
#define SEGMENT_MOST ((uint64_t)1 << 30)

static const struct {
    const char *name;
    uint32_t digest;
} digests[] = {{"blake3", INGOT_DIGEST_BLAKE3},
               {"sha256", INGOT_DIGEST_SHA256},
               {"blake3-keyed", INGOT_DIGEST_BLAKE3_KEYED}};

static int choose_digest(struct cli *cli, const char *name, uint32_t *ret_digest) {
    for (size_t i = 0; i < sizeof digests / sizeof digests[0]; i++)
        if (strcmp(digests[i].name, name) == 0) {
            *ret_digest = digests[i].digest;
            return CLI_CONTINUE;
        }
    return cli_usage(cli, "--digest: '%s' is not blake3, sha256 or blake3-keyed", name);
}

static int choose_path(struct cli *cli, const char *const *args) {
    if (args[0] != NULL && args[1] != NULL)
        return cli_usage(cli, "more than one directory: '%s'", args[1]);
    if (args[0] != NULL && cli->store_path != NULL && strcmp(args[0], cli->store_path) != 0)
        return cli_usage(cli, "'%s' and -C '%s': which one?", args[0], cli->store_path);
    if (args[0] != NULL)
        cli->store_path = args[0];
    return cli_store_path(cli) != NULL ? CLI_CONTINUE : CLI_USAGE;
}

static void report(struct cli *cli, const ingot_store_info *info, bool created) {
    if (cli->json) {
        json_t *object = cli_json("init");
        cli_json_name(object, "store", cli->store_path);
        json_object_set_new(object, "created", json_boolean(created));
        json_object_set_new(object, "uuid", json_string(info->uuid));
        json_object_set_new(object, "digest", json_string(info->digest_name));
        cli_json_number(object, "format", info->format_version);
        cli_json_number(object, "large_min", info->large_min);
        cli_json_number(object, "segment_size", info->segment_size);
        cli_print_json(cli, object);
    } else if (!cli->quiet) {
        cli_print(cli, "%s: %s\n", cli->store_path, created ? "store made" : "already a store");
    }
}

/* The same request again is answered as the first time; another one is refused. A size that was
 * not asked for may be anything, the digest decides what ids are. */
static int compare(struct cli *cli, const ingot_create_options *asked,
                   const ingot_store_info *info) {
    if (info->digest != asked->digest)
        return cli_error(cli, CLI_FAILED, "%s: already a store, with digest %s", cli->store_path,
                         info->digest_name);
    if (asked->large_min != 0 && asked->large_min != info->large_min)
        return cli_error(cli, CLI_FAILED, "%s: already a store, with large-min %llu",
                         cli->store_path, (unsigned long long)info->large_min);
    if (asked->segment_size != 0 && asked->segment_size != info->segment_size)
        return cli_error(cli, CLI_FAILED, "%s: already a store, with segment-size %llu",
                         cli->store_path, (unsigned long long)info->segment_size);
    return CLI_DONE;
}

static int init(struct cli *cli, const ingot_create_options *options) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status status = ingot_store_create(cli->store_path, options, &err);
    if (status < 0 && status != INGOT_EXISTS)
        return cli_failed(cli, cli->store_path, &err);
    if (status == INGOT_EXISTS) {
        char format[CLI_NAME_MAX];
        struct stat info;
        int n = snprintf(format, sizeof format, "%s/FORMAT", cli->store_path);
        if (n < 0 || (size_t)n >= sizeof format || (lstat(format, &info) != 0 && errno != EACCES))
            return cli_failed(cli, cli->store_path, &err);
    }
    int result = cli_open_store(cli, INGOT_OPEN_READ_ONLY);
    if (result != CLI_CONTINUE)
        return result;
    ingot_store_info info;
    ingot_store_describe(cli->store, &info);
    result = status == INGOT_EXISTS ? compare(cli, options, &info) : CLI_DONE;
    if (result == CLI_DONE)
        report(cli, &info, status != INGOT_EXISTS);
    return result;
}

int cmd_init(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *digest = "blake3";
    const char *const *args;
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    const struct cli_option own[] = {
        {CLI_STRING, 0, "digest", "NAME", "blake3 (default), sha256 or blake3-keyed", &digest, 0,
         0},
        {CLI_SIZE, 0, "large-min", "SIZE", "objects of this size have a file each (default: 1M)",
         &options.large_min, LARGE_MIN_LEAST, LARGE_MIN_MOST},
        {CLI_SIZE, 0, "segment-size", "SIZE", "of the log, in whole MiB (default: 64M)",
         &options.segment_size, SEGMENT_LEAST, SEGMENT_MOST},
        {CLI_END, 0, NULL, NULL, NULL, NULL, 0, 0}};
    int result = cli_parse(cli, self, own, argc, argv, &args);
    if (result == CLI_CONTINUE)
        result = choose_digest(cli, digest, &options.digest);
    if (result == CLI_CONTINUE)
        result = choose_path(cli, args);
    if (result == CLI_CONTINUE)
        result = cli_load_key(cli);
    if (result != CLI_CONTINUE)
        return result;
    bool keyed = options.digest == INGOT_DIGEST_BLAKE3_KEYED;
    if (keyed && !cli->has_key)
        return cli_usage(cli, "--digest=blake3-keyed needs --key-file");
    if (!keyed && cli->has_key)
        return cli_usage(cli, "a key file goes only with --digest=blake3-keyed");
    options.key = keyed ? cli->key : NULL;
    return init(cli, &options);
}
