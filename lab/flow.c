/* What a segment says, with its numbers counted from the SYN of its direction. */
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "segment.h"

#define ADDRESSES 12 /* of source and destination in the IP header */

/* Whose numbers a segment's `seq` are: 0 the left end's, 1 the right end's. */
static unsigned sender(const struct segment *segment)
{
    return segment->to_right ? 0 : 1;
}

static bool is_flow_of(const struct flow *flow, const struct segment *segment)
{
    unsigned from = sender(segment), to = !from;

    return flow->port[from] == segment->source_port &&
           flow->port[to] == segment->destination_port &&
           memcmp(flow->address[from], segment->bytes + ADDRESSES, 4) == 0 &&
           memcmp(flow->address[to], segment->bytes + ADDRESSES + 4, 4) == 0;
}

/* The index of its flow, or -1. */
static int find(const struct flows *flows, const struct segment *segment)
{
    for (unsigned i = 0; i < FLOWS_MAX && i < flows->count; i++)
        if (is_flow_of(&flows->flow[i], segment))
            return (int)i;
    return -1;
}

static struct flow *add(struct flows *flows, const struct segment *segment)
{
    struct flow *flow = &flows->flow[flows->count++ % FLOWS_MAX];
    unsigned from = sender(segment), to = !from;

    *flow = (struct flow){0};
    flow->port[from] = segment->source_port;
    flow->port[to] = segment->destination_port;
    memcpy(flow->address[from], segment->bytes + ADDRESSES, 4);
    memcpy(flow->address[to], segment->bytes + ADDRESSES + 4, 4);
    return flow;
}

void flows_learn(struct flows *flows, const struct segment *segment)
{
    unsigned from = sender(segment);
    struct flow *flow;
    int index;

    if (!(segment->flags & TH_SYN))
        return;
    index = find(flows, segment);
    flow = index < 0 ? add(flows, segment) : &flows->flow[index];
    if (flow->now[from].known && flow->now[from].isn == segment->seq)
        return; /* sent again */
    flow->before[from] = flow->now[from];
    flow->now[from] = (struct flow_origin){.known = true, .isn = segment->seq};
}

/* A number counted from its origin. Numbers of the connection before lie below those of this one:
 * the kernel makes sure of that for the same endpoints. */
static int64_t count_from(const struct flow *flow, unsigned end, uint32_t number, bool *earlier)
{
    const struct flow_origin *now = &flow->now[end], *before = &flow->before[end];

    if (!now->known)
        return number;
    if ((int32_t)(number - now->isn) < 0 && before->known && (int32_t)(number - before->isn) >= 0) {
        *earlier = true;
        now = before;
    }
    return (int32_t)(number - now->isn);
}

static const char *name_of(unsigned flags)
{
    bool ack = flags & TH_ACK;

    if (flags & TH_RST)
        return ack ? "RST,ACK" : "RST";
    if (flags & TH_SYN)
        return ack ? "SYN,ACK" : "SYN";
    if (flags & TH_FIN)
        return ack ? "FIN,ACK" : "FIN";
    return ack ? "ACK" : "no flags";
}

const char *flows_text(const struct flows *flows, const struct segment *segment, char *buf,
                       size_t size)
{
    static const struct flow unknown;
    unsigned from = sender(segment), flags = segment->flags;
    int index = find(flows, segment);
    const struct flow *flow = index < 0 ? &unknown : &flows->flow[index];
    bool earlier = false, refusal = (flags & TH_RST) && segment->seq == 0;
    /* A reset that answers a SYN has no number of its own: RFC 9293, 3.5.2. */
    int64_t seq = refusal ? 0 : count_from(flow, from, segment->seq, &earlier);
    int64_t ack = flags & TH_ACK ? count_from(flow, !from, segment->ack, &earlier) : 0;
    const char *tail = earlier ? ", earlier connection" : "";

    if (segment->data_len)
        snprintf(buf, size, "%s%sdata %u bytes seq=%lld%s",
                 flags & (TH_SYN | TH_FIN | TH_RST) ? name_of(flags) : "",
                 flags & (TH_SYN | TH_FIN | TH_RST) ? " " : "", segment->data_len, (long long)seq,
                 tail);
    else if (flags & TH_ACK)
        snprintf(buf, size, "%s seq=%lld ack=%lld%s", name_of(flags), (long long)seq,
                 (long long)ack, tail);
    else
        snprintf(buf, size, "%s seq=%lld%s", name_of(flags), (long long)seq, tail);
    return buf;
}
