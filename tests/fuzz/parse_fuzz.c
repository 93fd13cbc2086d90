/* Feeds the parsers of parse.h, address.h and ports.h. The first byte chooses the parser, the rest
 * is its text. What a parser accepts must be within the bounds that its header states. */
#include "fuzz.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "tidewait/address.h"
#include "tidewait/parse.h"
#include "tidewait/ports.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static int number(struct tw_view text, struct tw_error *error)
{
    uint64_t value = 0;
    int rc = tw_parse_number(text, "number", 5, UINT64_MAX - 5, &value, error);

    check(rc || (value >= 5 && value <= UINT64_MAX - 5));
    return rc;
}

static int duration(struct tw_view text, struct tw_error *error)
{
    uint64_t value = 0;
    int rc = tw_parse_duration(text, &value, error);

    check(rc || value <= 365ULL * 24 * 3600 * 1000000000);
    return rc;
}

static int size_text(struct tw_view text, struct tw_error *error)
{
    uint64_t value = 0;
    int rc = tw_parse_size(text, &value, error);

    check(rc || value <= 1000000000000000);
    return rc;
}

static int rate(struct tw_view text, struct tw_error *error)
{
    double value = 1;
    int rc = tw_parse_rate(text, &value, error);

    check(value > 0 && value <= 1e9);
    return rc;
}

static int share(struct tw_view text, struct tw_error *error)
{
    double value = 1;
    int rc = tw_parse_share(text, &value, error);

    check(value >= 0 && value <= 1);
    return rc;
}

static int ports(struct tw_view text, struct tw_error *error)
{
    struct tw_port_range range = {1, 1};
    int rc = tw_parse_ports(text, &range, error);

    check(range.first >= 1 && range.first <= range.last);
    return rc;
}

static int port_list(struct tw_view text, struct tw_error *error)
{
    struct tw_ports set = {0};
    int rc = tw_ports_parse(text, &set, error);

    check(!tw_ports_has(&set, 0));
    check((tw_ports_count(&set) > 0) == (rc == 0 && text.len > 0));
    return rc;
}

static void check_address(const struct tw_endpoint *endpoint)
{
    char buf[TW_ENDPOINT_TEXT_MAX];
    struct tw_endpoint again = {0};

    check(endpoint->sa.sa_family == AF_INET || endpoint->sa.sa_family == AF_INET6);
    check(tw_endpoint_port(endpoint) == 0);
    check(tw_address_parse(tw_view_of(tw_endpoint_format(endpoint, buf)), &again, NULL) == 0);
    check(tw_endpoint_same_address(endpoint, &again));
}

static void check_range(const struct tw_address_range *range)
{
    struct tw_endpoint last = tw_address_range_at(range, range->count - 1);

    check(range->count >= 1 && range->count <= TW_ADDRESS_RANGE_MAX);
    check_address(&range->first);
    check_address(&last);
    check((range->count == 1) == tw_endpoint_same_address(&range->first, &last));
}

static int address(struct tw_view text, struct tw_error *error)
{
    struct tw_endpoint endpoint;
    int rc = tw_address_parse(text, &endpoint, error);

    if (rc == 0)
        check_address(&endpoint);
    return rc;
}

static int address_range(struct tw_view text, struct tw_error *error)
{
    struct tw_address_range range;
    int rc = tw_address_range_parse(text, &range, error);

    if (rc == 0)
        check_range(&range);
    return rc;
}

static int listen_range(struct tw_view text, struct tw_error *error)
{
    struct tw_endpoint fallback = {.v4 = {.sin_family = AF_INET}};
    struct tw_listen_range range;
    int rc = tw_listen_range_parse(text, &fallback, &range, error);

    if (rc == 0) {
        check_range(&range.addresses);
        check(range.ports.first >= 1 && range.ports.first <= range.ports.last);
    }
    return rc;
}

/* A byte each, so that a corpus stays readable: 'n' is a number, and so on. */
static const struct {
    char letter;
    int (*parse)(struct tw_view text, struct tw_error *error);
} parsers[] = {
    {'n', number}, {'d', duration},  {'s', size_text}, {'r', rate},          {'%', share},
    {'p', ports},  {'P', port_list}, {'a', address},   {'A', address_range}, {'l', listen_range},
};

enum { PARSERS = sizeof(parsers) / sizeof(parsers[0]) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tw_error error = {0};
    size_t chosen = size ? data[0] % PARSERS : 0;
    struct tw_view text;
    int rc;

    if (size == 0)
        return 0;
    for (size_t i = 0; i < PARSERS; i++)
        if (data[0] == (uint8_t)parsers[i].letter)
            chosen = i;
    text = (struct tw_view){(const char *)data + 1, size - 1};
    rc = parsers[chosen].parse(text, &error);
    check(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    check(error.code == -rc);
    check((rc != 0) == (error.text[0] != 0));
    check(!strchr(error.text, '\n'));
    return 0;
}
