#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void remember(struct cli *cli) {
    if (cli->output_errno == 0)
        cli->output_errno = errno != 0 ? errno : EIO;
    cli_stop();
}

bool cli_output_failed(const struct cli *cli) { return cli->output_errno != 0; }

void cli_print(struct cli *cli, const char *format, ...) {
    if (cli->output_errno != 0)
        return;
    va_list args;
    va_start(args, format);
    errno = 0;
    if (vprintf(format, args) < 0)
        remember(cli);
    va_end(args);
}

void cli_flush(struct cli *cli) {
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        remember(cli);
}

json_t *cli_json(const char *message_type) {
    json_t *object = json_object();
    json_object_set_new(object, "message_type", json_string(message_type));
    return object;
}

void cli_print_json(struct cli *cli, json_t *object) {
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (text == NULL) {
        errno = ENOMEM;
        remember(cli);
        return;
    }
    cli_print(cli, "%s\n", text);
    free(text);
}

void cli_json_id(json_t *object, const char *key, const ingot_id *id) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    json_object_set_new(object, key, json_string(hex));
}

void cli_json_number(json_t *object, const char *key, uint64_t value) {
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* Length of the valid UTF-8 sequence at `s`, or minus the length of the longest prefix that could
 * have begun one (Unicode 15, section 3.9, table 3-7: "maximal subpart"), at least 1. */
static int utf8_step(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    int need = s[0] >= 0xc2 && s[0] <= 0xdf   ? 1
               : s[0] >= 0xe0 && s[0] <= 0xef ? 2
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 3
                                              : 0;
    if (need == 0)
        return -1;
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i <= need; i++) {
        if (s[i] < low || s[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return need + 1;
}

static bool is_utf8(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    while (*s != '\0') {
        int step = utf8_step(s);
        if (step < 0)
            return false;
        s += step;
    }
    return true;
}

/* `text` with U+FFFD for each maximal subpart that is not UTF-8. Owned; NULL without memory. */
static char *readable(const char *text) {
    char *made = malloc(3 * strlen(text) + 1);
    char *out = made;
    const unsigned char *s = (const unsigned char *)text;
    while (made != NULL && *s != '\0') {
        int step = utf8_step(s);
        size_t len = (size_t)(step < 0 ? 3 : step);
        memcpy(out, step < 0 ? "\xef\xbf\xbd" : (const char *)s, len);
        out += len;
        s += step < 0 ? -step : step;
    }
    if (made != NULL)
        *out = '\0';
    return made;
}

void cli_json_name(json_t *object, const char *key, const char *name) {
    if (is_utf8(name)) {
        json_object_set_new(object, key, json_string(name));
        return;
    }
    char *text = readable(name);
    if (text != NULL)
        json_object_set_new(object, key, json_string(text));
    free(text);
    size_t len = strlen(name);
    char *hex = malloc(2 * len + 1);
    if (hex == NULL)
        return;
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)(unsigned char)name[i]);
    char hex_key[32];
    snprintf(hex_key, sizeof hex_key, "%s_hex", key);
    json_object_set_new(object, hex_key, json_string(hex));
    free(hex);
}

static void print_escaped(struct cli *cli, const char *name, bool carriage_return) {
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '\\')
            cli_print(cli, "\\\\");
        else if (*c == '\n')
            cli_print(cli, "\\n");
        else if (*c == '\r' && carriage_return)
            cli_print(cli, "\\r");
        else
            cli_print(cli, "%c", *c);
    }
}

void cli_print_sum(struct cli *cli, const ingot_id *id, const char *name) {
    /* sha256sum escapes the carriage return too and prints names as they are; b3sum reads only
     * UTF-8 and shows the rest as U+FFFD. */
    bool sha256 = cli->digest == INGOT_DIGEST_SHA256;
    bool escaped = strpbrk(name, sha256 ? "\\\n\r" : "\\\n") != NULL;
    char *text = sha256 || is_utf8(name) ? NULL : readable(name);
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    cli_print(cli, "%s%s  ", escaped ? "\\" : "", hex);
    if (escaped)
        print_escaped(cli, text != NULL ? text : name, sha256);
    else
        cli_print(cli, "%s", text != NULL ? text : name);
    cli_print(cli, "\n");
    free(text);
}

const char *cli_size_text(uint64_t bytes, char ret_text[CLI_SIZE_TEXT]) {
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(ret_text, CLI_SIZE_TEXT, "%u B", (unsigned)bytes);
        return ret_text;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    for (; value >= 1024 && units[unit + 1] != '\0'; unit++)
        value /= 1024;
    snprintf(ret_text, CLI_SIZE_TEXT, "%.1f %ciB", value, units[unit]);
    return ret_text;
}

const char *cli_time_text(int64_t ms, char ret_text[CLI_TIME_TEXT]) {
    int64_t part = ms % 1000;
    time_t seconds = (time_t)(ms / 1000);
    if (part < 0) {
        part += 1000;
        seconds--;
    }
    struct tm broken;
    char date[32];
    if (gmtime_r(&seconds, &broken) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &broken) == 0)
        snprintf(ret_text, CLI_TIME_TEXT, "%lld ms", (long long)ms);
    else
        snprintf(ret_text, CLI_TIME_TEXT, "%s.%03dZ", date, (int)part);
    return ret_text;
}

bool cli_color(void) {
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return (no_color == NULL || no_color[0] == '\0') && isatty(STDOUT_FILENO) == 1 &&
           term != NULL && strcmp(term, "dumb") != 0;
}
