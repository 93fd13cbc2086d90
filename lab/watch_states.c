/* The states of connections as sock_diag tells them. */
#include <netinet/tcp.h>
#include <string.h>

#include "stage_private.h"
#include "tidewait/clock.h"
#include "tidewait/sockets.h"

/* A connection, not what listens or is only bound. */
#define CONNECTION_STATES (TW_STATES_ALL & ~(TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE)))

/* How much alive a connection in this state is. */
static const uint8_t life[] = {
    [TCP_TIME_WAIT] = 1, [TCP_LAST_ACK] = 2,  [TCP_CLOSING] = 3,
    [TCP_FIN_WAIT2] = 4, [TCP_FIN_WAIT1] = 5, [TCP_CLOSE_WAIT] = 6,
    [TCP_SYN_RECV] = 7,  [TCP_SYN_SENT] = 8,  [TCP_ESTABLISHED] = 9,
};

static unsigned life_of(uint8_t state)
{
    return state < sizeof(life) ? life[state] : 0;
}

/* A search on one host, and what it has found. */
struct search {
    struct tw_sockets_query query;
    bool not_both; /* leave out what has the local port as remote port too */
    size_t count;
    struct tw_socket_row best;
};

static int look(const struct tw_socket_row *row, void *context)
{
    struct search *search = context;

    if (search->not_both && tw_endpoint_port(&row->local) == tw_endpoint_port(&row->remote))
        return 0;
    if (search->count == 0 || life_of(row->state) > life_of(search->best.state))
        search->best = *row;
    search->count++;
    return 0;
}

static void run_search(struct host *host, struct search *search)
{
    struct host *before = host_visit(host);
    struct tw_error error = {0};
    int rc = tw_sockets_each(&search->query, look, search, &error);

    if (rc)
        stage_refused(host->stage, -rc, error.text);
    host_return(host->stage, before);
}

bool row_of(struct host *host, uint16_t server_port, bool server_side, struct tw_socket_row *out)
{
    struct search search = {.query = {.state_mask = CONNECTION_STATES}};

    if (server_side)
        search.query.local_port = server_port;
    else
        search.query.remote_port = server_port;
    run_search(host, &search);
    if (search.count)
        *out = search.best;
    return search.count > 0;
}

int state_of(struct host *host, uint16_t server_port, bool server_side)
{
    struct tw_socket_row row;

    return row_of(host, server_port, server_side, &row) ? row.state : -1;
}

size_t count_in(struct host *host, uint8_t state, uint16_t port)
{
    struct search local = {.query = {.state_mask = TW_STATE_MASK(state), .local_port = port}};
    struct search remote = {.query = {.state_mask = TW_STATE_MASK(state), .remote_port = port},
                            .not_both = true};

    run_search(host, &local);
    if (port)
        run_search(host, &remote);
    return local.count + remote.count;
}

/* --- watching --------------------------------------------------------------------------------- */

static void sample_end(struct stage *stage, struct host *host, enum story_place place,
                       uint16_t server_port, bool server_side, int *drawn)
{
    int state = state_of(host, server_port, server_side);

    if (state == *drawn)
        return;
    story_add_event(stage->story, stage_now_ns(stage), place, "%s",
                    state < 0 ? "gone" : tw_state_name(IPPROTO_TCP, (uint8_t)state));
    *drawn = state;
    stage->calm_ns = tw_clock_ns();
}

void stage_sample(struct stage *stage)
{
    struct host *left = stage_left(stage), *right = stage_right(stage);

    for (size_t i = 0; i < stage->watch_count; i++) {
        struct watch *watch = &stage->watches[i];
        bool forth = watch->client_is_left;

        sample_end(stage, forth ? left : right, forth ? STORY_LEFT : STORY_RIGHT,
                   watch->server_port, false, &watch->client_state);
        sample_end(stage, forth ? right : left, forth ? STORY_RIGHT : STORY_LEFT,
                   watch->server_port, true, &watch->server_state);
    }
}

void stage_watch(struct stage *stage, uint16_t server_port, bool client_is_left)
{
    if (stage->watch_count == WATCHES_MAX)
        stage_broken(stage, "more than %d watched ports", WATCHES_MAX);
    stage->watches[stage->watch_count++] = (struct watch){.server_port = server_port,
                                                          .client_is_left = client_is_left,
                                                          .client_state = -1,
                                                          .server_state = -1};
    stage_sample(stage);
}

/* --- waiting ---------------------------------------------------------------------------------- */

struct wanted {
    struct host *host;
    uint16_t server_port;
    bool server_side;
    int state;
};

static bool is_in_state(void *context)
{
    const struct wanted *wanted = context;

    return state_of(wanted->host, wanted->server_port, wanted->server_side) == wanted->state;
}

bool until_state(struct stage *stage, struct host *host, uint16_t server_port, bool server_side,
                 int state, uint64_t ms)
{
    struct wanted wanted = {host, server_port, server_side, state};

    return stage_until(stage, ms, is_in_state, &wanted);
}
