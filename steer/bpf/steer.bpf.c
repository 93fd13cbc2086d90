/*
 * Chooses the source ports of the processes in one cgroup, from within the kernel: at connect() of
 * a TCP socket that has no port it takes the next port of the ring whose tuple is free and binds to
 * it, with SO_REUSEADDR. At bind() it sets SO_REUSEADDR or puts another address in place.
 *
 * A connect() that the kernel refuses cannot be tried again from here, and a port that was bound
 * cannot be given back. So the tuple is looked up first: the kernel refuses one that exists, but
 * for a TIME_WAIT with timestamps, which it takes over.
 *
 * One cursor for all lanes, not one each: a socket bound with SO_REUSEADDR shares its port with
 * those to other destinations, and the look decides about each tuple anyway.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "steer_bpf.h"

#define AF_INET      2
#define AF_INET6     10
#define SOCK_STREAM  1
#define SOL_SOCKET   1
#define SO_REUSEADDR 2
#define EADDRINUSE   98

/* Ports that somebody else has bound without SO_REUSEADDR: a bind is tried, and costs more than a
 * look. After so many the kernel chooses. */
#define BINDS_MAX 64

/* A connection that we have just closed keeps its tuple until the peer's ACK has come, and a short
 * ring may be gone through before. Nobody can sleep here, so it is gone through again, for 7 ms at
 * most: a look takes 55 ns. A range that is really full costs one round. */
#define LOOKS_MAX 131072

#define MAPPED(v4)      (0xffff00000000ULL | bpf_ntohl(v4))
#define MAPPED_LOOPBACK 0xffff7f000001ULL

#define KERNEL __attribute__((preserve_access_index))
struct inet_timewait_sock {
    volatile unsigned char tw_substate;
} KERNEL;
struct tcp_timewait_sock {
    struct inet_timewait_sock tw_sk;
    int tw_ts_recent_stamp;
} KERNEL;

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct steer_shared);
} shared SEC(".maps");

/* By destination, the source address that the kernel takes for it. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct steer_address);
    __type(value, struct steer_address);
} sources SEC(".maps");

/* What a call asks for. Without pointers: functions that are not static may take it. */
struct wish {
    struct steer_address address; /* connect: the destination; bind: the wanted one */
    struct steer_address source;  /* connect: what the socket is bound to, or will be */
    __u32 index;                  /* of the rule; asked: STEER_RULES */
    __u16 port;                   /* the one of `address` */
    __u8 protocol;
    __u8 direction;
    __u8 v6; /* the socket's family */
};

/* A search for a port. */
struct call {
    struct bpf_sock_addr *context;
    struct steer_shared *shared;
    struct steer_rule *rule;
    struct wish wish;
    __u32 binds;  /* tries */
    __u32 source; /* enum source */
    __u16 tried;  /* by the loop over our addresses; 0: taken */
    __u16 taken;  /* the port that the socket is bound to now; 0: none */
    __u8 in_need; /* no better one is left: FIN_WAIT2 will do */
    __u8 closing; /* a tuple was met that will be free soon */
    __u8 over;    /* its tuple is in TIME_WAIT */
};

static struct steer_shared *get_shared(void)
{
    __u32 zero = 0;

    return bpf_map_lookup_elem(&shared, &zero);
}

static void count(struct steer_shared *shared, __u32 counter)
{
    __sync_fetch_and_add(&shared->counters[counter], 1);
}

static int is_zero(const struct steer_address *address)
{
    return !address->high && (!address->low || address->low == MAPPED(0));
}

static int is_mapped(const struct steer_address *address)
{
    return !address->high && address->low >> 32 == 0xffff;
}

static int at_most(const struct steer_address *a, const struct steer_address *b)
{
    return a->high < b->high || (a->high == b->high && a->low <= b->low);
}

/* From a context: four words, each of which has to be read by itself. */
static __always_inline void read_words(struct steer_address *to, const volatile __u32 *words)
{
    to->high = (__u64)bpf_ntohl(words[0]) << 32;
    to->high |= bpf_ntohl(words[1]);
    to->low = (__u64)bpf_ntohl(words[2]) << 32;
    to->low |= bpf_ntohl(words[3]);
}

/* --- rules ------------------------------------------------------------------------------------ */

static int fits(const struct steer_rule *rule, const struct wish *wish)
{
    if (!(rule->direction & wish->direction))
        return 0;
    if (rule->protocol && rule->protocol != wish->protocol)
        return 0;
    if (rule->port_first | rule->port_last &&
        (wish->port < rule->port_first || wish->port > rule->port_last))
        return 0;
    if (!rule->family)
        return 1;
    return (rule->family == AF_INET) == is_mapped(&wish->address) &&
           at_most(&rule->first, &wish->address) && at_most(&wish->address, &rule->last);
}

