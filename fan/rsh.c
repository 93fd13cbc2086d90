#include "rsh.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mark.h"
#include "place.h"
#include "quote.h"
#include "rcmd.h"
#include "tidewait/clock.h"
#include "tidewait/ledger.h"
#include "tidewait/limits.h"
#include "tidewait/socket.h"

/* shell/tcp. */
#define RSH_PORT 514

/* How soon to look again for the address of a host. */
#define RESOLVE_NS (5 * TW_NS_PER_MS)

struct rsh_way {
    const char *local_user;
    bool plain;
    char mark[MARK_MAX];
    struct places *places;
    struct tw_ledger *sources, *listeners;
    unsigned listener_count;
};

/* An attempt. In memory that the child shares. */
struct session {
    struct rcmd rcmd;
    int fd; /* the first connection: ours too, so that we see how it has ended */
    struct tw_tuple source, listener;
    char *line;
};

/* --- ports ------------------------------------------------------------------------------------ */

void rsh_usual_ports(struct tw_ports *ports)
{
    const struct servent *service;

    tw_ports_add_range(ports, (struct tw_port_range){RCMD_PORT_FIRST, RCMD_PORT_LAST});
    setservent(1);
    while ((service = getservent()))
        tw_ports_remove(ports, ntohs((uint16_t)service->s_port));
    endservent();
}

static struct tw_ledger *new_ledger(const uint16_t *ports, unsigned count, size_t lanes,
                                    bool takeover, struct tw_error *error)
{
    struct tw_ledger_opts opts = {
        .size = sizeof(opts),
        .ports = ports,
        .port_count = count,
        .lanes = (uint32_t)lanes,
        .time_wait_ns = TW_TIME_WAIT_NS,
        .takeover = takeover,
        .rest_ns = TW_LEDGER_REST_NS,
        .seed = tw_clock_ns(),
    };

    return tw_ledger_new(&opts, error);
}

/* Whether we may have reserved ports at all. */
static int check_privilege(uint16_t port, struct tw_error *error)
{
    const struct tw_endpoint any = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    int fd = tw_source_open(&any, &(struct tw_source_opts){0});

    if (fd >= 0)
        close(fd);
    if (fd != -EACCES)
        return 0;
    return tw_error_set(
        error, EACCES,
        "no permission for reserved ports such as %u, which rshd insists on: run it "
        "as root, or with CAP_NET_BIND_SERVICE",
        port);
}

static int share_out(struct rsh_way *way, const struct rsh_opts *opts, struct tw_error *error)
{
    uint16_t ports[RCMD_PORT_LAST - RCMD_PORT_FIRST + 1];
    unsigned count = (unsigned)tw_ports_count(opts->ports), sources = count < 8 ? 1 : count / 4;
    int rc;

    tw_ports_list(opts->ports, ports);
    rc = check_privilege(ports[0], error);
    if (rc)
        return rc;
    way->listener_count = count - sources;
    way->sources =
        new_ledger(ports + way->listener_count, sources, opts->hosts->count, opts->takeover, error);
    way->listeners =
        way->sources ? new_ledger(ports, way->listener_count, 1, opts->takeover, error) : NULL;
    return way->listeners ? 0 : -error->code;
}

/* Why none of the ports of a ledger is safe yet. That one of our own has to end or to rest for a
 * millisecond is nothing to tell. `place` is for source ports. */
static int tell_wait(const struct tw_ledger *ledger, const struct place *place, uint64_t until_ns,
                     struct tw_error *error)
{
    char to[TW_ENDPOINT_TEXT_MAX];
    struct tw_ledger_count count;

    *error = (struct tw_error){0};
    if (until_ns == TW_NEVER || until_ns <= tw_clock_ns() + TW_LEDGER_REST_NS)
        return -EAGAIN;
    tw_ledger_count(ledger, &count);
    if (place && !tw_ledger_takes_over(ledger, place->lane))
        return tw_error_set(error, EBUSY,
                            "the source ports to %s are in TIME_WAIT: our end closed first, and "
                            "without TCP timestamps at both ends they cannot be taken over",
                            tw_endpoint_format(&place->to, to));
    if (count.aside)
        return tw_error_set(error, EAGAIN, "other programs hold reserved ports");
    return -EAGAIN;
}

/* The first connection, on its way. Returns the descriptor, -EAGAIN or another -errno. */
static int open_first(struct rsh_way *way, struct job *job, const struct place *place,
                      struct tw_tuple *tuple, uint64_t *until_ns, struct tw_error *error)
{
    struct tw_endpoint from = {.sa.sa_family = place->to.sa.sa_family};
    char to[TW_ENDPOINT_TEXT_MAX];
    int code;

