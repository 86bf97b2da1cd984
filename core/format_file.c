#include "format.h"

#include "bytes.h"
#include "digest.h"
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void checksum(const char *text, size_t len, char ret_hex[INGOT_ID_HEX + 1]) {
    static const struct ig_digest plain = {.kind = INGOT_DIGEST_BLAKE3};
    ingot_id sum;
    ig_digest_hash(&plain, text, len, &sum);
    ingot_id_format(&sum, ret_hex);
}

const char *ig_format_check(const struct ig_format *format) {
    const uint64_t mib = UINT64_C(1) << 20;
    if (format->large_min < 4096 || format->large_min > 16 * mib)
        return "large-min is not from 4 KiB to 16 MiB";
    if (format->segment_size < mib || format->segment_size > 1024 * mib ||
        format->segment_size % mib != 0 || format->segment_size < 4 * format->large_min)
        return "segment-size is not a multiple of 1 MiB from 1 MiB to 1 GiB and at least four "
               "times large-min";
    return NULL;
}

size_t ig_format_print(const struct ig_format *format, char ret_text[IG_FORMAT_MAX]) {
    char key_line[96] = "";
    if (format->digest == INGOT_DIGEST_BLAKE3_KEYED) {
        char hex[65];
        ig_hex(format->key_check, sizeof format->key_check, hex);
        snprintf(key_line, sizeof key_line, "key-check %s\n", hex);
    }
    int n =
        snprintf(ret_text, IG_FORMAT_MAX,
                 "ingot store\nformat %d\nuuid %s\ndigest %s\n%slarge-min %" PRIu64
                 "\nsegment-size %" PRIu64 "\nlog-align %" PRIu64 "\ncreated %" PRId64 "\n",
                 INGOT_FORMAT_VERSION, format->uuid_text, ig_digest_name(format->digest), key_line,
                 format->large_min, format->segment_size, IG_LOG_ALIGN, format->created_ms);
    char hex[INGOT_ID_HEX + 1];
    checksum(ret_text, (size_t)n, hex);
    n += snprintf(ret_text + n, IG_FORMAT_MAX - (size_t)n, "checksum %s\n", hex);
    return (size_t)n;
}

/* The value of line `name` at *cursor, copied without its newline; moves the cursor behind it. */
static bool take_line(const char **cursor, const char *name, char *ret_value, size_t capacity) {
    size_t name_len = strlen(name);
    const char *end = strchr(*cursor, '\n');
    if (end == NULL || strncmp(*cursor, name, name_len) != 0 || (*cursor)[name_len] != ' ')
        return false;
    const char *value = *cursor + name_len + 1;
    if (value > end || (size_t)(end - value) >= capacity)
        return false;
    memcpy(ret_value, value, (size_t)(end - value));
    ret_value[end - value] = '\0';
    *cursor = end + 1;
    return true;
}

static bool take_number(const char **cursor, const char *name, int64_t *ret_value) {
    char value[32];
    if (!take_line(cursor, name, value, sizeof value) || value[0] == '\0')
        return false;
    char *end;
    long long number = strtoll(value, &end, 10);
    *ret_value = number;
    return *end == '\0' && number >= 0;
}

static bool take_hex(const char *hex, uint8_t *ret_bytes, size_t len) {
    for (size_t i = 0; i < 2 * len; i++) {
        int digit = ig_hex_digit(hex[i]);
        if (digit < 0)
            return false;
        ret_bytes[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : ret_bytes[i / 2] | digit);
    }
    return hex[2 * len] == '\0';
}

static bool take_uuid(const char **cursor, struct ig_format *format) {
    if (!take_line(cursor, "uuid", format->uuid_text, sizeof format->uuid_text))
        return false;
    char hex[33];
    size_t n = 0;
    for (const char *p = format->uuid_text; *p != '\0'; p++)
        if (*p != '-' && n < 32)
            hex[n++] = *p;
    hex[n] = '\0';
    return take_hex(hex, format->uuid, sizeof format->uuid);
}

/* NULL, or the name of the line that is missing or wrong. */
static const char *parse_lines(const char *cursor, struct ig_format *format) {
    char digest[32], key_check[72];
    int64_t large_min, segment_size, log_align;
    if (!take_uuid(&cursor, format))
        return "uuid";
    if (!take_line(&cursor, "digest", digest, sizeof digest) ||
        (format->digest = ig_digest_by_name(digest)) == 0)
        return "digest";
    if (format->digest == INGOT_DIGEST_BLAKE3_KEYED &&
        (!take_line(&cursor, "key-check", key_check, sizeof key_check) ||
         !take_hex(key_check, format->key_check, sizeof format->key_check)))
        return "key-check";
    if (!take_number(&cursor, "large-min", &large_min))
        return "large-min";
    if (!take_number(&cursor, "segment-size", &segment_size))
        return "segment-size";
    if (!take_number(&cursor, "log-align", &log_align) || (uint64_t)log_align != IG_LOG_ALIGN)
        return "log-align";
    if (!take_number(&cursor, "created", &format->created_ms))
        return "created";
    format->large_min = (uint64_t)large_min;
    format->segment_size = (uint64_t)segment_size;
    return NULL;
}

ingot_status ig_format_parse(const char *text, size_t len, const char *path,
                             struct ig_format *ret_format, ingot_error *err) {
    char value[80], sum[INGOT_ID_HEX + 1];
    const char *cursor = text;
    if (!take_line(&cursor, "ingot", value, sizeof value) || strcmp(value, "store") != 0)
        return ig_fail(err, INGOT_CORRUPT, "%s does not start with 'ingot store'", path);
    int64_t version;
    if (!take_number(&cursor, "format", &version))
        return ig_fail(err, INGOT_CORRUPT, "%s is damaged or truncated: no format line", path);
    if (version != INGOT_FORMAT_VERSION)
        return ig_fail(err, INGOT_UNSUPPORTED,
                       "%s says format %" PRId64 ", this is ingot %s for format %d", path, version,
                       INGOT_VERSION_STRING, INGOT_FORMAT_VERSION);
    const char *last = strstr(text, "\nchecksum ");
    if (last == NULL || strlen(text) != len)
        return ig_fail(err, INGOT_CORRUPT, "%s is damaged or truncated: no checksum line", path);
    const char *sum_line = last + 1;
    checksum(text, (size_t)(sum_line - text), sum);
    if (!take_line(&sum_line, "checksum", value, sizeof value) || strcmp(value, sum) != 0 ||
        *sum_line != '\0')
        return ig_fail(err, INGOT_CORRUPT, "%s is damaged: its checksum differs", path);
    struct ig_format format = {.created_ms = 0};
    const char *wrong = parse_lines(cursor, &format);
    if (wrong != NULL)
        return ig_fail(err, INGOT_CORRUPT, "%s: line '%s' is missing or wrong", path, wrong);
    /* There is one way to write each value. */
    char again[IG_FORMAT_MAX];
    if (ig_format_print(&format, again) != len || memcmp(again, text, len) != 0)
        return ig_fail(err, INGOT_CORRUPT, "%s: a line is not written as it should be", path);
    const char *out_of_range = ig_format_check(&format);
    if (out_of_range != NULL)
        return ig_fail(err, INGOT_CORRUPT, "%s: %s", path, out_of_range);
    *ret_format = format;
    return INGOT_OK;
}
