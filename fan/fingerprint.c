#include "fingerprint.h"

#include <string.h>

static uint64_t turn(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    for (; rounds > 0; rounds--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = turn(v[1], 13) ^ v[0];
        v[3] = turn(v[3], 16) ^ v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = turn(v[1], 17) ^ v[2];
        v[3] = turn(v[3], 21) ^ v[0];
        v[2] = turn(v[2], 32);
    }
}

static uint64_t word_of(const unsigned char *bytes)
{
    uint64_t word = 0;

    for (int i = 7; i >= 0; i--)
        word = word << 8 | bytes[i];
    return word;
}

static void take(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
}

void fingerprint_begin(struct fingerprint *fingerprint, const uint64_t key[2])
{
    *fingerprint = (struct fingerprint){.v = {
                                            key[0] ^ 0x736f6d6570736575,
                                            key[1] ^ 0x646f72616e646f6d ^ 0xee,
                                            key[0] ^ 0x6c7967656e657261,
                                            key[1] ^ 0x7465646279746573,
                                        }};
}

void fingerprint_add(struct fingerprint *fingerprint, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    size_t held = fingerprint->total % 8;

    fingerprint->total += len;
    while (held && held < 8 && len) {
        fingerprint->rest[held++] = *bytes++;
        len--;
        if (held == 8)
            take(fingerprint->v, word_of(fingerprint->rest));
    }
    if (held && held < 8)
        return;
    for (; len >= 8; bytes += 8, len -= 8)
        take(fingerprint->v, word_of(bytes));
    memcpy(fingerprint->rest, bytes, len);
}

void fingerprint_end(const struct fingerprint *fingerprint, uint64_t out[2])
{
    struct fingerprint copy = *fingerprint;
    size_t held = copy.total % 8;

    memset(copy.rest + held, 0, 8 - held);
    take(copy.v, word_of(copy.rest) | copy.total << 56);
    copy.v[2] ^= 0xee;
    mix(copy.v, 4);
    out[0] = copy.v[0] ^ copy.v[1] ^ copy.v[2] ^ copy.v[3];
    copy.v[1] ^= 0xdd;
    mix(copy.v, 4);
    out[1] = copy.v[0] ^ copy.v[1] ^ copy.v[2] ^ copy.v[3];
}
