#include "segment.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#define IP_HEADER       20
#define TCP_HEADER      20
#define TIMESTAMPS      12 /* two NOPs and the option */
#define PACKET_MAX      1500
#define PROTOCOL_TCP    6
#define FRAGMENT        0x3fff /* more fragments, or not the first */
#define DO_NOT_FRAGMENT 0x40
#define HOPS            64

/* Offsets in the IP header, and in the TCP header. */
enum {
    AT_IP_LEN = 2,
    AT_IP_FRAGMENT = 6,
    AT_IP_HOPS = 8,
    AT_IP_PROTOCOL = 9,
    AT_IP_SUM = 10,
    AT_IP_SOURCE = 12
};
enum {
    AT_SOURCE,
    AT_TARGET = 2,
    AT_SEQ = 4,
    AT_ACK = 8,
    AT_SIZE = 12,
    AT_FLAGS,
    AT_WINDOW,
    AT_SUM = 16
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)(value >> 16));
    put16(at + 2, (uint16_t)value);
}

/* Where the parts of a packet begin. */
struct layout {
    size_t tcp, options, data, end;
};

static int find_layout(const uint8_t *bytes, size_t len, struct layout *out)
{
    size_t tcp, end, data;

    if (len < IP_HEADER || bytes[0] >> 4 != 4 || bytes[AT_IP_PROTOCOL] != PROTOCOL_TCP ||
        get16(bytes + AT_IP_FRAGMENT) & FRAGMENT)
        return -EBADMSG;
    tcp = (size_t)(bytes[0] & 0xf) * 4;
    end = get16(bytes + AT_IP_LEN);
    if (tcp < IP_HEADER || end > len || end > SEGMENT_BYTES_MAX || end < tcp + TCP_HEADER)
        return -EBADMSG;
    data = tcp + (size_t)(bytes[tcp + AT_SIZE] >> 4) * 4;
    if (data < tcp + TCP_HEADER || data > end)
        return -EBADMSG;
    *out = (struct layout){.tcp = tcp, .options = tcp + TCP_HEADER, .data = data, .end = end};
    return 0;
}

/* Where the value of the timestamps is, 0 without them. Like the kernel it stops at an option that
 * makes no sense. */
static size_t find_timestamps(const uint8_t *bytes, const struct layout *layout)
{
    size_t at = layout->options;

    while (at < layout->data && bytes[at] != TCPOPT_EOL) {
        if (bytes[at] == TCPOPT_NOP) {
            at++;
            continue;
        }
        if (layout->data - at < 2 || bytes[at + 1] < 2 || bytes[at + 1] > layout->data - at)
            break;
        if (bytes[at] == TCPOPT_TIMESTAMP && bytes[at + 1] == TCPOLEN_TIMESTAMP)
            return at + 2;
        at += bytes[at + 1];
    }
    return 0;
}

static unsigned with_kind(unsigned flags, size_t data_len)
{
    flags &= 0xff;
    if (data_len)
        return flags | SEGMENT_DATA;
    if ((flags & TH_ACK) && !(flags & (TH_SYN | TH_FIN | TH_RST)))
        return flags | SEGMENT_PURE;
    return flags;
}

int segment_parse(const uint8_t *bytes, size_t len, struct segment *out)
{
    struct layout layout;
    const uint8_t *tcp;
    size_t timestamps;

    if (find_layout(bytes, len, &layout))
        return -EBADMSG;
    tcp = bytes + layout.tcp;
    *out = (struct segment){
        .flags = with_kind(tcp[AT_FLAGS], layout.end - layout.data),
        .source_port = get16(tcp + AT_SOURCE),
        .destination_port = get16(tcp + AT_TARGET),
        .seq = get32(tcp + AT_SEQ),
        .ack = get32(tcp + AT_ACK),
        .window = get16(tcp + AT_WINDOW),
        .data_len = (uint16_t)(layout.end - layout.data),
        .len = (uint16_t)layout.end,
    };
    memcpy(out->bytes, bytes, layout.end);
    timestamps = find_timestamps(bytes, &layout);
    if (timestamps) {
        out->ts_value = get32(bytes + timestamps);
        out->ts_echo = get32(bytes + timestamps + 4);
    }
    return 0;
}