static long look_at_rule(__u32 index, struct wish *wish)
{
    struct steer_shared *shared = get_shared();

    if (!shared || !fits(&shared->rules[index % STEER_RULES], wish))
        return 0;
    wish->index = index;
    return 1;
}

/* The first rule that fits decides; -1: nothing is to be done. It and others are not static: so the
 * verifier follows them once, and not for each way that leads to them (0.7 s at the start). */
__noinline int find_rule(const struct wish *wish)
{
    struct steer_shared *shared = get_shared();
    struct wish copy; /* a loop takes what is on its own stack alone */

    if (!shared || !wish)
        return -1;
    copy = *wish;
    copy.index = STEER_RULES;
    bpf_loop(shared->rule_count, look_at_rule, &copy, 0);
    if (copy.index >= STEER_RULES || shared->rules[copy.index].leave)
        return -1;
    return (int)copy.index;
}

/* --- is the tuple free? ----------------------------------------------------------------------- */

struct tuple {
    struct steer_address to, from;
    __u16 to_port, from_port;
};

enum look { LOOK_FREE, LOOK_TIME_WAIT, LOOK_FIN_WAIT2, LOOK_CLOSING, LOOK_TAKEN };

static void put_address(__be32 words[4], const struct steer_address *address)
{
    words[0] = bpf_htonl(address->high >> 32);
    words[1] = bpf_htonl((__u32)address->high);
    words[2] = bpf_htonl(address->low >> 32);
    words[3] = bpf_htonl((__u32)address->low);
}

static struct bpf_sock *look_up(struct bpf_sock_addr *context, const struct tuple *tuple)
{
    struct bpf_sock_tuple key = {};

    if (is_mapped(&tuple->to)) {
        key.ipv4.saddr = bpf_htonl((__u32)tuple->to.low);
        key.ipv4.daddr = bpf_htonl((__u32)tuple->from.low);
        key.ipv4.sport = bpf_htons(tuple->to_port);
        key.ipv4.dport = bpf_htons(tuple->from_port);
        return bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv4), BPF_F_CURRENT_NETNS, 0);
    }
    put_address(key.ipv6.saddr, &tuple->to);
    put_address(key.ipv6.daddr, &tuple->from);
    key.ipv6.sport = bpf_htons(tuple->to_port);
    key.ipv6.dport = bpf_htons(tuple->from_port);
    return bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/*
 * What is known of a tuple. Of those that the kernel would take over: LOOK_TIME_WAIT, and
 * LOOK_FIN_WAIT2, without an owner. LOOK_CLOSING: it will be free soon. A listener is LOOK_TAKEN.
 */
__noinline int look(struct bpf_sock_addr *context, const struct tuple *tuple)
{
    struct tcp_timewait_sock *waiting;
    struct bpf_sock *found;
    int rc = LOOK_TAKEN;
    __u32 state;

    if (!tuple)
        return LOOK_TAKEN;
    if (!(found = look_up(context, tuple)))
        return LOOK_FREE;
    state = found->state;
    waiting = bpf_skc_to_tcp_timewait_sock(found);
    if (waiting && waiting->tw_ts_recent_stamp)
        rc = waiting->tw_sk.tw_substate == BPF_TCP_TIME_WAIT ? LOOK_TIME_WAIT : LOOK_FIN_WAIT2;
    else if (state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK)
        rc = LOOK_CLOSING;
    bpf_sk_release(found);
    return rc;
}

/*
 * Whether connect() would get it, as far as can be seen. In a FIN_WAIT2 the peer has not closed
 * yet: it would reset its old connection, and the new one start a second later.
 */
static int is_free(struct call *call, const struct steer_address *source, __u16 port)
{
    struct tuple tuple = {call->wish.address, *source, call->wish.port, port};
    int seen = look(call->context, &tuple);

    call->closing |= seen == LOOK_CLOSING || seen == LOOK_FIN_WAIT2;
    call->over = seen == LOOK_TIME_WAIT || seen == LOOK_FIN_WAIT2;
    return seen == LOOK_FREE || seen == LOOK_TIME_WAIT || (seen == LOOK_FIN_WAIT2 && call->in_need);
}

static long look_at_local(__u32 index, struct call *call)
{
    struct steer_address local = call->shared->locals[index % STEER_LOCALS];

    if (is_mapped(&local) != is_mapped(&call->wish.address) || is_free(call, &local, call->tried))
        return 0;
    call->tried = 0;
    return 1;
}

