/*
 * wire.h - a wire between two hosts whose every segment passes through our hands: it can record,
 * drop, hold (and so delay or double) and inject.
 *
 * Each host has a TUN interface; segments move in stage_wait() and stage_until(). All that passes
 * is drawn in the story's figure. Times are those of the stage. IPv4 alone; what is not TCP passes
 * unless the wire is cut, and no rule concerns it.
 *
 * As everywhere on a stage, nothing here fails but by ending it (stage_broken()).
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "stage.h"

/* The name of the interface of either host. */
#define WIRE_INTERFACE "wire0"

/* TCP's flags, as in <netinet/tcp.h> (TH_FIN ..), and what the filters add. */
#define SEGMENT_DATA 0x100 /* has data */
#define SEGMENT_PURE 0x200 /* an ACK without data, SYN, FIN and RST */

#define SEGMENT_BYTES_MAX 2048

/* Until it is sent again, the fields up to `window` count and may be changed; the bytes follow them
 * then, with their checksums. Data is changed in `bytes`, its length and the options not at all. */
struct segment {
    bool to_right;
    unsigned flags; /* TH_* and SEGMENT_* */
    uint16_t source_port, destination_port;
    uint32_t seq, ack;
    uint32_t ts_value, ts_echo; /* 0: no timestamps */
    uint16_t window;
    uint16_t data_len;
    uint16_t len; /* of the whole IP packet */
    uint8_t bytes[SEGMENT_BYTES_MAX];
};

enum wire_fate {
    WIRE_PASS,
    WIRE_DROP,
    WIRE_HOLD, /* kept until wire_release() */
    WIRE_COPY, /* passes, and a copy is kept as if it were held */
};

/* From now on the next `count` segments (0: all) in this direction that have all of these flags (0:
 * whatever flags) meet this fate. Rules are tried in the order in which they were made. */
void wire_rule(struct wire *wire, bool to_right, unsigned flags, unsigned count,
               enum wire_fate fate);
void wire_clear(struct wire *wire); /* forgets all rules; what is held stays held */

/* Cuts both directions, or joins them again. What is sent meanwhile is lost and meets no rule. */
void wire_cut(struct wire *wire, bool cut);

/* Delivers the oldest `count` held segments (0: all), whatever the rules and also when the wire is
 * cut; returns how many there were. */
unsigned wire_release(struct wire *wire, unsigned count);

/* The held segment at `index` (0: the oldest), to be looked at or changed before it is released;
 * NULL: none. */
struct segment *wire_held(struct wire *wire, unsigned index);

/* The last segment with these flags that passed or was released in this direction, among the last
 * 64 of both; false: none. What was injected does not count. */
bool wire_last(const struct wire *wire, bool to_right, unsigned flags, struct segment *out);

/* Delivers a segment as if it came from the other host, whatever the rules and also when the wire
 * is cut. Checksums are computed here. */
void wire_inject(struct wire *wire, struct segment *segment);

/* A segment with these fields between the endpoints of `like` (same direction), without options but
 * the timestamps of `like` when its ts_value is not 0. `data` (NULL: none) is cut to what one
 * segment holds. */
struct segment segment_make(const struct segment *like, unsigned flags, uint32_t seq, uint32_t ack,
                            const char *data);

/* Writes all that reaches the other host to a pcap file from now on (LINKTYPE_RAW). The descriptor
 * stays the caller's and must outlive the wire. Returns 0 or -errno. */
int wire_pcap(struct wire *wire, int fd);

#endif