/* --- making ----------------------------------------------------------------------------------- */

static uint32_t add_up(uint32_t sum, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += get16(bytes + i);
    return len % 2 ? sum + (uint32_t)(bytes[len - 1] << 8) : sum;
}

static uint16_t complement(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put_checksums(uint8_t *bytes, const struct layout *layout)
{
    size_t tcp_len = layout->end - layout->tcp;
    uint8_t *tcp = bytes + layout->tcp;
    uint32_t pseudo = add_up(0, bytes + AT_IP_SOURCE, 8) + PROTOCOL_TCP + (uint32_t)tcp_len;

    put16(bytes + AT_IP_SUM, 0);
    put16(bytes + AT_IP_SUM, complement(add_up(0, bytes, layout->tcp)));
    put16(tcp + AT_SUM, 0);
    put16(tcp + AT_SUM, complement(add_up(pseudo, tcp, tcp_len)));
}

int segment_seal(struct segment *segment)
{
    uint8_t *bytes = segment->bytes;
    struct layout layout;
    size_t timestamps;
    uint8_t *tcp;

    if (segment->len > sizeof(segment->bytes) || find_layout(bytes, segment->len, &layout))
        return -EBADMSG;
    tcp = bytes + layout.tcp;
    put16(tcp + AT_SOURCE, segment->source_port);
    put16(tcp + AT_TARGET, segment->destination_port);
    put32(tcp + AT_SEQ, segment->seq);
    put32(tcp + AT_ACK, segment->ack);
    tcp[AT_FLAGS] = (uint8_t)segment->flags;
    put16(tcp + AT_WINDOW, segment->window);
    timestamps = find_timestamps(bytes, &layout);
    if (timestamps) {
        put32(bytes + timestamps, segment->ts_value);
        put32(bytes + timestamps + 4, segment->ts_echo);
    }
    segment->len = (uint16_t)layout.end;
    segment->data_len = (uint16_t)(layout.end - layout.data);
    segment->flags = with_kind(segment->flags, segment->data_len);
    put_checksums(bytes, &layout);
    return 0;
}

struct segment segment_make(const struct segment *like, unsigned flags, uint32_t seq, uint32_t ack,
                            const char *data)
{
    size_t options = like->ts_value ? TIMESTAMPS : 0;
    size_t head = IP_HEADER + TCP_HEADER + options;
    size_t data_len = data ? strnlen(data, PACKET_MAX - head) : 0;
    struct segment made = *like;
    uint8_t *tcp = made.bytes + IP_HEADER;

    memset(made.bytes, 0, sizeof(made.bytes));
    made.flags = flags;
    made.seq = seq;
    made.ack = ack;
    made.ts_echo = options ? like->ts_echo : 0;
    made.len = (uint16_t)(head + data_len);
    made.bytes[0] = 4 << 4 | IP_HEADER / 4;
    put16(made.bytes + AT_IP_LEN, made.len);
    made.bytes[AT_IP_FRAGMENT] = DO_NOT_FRAGMENT;
    made.bytes[AT_IP_HOPS] = HOPS;
    made.bytes[AT_IP_PROTOCOL] = PROTOCOL_TCP;
    memcpy(made.bytes + AT_IP_SOURCE, like->bytes + AT_IP_SOURCE, 8);
    tcp[AT_SIZE] = (uint8_t)((TCP_HEADER + options) / 4 << 4);
    if (options) {
        memset(tcp + TCP_HEADER, TCPOPT_NOP, 2);
        tcp[TCP_HEADER + 2] = TCPOPT_TIMESTAMP;
        tcp[TCP_HEADER + 3] = TCPOLEN_TIMESTAMP;
    }
    if (data_len)
        memcpy(made.bytes + head, data, data_len);
    segment_seal(&made); /* cannot fail: the bytes are ours */
    return made;
}
