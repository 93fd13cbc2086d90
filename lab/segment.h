/*
 * segment.h - IPv4 packets with TCP in them: bytes to fields, fields to bytes, and in words.
 *
 * Pure code.
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include <stddef.h>

#include "wire.h"

/* Returns 0, or -EBADMSG when it is not one whole IPv4 packet with TCP. `to_right` is false: bytes
 * do not tell. *out is written on success alone. */
int segment_parse(const uint8_t *bytes, size_t len, struct segment *out);

/* Writes the fields to the bytes and computes the checksums. Returns 0, or -EBADMSG when the bytes
 * are no longer a segment. */
int segment_seal(struct segment *segment);

/* Where the numbers of one direction of a connection begin. */
struct flow_origin {
    bool known;
    uint32_t isn;
};

/* One pair of endpoints. Index 0 is the left end and the numbers that it sends. `before` belongs to
 * the connection that had these endpoints earlier. */
struct flow {
    uint8_t address[2][4];
    uint16_t port[2];
    struct flow_origin now[2], before[2];
};

#define FLOWS_MAX 64

/* Beyond the room the oldest makes way. */
struct flows {
    struct flow flow[FLOWS_MAX];
    unsigned count; /* of all that there ever were */
};

/* Learns the initial sequence number from a SYN that a host really sent. */
void flows_learn(struct flows *flows, const struct segment *segment);

/* "SYN seq=0", "FIN,ACK seq=101 ack=51", "data 100 bytes seq=1", with ", earlier connection" when
 * the numbers are those of the former connection of the same endpoints. Of directions whose SYN was
 * not seen the numbers are as they stand in the segment. Returns buf. */
const char *flows_text(const struct flows *flows, const struct segment *segment, char *buf,
                       size_t size);

#endif