/* Of a destination that was never met the source is not known: it may be any address of ours. */
static int is_free_of_all(struct call *call, __u16 port)
{
    call->tried = port;
    bpf_loop(call->shared->local_count, look_at_local, call, 0);
    return call->tried != 0;
}

/* --- connect ---------------------------------------------------------------------------------- */

enum source { SOURCE_UNKNOWN, SOURCE_SEEN, SOURCE_GIVEN };

static int bind_to(const struct call *call, __u16 port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = bpf_htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = bpf_htons(port)};
    int given = call->source == SOURCE_GIVEN;

    if (!call->wish.v6) {
        if (given)
            in.sin_addr.s_addr = bpf_htonl((__u32)call->wish.source.low);
        return bpf_bind(call->context, (struct sockaddr *)&in, sizeof(in));
    }
    if (given) {
        put_address(in6.sin6_addr.in6_u.u6_addr32, &call->wish.source);
        in6.sin6_scope_id = call->context->sk->bound_dev_if;
    }
    return bpf_bind(call->context, (struct sockaddr *)&in6, sizeof(in6));
}

/* The next port of the ring; a loop ends with 1. */
static long try_port(__u32 index, struct call *call)
{
    struct steer_shared *shared = call->shared;
    __u32 place = __sync_fetch_and_add(&shared->cursor, 1);
    __u16 port;
    int rc;

    if (!shared->port_count)
        return 1;
    if (index && index % shared->port_count == 0) {
        if (call->in_need)
            return 1;
        call->in_need = !call->closing || index >= LOOKS_MAX;
        call->closing = 0;
    }
    port = shared->ports[place % shared->port_count & (STEER_PORTS - 1)];
    if (call->rule->source_last &&
        (port < call->rule->source_first || port > call->rule->source_last))
        return 0;
    /* With the same port and address at both ends a socket connects to itself. */
    if (port == call->wish.port ||
        !(call->source == SOURCE_UNKNOWN ? is_free_of_all(call, port)
                                         : is_free(call, &call->wish.source, port))) {
        count(shared, SHIM_PORT_TRIES);
        return 0;
    }
    if ((rc = bind_to(call, port)) == 0) {
        call->taken = port;
        return 1;
    }
    count(shared, SHIM_PORT_TRIES);
    return rc != -EADDRINUSE || ++call->binds >= BINDS_MAX;
}

/* Which source address it will be: of the socket, of the rule, or the one that was seen last. */
__noinline int choose_source(struct wish *wish)
{
    struct steer_shared *shared = get_shared();
    struct steer_address *seen, to;
    struct steer_rule *rule;
    __u32 turn;

    if (!shared || !wish)
        return SOURCE_UNKNOWN;
    rule = &shared->rules[wish->index % STEER_RULES];
    if (!is_zero(&wish->source))
        return SOURCE_GIVEN;
    if (rule->from_count && is_mapped(&rule->from) == is_mapped(&wish->address)) {
        turn = __sync_fetch_and_add(&shared->turns[wish->index % STEER_RULES], 1);
        wish->source = rule->from;
        wish->source.low += turn % rule->from_count;
        return SOURCE_GIVEN;
    }
    to = wish->address;
    if (!(seen = bpf_map_lookup_elem(&sources, &to)))
        return SOURCE_UNKNOWN;
    wish->source = *seen;
    return SOURCE_SEEN;
}

