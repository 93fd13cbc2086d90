#include "run.h"

const char *const stage_names[STAGES] = {
    [STAGE_PORT_WAIT] = "port_wait", [STAGE_CONNECT] = "connect", [STAGE_FIRST_BYTE] = "first_byte",
    [STAGE_LAST_BYTE] = "last_byte", [STAGE_CLOSE] = "close",     [STAGE_TOTAL] = "total",
};

const char *const failure_names[FAILURES] = {
    [FAILURE_NONE] = "none",
    [FAILURE_IN_USE_BIND] = "in_use_bind",
    [FAILURE_NOT_AVAILABLE_BIND] = "not_available_bind",
    [FAILURE_NOT_AVAILABLE_CONNECT] = "not_available_connect",
    [FAILURE_NO_DESCRIPTORS] = "no_descriptors",
    [FAILURE_REFUSED] = "refused",
    [FAILURE_RESET] = "reset",
    [FAILURE_TIMEOUT] = "timeout",
    [FAILURE_UNREACHABLE] = "unreachable",
    [FAILURE_HTTP_STATUS] = "http_status",
    [FAILURE_MALFORMED] = "malformed",
    [FAILURE_SHORT] = "short",
    [FAILURE_INTERRUPTED] = "interrupted",
    [FAILURE_OTHER] = "other",
};

static void keep_larger(uint64_t *into, uint64_t value)
{
    if (value > *into)
        *into = value;
}

/* The earlier of two times of which 0 means never. */
static void keep_earlier(uint64_t *into, uint64_t value)
{
    if (value && (*into == 0 || value < *into))
        *into = value;
}

void tally_add(struct tally *into, const struct tally *from)
{
    into->attempted += from->attempted;
    into->opened += from->opened;
    into->completed += from->completed;
    into->in_time += from->in_time;
    into->aborted += from->aborted;
    for (int i = 0; i < FAILURES; i++)
        into->failures[i] += from->failures[i];
    if (from->last_errno)
        into->last_errno = from->last_errno;
    keep_earlier(&into->first_address_error_ns, from->first_address_error_ns);
    into->requests += from->requests;
    into->bytes_in += from->bytes_in;
    into->bytes_out += from->bytes_out;
    for (int i = 0; i < CLOSERS; i++)
        into->closed_by[i] += from->closed_by[i];
    into->port_waits.count += from->port_waits.count;
    into->port_waits.total_ns += from->port_waits.total_ns;
    keep_larger(&into->port_waits.max_ns, from->port_waits.max_ns);
    keep_earlier(&into->first_port_wait_ns, from->first_port_wait_ns);
    into->refused_bind += from->refused_bind;
    into->refused_connect += from->refused_connect;
    if (from->refused_port) {
        into->refused_lane = from->refused_lane;
        into->refused_port = from->refused_port;
    }
    into->descriptors_opened += from->descriptors_opened;
    into->late += from->late;
    keep_larger(&into->late_max_ns, from->late_max_ns);
    into->slept_ns += from->slept_ns;
}

uint64_t tally_failed(const struct tally *tally)
{
    uint64_t failed = 0;

    for (int i = 1; i < FAILURES; i++)
        failed += tally->failures[i];
    return failed;
}
