#include "plan_ask.h"

#include <errno.h>
#include <string.h>

#include "tidewait/address.h"
#include "tidewait/socket_row.h"

/* As many addresses or endpoints as --from and --to may stand for. */
#define ENDS_MAX 1000000000

/* The two arguments of a %.*s that quotes a view. */
#define QUOTE(view) (int)((view).len < 60 ? (view).len : 60), (view).data

/* Pieces of a list that are compared with one another. */
#define PIECES_MAX 64

/* What one of --from and --to says. */
struct ends {
    const char *option;
    const char *text;
    uint64_t count;
    int family; /* AF_UNSPEC of a mere number */
    bool loopback;
    struct tw_listen_range pieces[PIECES_MAX];
    size_t piece_count;
};

/* By address; both are of one family. */
static int compare(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return a->sa.sa_family == AF_INET6
               ? memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr))
               : memcmp(&a->v4.sin_addr, &b->v4.sin_addr, sizeof(a->v4.sin_addr));
}

static bool overlap(const struct tw_listen_range *a, const struct tw_listen_range *b)
{
    struct tw_endpoint a_last = tw_address_range_at(&a->addresses, a->addresses.count - 1);
    struct tw_endpoint b_last = tw_address_range_at(&b->addresses, b->addresses.count - 1);

    return compare(&a->addresses.first, &b_last) <= 0 &&
           compare(&b->addresses.first, &a_last) <= 0 && a->ports.first <= b->ports.last &&
           b->ports.first <= a->ports.last;
}

static int add_piece(struct ends *ends, const struct tw_listen_range *piece, struct tw_error *error)
{
    struct tw_endpoint last = tw_address_range_at(&piece->addresses, piece->addresses.count - 1);
    int family = piece->addresses.first.sa.sa_family;

    if (tw_endpoint_is_wildcard(&piece->addresses.first))
        return tw_error_set(error, EINVAL, "--%s '%.80s': a wildcard is no address", ends->option,
                            ends->text);
    if (ends->family && ends->family != family)
        return tw_error_set(error, EINVAL, "--%s '%.80s' has IPv4 and IPv6 addresses: ask for each",
                            ends->option, ends->text);
    if (ends->piece_count == PIECES_MAX)
        return tw_error_set(error, EINVAL, "--%s has more than %d pieces", ends->option,
                            PIECES_MAX);
    for (size_t i = 0; i < ends->piece_count; i++)
        if (overlap(&ends->pieces[i], piece))
            return tw_error_set(error, EINVAL, "--%s '%.80s' names something twice", ends->option,
                                ends->text);
    ends->loopback = (ends->loopback || ends->piece_count == 0) &&
                     tw_endpoint_is_loopback(&piece->addresses.first) &&
                     tw_endpoint_is_loopback(&last);
    ends->family = family;
    ends->pieces[ends->piece_count++] = *piece;
    ends->count +=
        (uint64_t)piece->addresses.count * (uint64_t)(piece->ports.last - piece->ports.first + 1);
    return 0;
}

static int parse_piece(struct tw_view text, bool with_ports, struct tw_listen_range *out,
                       struct tw_error *error)
{
    static const struct tw_endpoint nowhere;

    if (!with_ports)
        return tw_address_range_parse(text, &out->addresses, error);
    if (tw_listen_range_parse(text, &nowhere, out, error))
        return -EINVAL;
    /* 80 and :80 alone: there is no address to fall back on. */
    return out->addresses.first.sa.sa_family
               ? 0
               : tw_error_set(error, EINVAL, "'%.*s' lacks an address; write it as 10.0.0.5:5432",
                              QUOTE(text));
}

/* A number, or a list of addresses (--from) or of endpoints (--to). */
static int parse_ends(struct ends *ends, bool with_ports, struct tw_error *error)
{
    struct tw_view rest = tw_view_of(ends->text);
    struct tw_error inner = {0};
    char what[16];

    if (ends->text[strspn(ends->text, "0123456789")] == 0) {
        snprintf(what, sizeof(what), "--%s", ends->option);
        return tw_parse_number(rest, what, 1, ENDS_MAX, &ends->count, error);
    }
    while (rest.data) {
        struct tw_listen_range piece = {0};

        if (parse_piece(tw_view_cut(&rest, ','), with_ports, &piece, &inner))
            return tw_error_set(error, EINVAL, "--%s: %s", ends->option, inner.text);
        if (add_piece(ends, &piece, error))
            return -EINVAL;
    }
    return 0;
}

int plan_ask_choice(struct tw_view text, const struct option_row *row, void *field,
                    struct tw_error *error)
{
    int rc = option_choice(text, row, field, error);

    if (rc == 0)
        ++*(int *)field;
    return rc;
}

static int set_ends(const struct plan_ask *ask, struct plan_workload *workload, bool *loopback,
                    struct tw_error *error)
{
    struct ends from = {.option = "from", .text = ask->from};
    struct ends to = {.option = "to", .text = ask->to};

    if ((from.text && parse_ends(&from, false, error)) || (to.text && parse_ends(&to, true, error)))
        return -EINVAL;
    if (from.family && to.family && from.family != to.family)
        return tw_error_set(error, EINVAL, "--from '%.60s' and --to '%.60s' are not of one family",
                            from.text, to.text);
    if (from.text)
        workload->sources = (double)from.count;
    if (to.text) {
        workload->destinations = (double)to.count;
        *loopback = to.loopback;
    }
    return 0;
}

int plan_ask_over(const struct plan_ask *ask, struct plan_workload *workload, bool *loopback,
                  struct tw_error *error)
{
    struct tw_error inner = {0};

    if (ask->hold &&
        distribution_parse(tw_view_of(ask->hold), DISTRIBUTION_TIME_NS, &workload->hold, &inner))
        return tw_error_set(error, EINVAL, "--hold: %s", inner.text);
    if (ask->rate_per_s > 0)
        workload->rate_per_s = ask->rate_per_s;
    if (ask->requests)
        workload->requests = (double)ask->requests;
    if (ask->closing)
        workload->closing = (enum plan_closing)(ask->closing - 1);
    if (ask->ports)
        workload->ports = (enum plan_ports)(ask->ports - 1);
    if (ask->arrivals)
        workload->poisson = ask->arrivals == 2;
    if (ask->idle)
        workload->idle = (double)ask->idle;
    return set_ends(ask, workload, loopback, error);
}

int plan_ask_workload(const struct plan_ask *ask, struct plan_workload *out, bool *loopback,
                      struct tw_error *error)
{
    struct plan_workload workload = {.requests = 1, .sources = 1, .destinations = 1};
    int rc;

    *loopback = false;
    rc = plan_ask_over(ask, &workload, loopback, error);
    if (rc == 0)
        *out = workload;
    return rc;
}