    /* Until none is left: what is refused is set aside. */
    do {
        int rc = tw_ledger_take(way->sources, place->lane, tw_clock_ns(), tuple, until_ns), fd;

        if (rc == -EAGAIN)
            return tell_wait(way->sources, place, *until_ns, error);
        if (rc)
            return tw_error_set(error, -rc, "no memory");
        tw_endpoint_set_port(&from, tuple->port);
        fd = tw_source_open(&from, &(struct tw_source_opts){0});
        if (fd >= 0 &&
            (connect(fd, &place->to.sa, tw_endpoint_len(&place->to)) == 0 || errno == EINPROGRESS))
            return fd;
        code = fd < 0 ? -fd : errno;
        if (fd >= 0)
            close(fd);
        tw_ledger_give(way->sources, tuple,
                       fd < 0 && code == EADDRINUSE       ? TW_OUTCOME_PORT_TAKEN
                       : fd >= 0 && code == EADDRNOTAVAIL ? TW_OUTCOME_TUPLE_TAKEN
                                                          : TW_OUTCOME_UNUSED,
                       tw_clock_ns());
    } while (code == EADDRINUSE || code == EADDRNOTAVAIL);
    job->cause = cause_of_errno(code, CAUSE_START);
    return tw_error_set(error, code, "connect to %s from port %u: %s",
                        tw_endpoint_format(&place->to, to), tuple->port, strerror(code));
}

/* Listens for the second connection, at the address that the first one has. */
static int open_listener(struct rsh_way *way, struct job *job, int first, struct tw_tuple *tuple,
                         uint64_t *until_ns, struct tw_error *error)
{
    const struct tw_listen_opts opts = {.backlog = 4, .nonblocking = true};
    struct tw_endpoint at = {0};
    socklen_t len = sizeof(at);
    int fd;

    if (getsockname(first, &at.sa, &len))
        return tw_error_set(error, errno, "getsockname: %s", strerror(errno));
    do {
        int rc = tw_ledger_take(way->listeners, 0, tw_clock_ns(), tuple, until_ns);

        if (rc == -EAGAIN)
            return tell_wait(way->listeners, NULL, *until_ns, error);
        if (rc)
            return tw_error_set(error, -rc, "no memory");
        tw_endpoint_set_port(&at, tuple->port);
        fd = tw_listen(&at, &opts, error);
        if (fd < 0)
            tw_ledger_give(way->listeners, tuple,
                           fd == -EADDRINUSE ? TW_OUTCOME_PORT_TAKEN : TW_OUTCOME_UNUSED,
                           tw_clock_ns());
    } while (fd == -EADDRINUSE);
    if (fd < 0)
        job->cause = cause_of_errno(-fd, CAUSE_START);
    return fd;
}

/* --- attempts --------------------------------------------------------------------------------- */

/* Around the command at the other end: see the scripts of ssh. Its input is empty unless it is sent
 * one, so that we need not close our direction; the exit status is told at the end. */
static char *wrap(const struct rsh_way *way, const char *command, bool has_input)
{
    char *word, *wrapped = NULL;

    if (way->plain)
        return strdup(command);
    word = quote_word(command);
    if (word &&
        asprintf(&wrapped, "exec sh -c '%sexec 4>&2 2>/dev/null; " QUOTE_RUN "; echo %s:$? >&4' %s",
                 has_input ? "" : "exec </dev/null; ", way->mark, word) < 0)
        wrapped = NULL;
    free(word);
    return wrapped;
}

static void forget(struct session *session)
{
    free(session->line);
    munmap(session, sizeof(*session));
}

