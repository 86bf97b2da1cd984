/* Looks at the store and at what it stands on, and changes nothing. */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FREE_LEAST ((uint64_t)256 << 20)
#define FILES_LEAST 1024
#define CLOCK_SLACK_S 60
#define BUILT_AFTER 1704067200 /* 2024-01-01: a clock before it is wrong */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define ZFS_MAGIC 0x2fc12fc1

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL };

struct doctor {
    struct cli *cli;
    json_t *checks; /* with --json; owned */
    int exit_code;
};

__attribute__((format(printf, 4, 5))) static void say(struct doctor *doctor, enum verdict verdict,
                                                      const char *what, const char *format, ...) {
    static const char *const words[] = {"ok", "warn", "fail"};
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    char text[CLI_NAME_MAX + INGOT_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (verdict == VERDICT_FAIL)
        doctor->exit_code = cli_worse(doctor->exit_code, CLI_FAILED);
    if (doctor->cli->json) {
        json_t *check = json_object();
        json_object_set_new(check, "check", json_string(what));
        json_object_set_new(check, "result", json_string(words[verdict]));
        cli_json_name(check, "text", text);
        json_array_append_new(doctor->checks, check);
        return;
    }
    if (doctor->cli->quiet && verdict == VERDICT_OK)
        return;
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    bool color = cli_color();
    cli_print(doctor->cli, "%s%-4s%s %-12s %s\n", color ? colors[verdict] : "", words[verdict],
              color ? "\033[0m" : "", what, text);
}

static bool join(const struct doctor *doctor, const char *name, char ret_path[CLI_NAME_MAX]) {
    int n = snprintf(ret_path, CLI_NAME_MAX, "%s/%s", doctor->cli->store_path, name);
    return n >= 0 && n < CLI_NAME_MAX;
}

static void look_at_modes(struct doctor *doctor, const char *name, const char *path,
                          const struct stat *info) {
    unsigned mode = (unsigned)info->st_mode & 07777U;
    if ((mode & 022U) != 0)
        say(doctor, VERDICT_FAIL, name, "%s: other users may write to it (mode %04o)", path, mode);
    else if ((mode & 077U) != 0)
        say(doctor, VERDICT_WARN, name, "%s: other users may read it (mode %04o)", path, mode);
    else if (info->st_uid != geteuid())
        say(doctor, VERDICT_WARN, name, "%s: belongs to user %u, this is user %u", path,
            (unsigned)info->st_uid, (unsigned)geteuid());
    else
        say(doctor, VERDICT_OK, name, "%s: mode %04o, user %u", path, mode, (unsigned)info->st_uid);
}

/* False when there is nothing more to look at. */
static bool look_at_directory(struct doctor *doctor) {
    const char *path = doctor->cli->store_path;
    struct stat info;
    char format[CLI_NAME_MAX];
    if (stat(path, &info) != 0) {
        int failed = errno;
        say(doctor, VERDICT_FAIL, "directory", "%s: %s", path, strerror(failed));
        if (failed == ENOENT || failed == ENOTDIR)
            doctor->exit_code = CLI_NO_STORE;
        return false;
    }
    if (!S_ISDIR(info.st_mode)) {
        say(doctor, VERDICT_FAIL, "directory", "%s: is no directory", path);
        doctor->exit_code = CLI_NO_STORE;
        return false;
    }
    look_at_modes(doctor, "directory", path, &info);
    if (!join(doctor, "FORMAT", format) || lstat(format, &info) != 0) {
        int failed = errno;
        say(doctor, VERDICT_FAIL, "format", "%s: %s", format, strerror(failed));
        if (failed == ENOENT)
            doctor->exit_code = CLI_NO_STORE;
        return false;
    }
    look_at_modes(doctor, "format", format, &info);
    return true;
}

/* What a store consists of; anything else beside it was put there by someone, or left behind. */
static void look_at_entries(struct doctor *doctor) {
    static const char *const known[] = {"FORMAT", "LOCK",  "log",      "objects",
                                        "index",  "cache", "integrity"};
    DIR *dir = opendir(doctor->cli->store_path);
    if (dir == NULL) {
        say(doctor, VERDICT_FAIL, "contents", "cannot list: %s", strerror(errno));
        return;
    }
    size_t unknown = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        bool expected = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            expected = expected || strcmp(entry->d_name, known[i]) == 0;
        if (expected)
            continue;
        unknown++;
        say(doctor, VERDICT_WARN, "contents",
            "%s: left by an interrupted repair, or not the store's", entry->d_name);
    }
    closedir(dir);
    if (unknown == 0)
        say(doctor, VERDICT_OK, "contents", "nothing is left over");
}

static void look_at_file_system(struct doctor *doctor) {
    static const struct {
        long magic;
        const char *name;
        enum verdict verdict;
        const char *remark;
    } kinds[] = {
        {EXT4_SUPER_MAGIC, "ext4", VERDICT_OK, ""},
        {XFS_SUPER_MAGIC, "xfs", VERDICT_OK, ""},
        {BTRFS_SUPER_MAGIC, "btrfs", VERDICT_OK, ""},
        {ZFS_MAGIC, "zfs", VERDICT_OK, ""},
        {TMPFS_MAGIC, "tmpfs", VERDICT_WARN, ": nothing survives a restart"},
        {OVERLAYFS_SUPER_MAGIC, "overlayfs", VERDICT_WARN, ": may vanish with its container"},
        {NFS_SUPER_MAGIC, "nfs", VERDICT_FAIL, ": network file systems are not supported"},
        {SMB2_SUPER_MAGIC, "smb", VERDICT_FAIL, ": network file systems are not supported"},
        {CIFS_SUPER_MAGIC, "cifs", VERDICT_FAIL, ": network file systems are not supported"},
        {CEPH_SUPER_MAGIC, "ceph", VERDICT_FAIL, ": network file systems are not supported"},
        {V9FS_MAGIC, "9p", VERDICT_FAIL, ": network file systems are not supported"},
        {FUSE_SUPER_MAGIC, "fuse", VERDICT_WARN, ": lock and sync are as good as its server"},
    };
    struct statfs info;
    if (statfs(doctor->cli->store_path, &info) != 0) {
        say(doctor, VERDICT_FAIL, "file-system", "%s", strerror(errno));
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].magic == (long)info.f_type) {
            say(doctor, kinds[i].verdict, "file-system", "%s%s", kinds[i].name, kinds[i].remark);
            return;
        }
    say(doctor, VERDICT_WARN, "file-system", "type %#lx: not one this was tested on",
        (unsigned long)info.f_type);
}

