#include "put.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void fail_name(struct names *names, const char *name, int errnum) {
    ingot_error err = INGOT_ERROR_INIT;
    cli_fail_errno(&err, errnum, "%s", "cannot read");
    cli_failed_as(names->cli, CLI_SOURCES, name, &err);
    names->failed++;
}

/* False ends the walk. */
static bool visit(struct names *names, FTS *walk, FTSENT *entry) {
    switch (entry->fts_info) {
    case FTS_F:
        return names->add(names->context, entry->fts_path, false);
    case FTS_D:
        if (entry->fts_statp->st_dev == names->store.st_dev &&
            entry->fts_statp->st_ino == names->store.st_ino) {
            cli_detail(names->cli, "%s: skipped, it is the store", entry->fts_path);
            fts_set(walk, entry, FTS_SKIP);
            names->skipped++;
        }
        return true;
    case FTS_DP:
        return true;
    case FTS_DC:
        fail_name(names, entry->fts_path, ELOOP);
        return true;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        fail_name(names, entry->fts_path, entry->fts_errno);
        return true;
    default:
        cli_detail(names->cli, "%s: skipped, it is no regular file", entry->fts_path);
        names->skipped++;
        return true;
    }
}

static bool walk_tree(struct names *names, const char *root) {
    char *name = strdup(root);
    if (name == NULL) {
        fail_name(names, root, ENOMEM);
        return true;
    }
    char *roots[] = {name, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    bool go_on = walk != NULL;
    if (walk == NULL)
        fail_name(names, root, errno);
    while (go_on) {
        errno = 0;
        FTSENT *entry = fts_read(walk);
        if (entry == NULL) {
            if (errno != 0)
                fail_name(names, root, errno);
            break;
        }
        go_on = visit(names, walk, entry);
    }
    if (walk != NULL)
        fts_close(walk);
    free(name);
    return go_on;
}

void names_of_args(struct names *names, const char *const *args) {
    for (; *args != NULL; args++) {
        bool is_stdin = strcmp(*args, "-") == 0;
        struct stat info;
        bool is_tree =
            names->recursive && !is_stdin && stat(*args, &info) == 0 && S_ISDIR(info.st_mode);
        bool go_on =
            is_tree ? walk_tree(names, *args) : names->add(names->context, *args, is_stdin);
        if (!go_on)
            break;
    }
}

static bool add_listed(struct names *names, const char *name) {
    const char *const one[] = {name, NULL};
    /* Standard input may be the list itself: in a list "-" is a file of that name. */
    if (strcmp(name, "-") == 0)
        return names->add(names->context, name, false);
    names_of_args(names, one);
    return !cli_stopping();
}

int names_of_list(struct names *names, const char *list) {
    bool is_stdin = strcmp(list, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(list, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cli_error(names->cli, CLI_FAILED, "--files0-from: %s: %s", list, strerror(errno));
    static struct records records;
    records = (struct records){.cli = names->cli, .fd = fd, .delimiter = '\0'};
    char name[CLI_NAME_MAX + 1];
    int result = CLI_CONTINUE;
    for (bool go_on = true; go_on;) {
        enum record record = records_next(&records, name, sizeof name);
        if (record == RECORD_END)
            break;
        if (record == RECORD_FAILED) {
            if (errno != EINTR)
                result = cli_error(names->cli, CLI_FAILED, "--files0-from: %s: %s", list,
                                   strerror(errno));
            break;
        }
        if (record == RECORD_TOO_LONG || name[0] == '\0') {
            cli_error(names->cli, CLI_SOURCES, "--files0-from: %s: name %llu is %s", list,
                      (unsigned long long)records.number, name[0] == '\0' ? "empty" : "too long");
            names->failed++;
            continue;
        }
        go_on = add_listed(names, name);
    }
    if (!is_stdin)
        close(fd);
    return result;
}