static struct session *new_session(const struct rsh_way *way, const struct fan_command *command,
                                   const struct job *job, const struct place *place)
{
    struct session *session =
        mmap(NULL, sizeof(*session), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool has_input = child_input_of(command, job->host) == CHILD_FILE;

    if (session == MAP_FAILED)
        return NULL;
    session->line = wrap(way, command->text, has_input);
    session->rcmd = (struct rcmd){
        .to = place->to,
        .local_user = way->local_user,
        .user = job->host->user ? job->host->user
                : command->user ? command->user
                                : way->local_user,
        .command = session->line,
        .mark = way->mark,
        .sends_input = has_input || way->plain,
        .plain = way->plain,
    };
    if (session->line)
        return session;
    forget(session);
    return NULL;
}

static int start_child(struct rsh_way *way, const struct fan_command *command, struct job *job,
                       struct session *session, uint64_t *until_ns, struct tw_error *error)
{
    int fds[CHILD_CALL_FDS] = {session->fd, -1};
    int rc;

    fds[1] = open_listener(way, job, session->fd, &session->listener, until_ns, error);
    if (fds[1] < 0)
        return fds[1];
    session->rcmd.source_port = session->source.port;
    session->rcmd.second_port = session->listener.port;
    rc = child_call(job->attempt, rcmd_run, &session->rcmd, fds, CHILD_CALL_FDS,
                    child_input_of(command, job->host), command->input, error);
    close(fds[1]);
    if (rc)
        tw_ledger_give(way->listeners, &session->listener, TW_OUTCOME_UNUSED, tw_clock_ns());
    return rc;
}

static int start(void *context, const struct fan_command *command, struct job *job,
                 uint64_t *until_ns, struct tw_error *error)
{
    struct rsh_way *way = context;
    struct session *session;
    const struct place *place;
    int rc = places_find(way->places, job->host, &place, error);

    if (rc == -EAGAIN || rc == -EBUSY)
        *until_ns = tw_clock_ns() + RESOLVE_NS;
    else if (rc && rc != -ENOMEM)
        job->cause = CAUSE_UNKNOWN_HOST;
    if (rc)
        return rc;
    session = new_session(way, command, job, place);
    if (!session)
        return tw_error_set(error, ENOMEM, "no memory");
    session->fd = rc = open_first(way, job, place, &session->source, until_ns, error);
    if (rc >= 0) {
        rc = start_child(way, command, job, session, until_ns, error);
        if (rc) {
            tw_close_reset(session->fd);
            tw_ledger_give(way->sources, &session->source, TW_OUTCOME_RESET, tw_clock_ns());
        }
    }
    if (rc) {
        forget(session);
        return rc;
    }
    job->attempt->context = session;
    job->attempt->mark = way->mark;
    return 0;
}

/* Ends the first connection. Whatever the child did, it is still open here, and tells. */
static enum tw_outcome end_first(const struct session *session, bool *timestamps)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    getsockopt(session->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    *timestamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
    if (info.tcpi_state == TCP_CLOSE_WAIT) {
        close(session->fd);
        return TW_OUTCOME_PEER_FIRST;
    }
    if (info.tcpi_state == TCP_CLOSE) {
        close(session->fd);
        return session->rcmd.closed_first ? TW_OUTCOME_WE_FIRST : TW_OUTCOME_RESET;
    }
    tw_close_reset(session->fd);
    return TW_OUTCOME_RESET;
}

static void ended(void *context, struct job *job)
{
    struct rsh_way *way = context;
    struct attempt *attempt = job->attempt;
    struct session *session = attempt->context;
    const struct rcmd *rcmd = &session->rcmd;
    bool timestamps;
    enum tw_outcome outcome = end_first(session, &timestamps);
    uint64_t now = tw_clock_ns();
    size_t len = attempt->word_len;

    tw_ledger_give(way->sources, &session->source, outcome, now);
    tw_ledger_give(way->listeners, &session->listener, TW_OUTCOME_PEER_FIRST, now);
    if (rcmd->connected && !timestamps)
        tw_ledger_learn(way->sources, session->source.lane, now);
    if (!attempt->ended && rcmd->cause) {
        job->cause = rcmd->cause;
        job->exit = -1;
        while (len && attempt->words[len - 1] == '\n')
            len--;
        job_tell(job, attempt->words, len);
    } else if (!attempt->ended && way->plain) {
        job->exit = -1;
    }
    forget(session);
}

/* --- the way ---------------------------------------------------------------------------------- */

int rsh_way_new(const struct rsh_opts *opts, struct rsh_way **out, struct tw_error *error)
{
    struct rsh_way *way = calloc(1, sizeof(*way));
    int rc;

    if (!way)
        return tw_error_set(error, ENOMEM, "no memory");
    way->local_user = opts->local_user;
    way->plain = opts->plain;
    mark_make(way->mark);
    rc = share_out(way, opts, error);
    if (rc == 0)
        rc = places_new(opts->hosts, RSH_PORT, opts->resolve_ns, &way->places, error);
    if (rc == 0)
        *out = way;
    else
        rsh_way_free(way);
    return rc;
}

void rsh_way_free(struct rsh_way *way)
{
    if (!way)
        return;
    places_free(way->places);
    tw_ledger_free(way->sources);
    tw_ledger_free(way->listeners);
    free(way);
}

unsigned rsh_way_window(const struct rsh_way *way)
{
    return way->listener_count;
}

const struct transport transport_rsh = {.name = "rsh", .start = start, .ended = ended};
