#include "machine.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define CPU_DIR "/sys/devices/system/cpu"
#define CACHES_MAX 16

static bool first_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    bool got = file != NULL && fgets(line, (int)size, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (got)
        line[strcspn(line, "\n")] = '\0';
    return got;
}

/* The value of the first "key : value" line. */
static bool proc_value(const char *path, const char *key, char *value, size_t size) {
    FILE *file = fopen(path, "re");
    char line[512];
    bool got = false;
    while (!got && file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, key, strlen(key)) != 0)
            continue;
        for (colon++; isspace((unsigned char)*colon);)
            colon++;
        snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        got = true;
    }
    if (file != NULL)
        fclose(file);
    return got;
}

static void add_date(json_t *context) {
    char text[64];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", &local);
    if (len > 2 && len + 1 < sizeof text) { /* ISO 8601 wants +hh:mm */
        memmove(text + len - 1, text + len - 2, 3);
        text[len - 2] = ':';
    }
    json_object_set_new(context, "date", json_string(text));
}

static bool scaling_enabled(long cpus) {
    for (long i = 0; i < cpus; i++) {
        char path[128];
        char governor[64];
        snprintf(path, sizeof path, CPU_DIR "/cpu%ld/cpufreq/scaling_governor", i);
        if (first_line(path, governor, sizeof governor) && strcmp(governor, "performance") != 0)
            return true;
    }
    return false;
}

/* Bits of a mask such as "00000000,00000003". */
static int mask_bits(const char *mask) {
    int bits = 0;
    for (; *mask != '\0'; mask++) {
        char digit[2] = {*mask, '\0'};
        bits += __builtin_popcountl(strtoul(digit, NULL, 16));
    }
    return bits;
}

static json_t *caches(void) {
    json_t *list = json_array();
    for (int i = 0; i < CACHES_MAX; i++) {
        static const char *const files[] = {"type", "level", "size", "shared_cpu_map"};
        char text[4][256];
        char path[128];
        for (size_t f = 0; f < 4; f++) {
            snprintf(path, sizeof path, CPU_DIR "/cpu0/cache/index%d/%s", i, files[f]);
            if (!first_line(path, text[f], sizeof text[f]))
                return list;
        }
        long long size = atoll(text[2]);
        size *= strchr(text[2], 'M') != NULL ? 1 << 20 : strchr(text[2], 'K') != NULL ? 1 << 10 : 1;
        json_t *cache = json_object();
        json_object_set_new(cache, "type", json_string(text[0]));
        json_object_set_new(cache, "level", json_integer(atoi(text[1])));
        json_object_set_new(cache, "size", json_integer(size));
        json_object_set_new(cache, "num_sharing", json_integer(mask_bits(text[3])));
        json_array_append_new(list, cache);
    }
    return list;
}

json_t *machine_context(const char *executable) {
    json_t *context = json_object();
    char host[256] = "";
    char mhz[64] = "";
    double load[3] = {0, 0, 0};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    add_date(context);
    gethostname(host, sizeof host - 1);
    json_object_set_new(context, "host_name", json_string(host));
    json_object_set_new(context, "executable", json_string(executable));
    json_object_set_new(context, "num_cpus", json_integer(cpus));
    proc_value("/proc/cpuinfo", "cpu MHz", mhz, sizeof mhz);
    json_object_set_new(context, "mhz_per_cpu", json_integer((json_int_t)(atof(mhz) + 0.5)));
    json_object_set_new(context, "cpu_scaling_enabled", json_boolean(scaling_enabled(cpus)));
    json_object_set_new(context, "caches", caches());
    json_t *averages = json_array();
    for (int i = 0, n = getloadavg(load, 3); i < n; i++)
        json_array_append_new(averages, json_real(load[i]));
    json_object_set_new(context, "load_avg", averages);
#ifdef NDEBUG
    json_object_set_new(context, "library_build_type", json_string("release"));
#else
    json_object_set_new(context, "library_build_type", json_string("debug"));
#endif
    json_object_set_new(context, "json_schema_version", json_integer(1));
    return context;
}

/* The type in the mount table's line of the device that `dir` is on. */
static bool file_system(const char *dir, char *type, size_t size) {
    struct stat st;
    char wanted[64];
    char line[4096];
    bool got = false;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (mounts != NULL && stat(dir, &st) == 0) {
        snprintf(wanted, sizeof wanted, " %u:%u ", major(st.st_dev), minor(st.st_dev));
        while (!got && fgets(line, sizeof line, mounts) != NULL) {
            const char *dash = strstr(line, " - ");
            if (dash == NULL || strstr(line, wanted) == NULL)
                continue;
            snprintf(type, size, "%.*s", (int)strcspn(dash + 3, " "), dash + 3);
            got = true;
        }
    }
    if (mounts != NULL)
        fclose(mounts);
    return got;
}

void machine_add_storage(json_t *context, const char *dir) {
    char text[256];
    struct utsname kernel;
    if (proc_value("/proc/cpuinfo", "model name", text, sizeof text))
        json_object_set_new(context, "cpu_model", json_string(text));
    snprintf(text, sizeof text, "%.1f",
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30));
    json_object_set_new(context, "memory_gib", json_string(text));
    if (uname(&kernel) == 0) {
        snprintf(text, sizeof text, "%.60s %.100s", kernel.sysname, kernel.release);
        json_object_set_new(context, "kernel", json_string(text));
    }
    if (file_system(dir, text, sizeof text))
        json_object_set_new(context, "file_system", json_string(text));
}