static int set_reuseaddr(struct bpf_sock_addr *context)
{
    int on = 1;

    return bpf_setsockopt(context, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

/* Binds the socket to a port, if there is one. */
__noinline int take_port(struct bpf_sock_addr *context, const struct wish *wish)
{
    struct call call = {.context = context, .shared = get_shared()};

    if (!call.shared || !wish)
        return 0;
    call.wish = *wish;
    call.rule = &call.shared->rules[call.wish.index % STEER_RULES];
    call.source = choose_source(&call.wish);
    set_reuseaddr(context);
    bpf_loop(LOOKS_MAX + 2 * call.shared->port_count, try_port, &call, 0);
    if (!call.taken)
        return 0;
    call.shared->used[call.taken] = 1;
    count(call.shared, SHIM_MANAGED);
    if (call.over)
        count(call.shared, SHIM_TAKEN_OVER);
    return 0;
}

static int steer_connect(struct bpf_sock_addr *context, struct wish *wish)
{
    struct steer_shared *shared = get_shared();
    int index;

    if (!shared || context->type != SOCK_STREAM || context->protocol != IPPROTO_TCP)
        return 1;
    if (shared->trial) {
        set_reuseaddr(context);
        return 0;
    }
    /* The kernel goes to itself then. */
    if (is_zero(&wish->address))
        wish->address.low = wish->address.low ? MAPPED_LOOPBACK : 1;
    wish->port = bpf_ntohs(context->user_port);
    wish->protocol = IPPROTO_TCP;
    wish->direction = RULE_OUT;
    if ((index = find_rule(wish)) < 0)
        return 1;
    count(shared, SHIM_CONNECTS);
    wish->index = (__u32)index % STEER_RULES;
    if (shared->rules[wish->index].managed && !context->sk->src_port)
        take_port(context, wish);
    return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *context)
{
    struct wish wish = {};

    wish.address.low = MAPPED(context->user_ip4);
    wish.source.low = MAPPED(context->sk->src_ip4);
    return steer_connect(context, &wish);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *context)
{
    struct wish wish = {.v6 = 1};
    struct bpf_sock *sk = context->sk;

    read_words(&wish.address, context->user_ip6);
    read_words(&wish.source, sk->src_ip6);
    return steer_connect(context, &wish);
}

/* --- bind ------------------------------------------------------------------------------------- */

/* Port 0 is left alone: the kernel's choice is free as it is. */
static struct steer_rule *rule_of_bind(struct bpf_sock_addr *context, struct wish *wish)
{
    struct steer_shared *shared = get_shared();
    struct steer_rule *rule;
    int index;

    if (!shared || !context->user_port)
        return 0;
    wish->port = bpf_ntohs(context->user_port);
    wish->protocol = context->protocol;
    wish->direction = RULE_IN;
    if ((index = find_rule(wish)) < 0)
        return 0;
    rule = &shared->rules[(__u32)index % STEER_RULES];
    count(shared, SHIM_BINDS);
    if (rule->reuseaddr && context->protocol == IPPROTO_TCP)
        set_reuseaddr(context);
    if (rule->listen_port)
        context->user_port = bpf_htons(rule->listen_port);
    return rule;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *context)
{
    struct wish wish = {};
    struct steer_rule *rule;

    wish.address.low = MAPPED(context->user_ip4);
    rule = rule_of_bind(context, &wish);
    if (rule && rule->has_listen && is_mapped(&rule->listen))
        context->user_ip4 = bpf_htonl((__u32)rule->listen.low);
    return 1;
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *context)
{
    struct wish wish = {};
    struct steer_rule *rule;

    read_words(&wish.address, context->user_ip6);
    rule = rule_of_bind(context, &wish);
    if (rule && rule->has_listen) {
        context->user_ip6[0] = bpf_htonl(rule->listen.high >> 32);
        context->user_ip6[1] = bpf_htonl((__u32)rule->listen.high);
        context->user_ip6[2] = bpf_htonl(rule->listen.low >> 32);
        context->user_ip6[3] = bpf_htonl((__u32)rule->listen.low);
    }
    return 1;
}

/* --- what becomes of them --------------------------------------------------------------------- */

static void learn_source(struct bpf_sock_ops *ops)
{
    struct steer_address to = {}, from = {}, *seen;

    if (ops->family == AF_INET) {
        to.low = MAPPED(ops->remote_ip4);
        from.low = MAPPED(ops->local_ip4);
    } else {
        read_words(&to, ops->remote_ip6);
        read_words(&from, ops->local_ip6);
    }
    seen = bpf_map_lookup_elem(&sources, &to);
    if (!seen || seen->high != from.high || seen->low != from.low)
        bpf_map_update_elem(&sources, &to, &from, BPF_ANY);
}

static void watch_end(struct steer_shared *shared, __u32 before, __u32 now)
{
    if (before != BPF_TCP_ESTABLISHED)
        return;
    if (now == BPF_TCP_FIN_WAIT1)
        count(shared, SHIM_CLOSED_BY_US);
    else if (now == BPF_TCP_CLOSE_WAIT)
        count(shared, SHIM_CLOSED_BY_PEER);
    else if (now == BPF_TCP_CLOSE)
        count(shared, SHIM_CLOSED_BEFORE);
}

SEC("sockops")
int watch(struct bpf_sock_ops *ops)
{
    struct steer_shared *shared = get_shared();

    if (!shared)
        return 1;
    if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
        learn_source(ops);
    else if (ops->op == BPF_SOCK_OPS_STATE_CB)
        watch_end(shared, ops->args[0], ops->args[1]);
    else if (ops->op == BPF_SOCK_OPS_TCP_LISTEN_CB)
        count(shared, SHIM_LISTENS);
    if (shared->watch_closes &&
        (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB || ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB))
        bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG);
    return 1;
}
