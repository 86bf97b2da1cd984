/* Little-endian fields, alignment and hex: the only byte codec of the project. */
#ifndef IG_BYTES_H
#define IG_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void ig_put16(uint8_t *p, uint16_t v) {
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}
static inline void ig_put32(uint8_t *p, uint32_t v) {
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}
static inline void ig_put64(uint8_t *p, uint64_t v) {
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}
static inline uint16_t ig_get16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}
static inline uint32_t ig_get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}
static inline uint64_t ig_get64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* `to` is a power of two. */
static inline uint64_t ig_align_up(uint64_t v, uint64_t to) { return (v + to - 1) & ~(to - 1); }

/* Writes 2 * len lower-case digits and a NUL. */
void ig_hex(const uint8_t *bytes, size_t len, char *ret_hex);
/* The value of one hex digit of either case, or -1. */
int ig_hex_digit(char c);

#endif