static void look_at_space(struct doctor *doctor) {
    struct statvfs info;
    char space[CLI_SIZE_TEXT];
    if (statvfs(doctor->cli->store_path, &info) != 0) {
        say(doctor, VERDICT_FAIL, "space", "%s", strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)info.f_bavail * info.f_frsize;
    say(doctor,
        left == 0           ? VERDICT_FAIL
        : left < FREE_LEAST ? VERDICT_WARN
                            : VERDICT_OK,
        "space", "%s free", cli_size_text(left, space));
    if (info.f_files > 0)
        say(doctor, info.f_favail == 0 ? VERDICT_FAIL : VERDICT_OK, "inodes", "%llu free",
            (unsigned long long)info.f_favail);
    if ((info.f_flag & ST_RDONLY) != 0)
        say(doctor, VERDICT_WARN, "mount", "read-only");
}

static void look_at_direct(struct doctor *doctor) {
    char format[CLI_NAME_MAX];
    if (!join(doctor, "FORMAT", format))
        return;
    int fd = open(format, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd >= 0)
        say(doctor, VERDICT_OK, "o-direct", "supported");
    else if (errno == EINVAL)
        say(doctor, VERDICT_WARN, "o-direct",
            "not supported here: writes go through the page cache");
    else
        say(doctor, VERDICT_FAIL, "o-direct", "%s: %s", format, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void look_at_limits(struct doctor *doctor) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    say(doctor, limit.rlim_cur < FILES_LEAST ? VERDICT_WARN : VERDICT_OK, "limits",
        "%llu open files%s", (unsigned long long)limit.rlim_cur,
        limit.rlim_cur < FILES_LEAST ? ": few for many segments and threads" : "");
}

static void look_at_clock(struct doctor *doctor) {
    char path[CLI_NAME_MAX];
    struct stat info;
    time_t now = time(NULL);
    if (now < BUILT_AFTER)
        say(doctor, VERDICT_WARN, "clock", "the clock is years behind");
    else if (join(doctor, "log", path) && stat(path, &info) == 0 &&
             info.st_mtime > now + CLOCK_SLACK_S)
        say(doctor, VERDICT_WARN, "clock", "%s: changed %lld s in the future", path,
            (long long)(info.st_mtime - now));
    else
        say(doctor, VERDICT_OK, "clock", "plausible");
}

static void look_inside(struct doctor *doctor) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_stats stats = INGOT_STATS_INIT;
    ingot_status status = cli_try_open(doctor->cli, INGOT_OPEN_READ_ONLY, &err);
    if (status == INGOT_LOCKED) {
        say(doctor, VERDICT_WARN, "store", "%s; not opened", err.message);
        return;
    }
    if (status < 0) {
        say(doctor, VERDICT_FAIL, "store", "%s", err.message);
        doctor->exit_code = cli_worse(CLI_DONE, cli_exit_of(status));
        return;
    }
    ingot_store_info info;
    ingot_store_describe(doctor->cli->store, &info);
    say(doctor, VERDICT_OK, "lock", "nobody writes");
    say(doctor, VERDICT_OK, "store", "opens: format %u, %s, uuid %s", info.format_version,
        info.digest_name, info.uuid);
    if (ingot_store_stats(doctor->cli->store, &stats, &err) < 0)
        say(doctor, VERDICT_FAIL, "index", "%s", err.message);
    else
        say(doctor, VERDICT_OK, "index", "opens: %llu objects, %llu segments",
            (unsigned long long)stats.objects, (unsigned long long)stats.segments);
}

int cmd_doctor(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv) {
    const char *const *args;
    int result = cli_parse(cli, self, NULL, argc, argv, &args);
    if (result != CLI_CONTINUE)
        return result;
    if (args[0] != NULL)
        return cli_usage(cli, "unexpected argument '%s'", args[0]);
    if (cli_store_path(cli) == NULL)
        return CLI_USAGE;
    result = cli_load_key(cli);
    if (result != CLI_CONTINUE)
        return result;
    struct doctor doctor = {.cli = cli, .checks = cli->json ? json_array() : NULL};
    look_at_limits(&doctor);
    if (look_at_directory(&doctor)) {
        look_at_entries(&doctor);
        look_at_file_system(&doctor);
        look_at_space(&doctor);
        look_at_direct(&doctor);
        look_at_clock(&doctor);
        look_inside(&doctor);
    }
    if (cli->json) {
        json_t *object = cli_json("doctor");
        json_object_set_new(object, "healthy", json_boolean(doctor.exit_code == CLI_DONE));
        json_object_set_new(object, "checks", doctor.checks);
        cli_print_json(cli, object);
    }
    return doctor.exit_code;
}
