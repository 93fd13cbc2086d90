/*
 * fingerprint.h - 128 bits that tell outputs apart without keeping them: SipHash-2-4 with a key
 * that the hosts do not know, so that none can pretend to have written what another did.
 */
#ifndef FINGERPRINT_H
#define FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

struct fingerprint {
    uint64_t v[4];
    uint64_t total; /* bytes so far */
    unsigned char rest[8];
};

void fingerprint_begin(struct fingerprint *fingerprint, const uint64_t key[2]);
void fingerprint_add(struct fingerprint *fingerprint, const void *data, size_t len);
void fingerprint_end(const struct fingerprint *fingerprint, uint64_t out[2]);

#endif
