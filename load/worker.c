#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "exchange.h"
#include "tidewait/clock.h"

#define EVENTS_MAX 512

/* Launches in one turn of the loop: more would let replies wait. */
#define LAUNCHES_MAX 128

/* Robots that one launch asks for a port before it waits. */
#define LANES_MAX 16

/* A place whose launch failed for a reason on this host waits this long: it would fail again at
 * once. */
#define LOCAL_FAILURE_PAUSE_NS (10 * TW_NS_PER_MS)

/* What connections in flight get to finish in when the user ends the run. */
#define STOP_GRACE_NS TW_NS_PER_S

/* At how many points of a second its offered rate is looked at. */
#define OFFER_SAMPLES 20

/* How far behind schedule a launch has to be to be called late. */
#define LATE_NS TW_NS_PER_MS

/* The n'th of `parts` equal parts of a whole. */
static uint64_t part_of(uint64_t whole, uint32_t n, uint32_t parts)
{
    return whole / parts + (n < whole % parts);
}

static void places_push(struct places *places, uint64_t since_ns)
{
    places->since_ns[(places->head + places->count++) % places->room] = since_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t places_next_ns(const struct places *places)
{
    return places->count ? places->since_ns[places->head] : TW_NEVER;
}

static int init_loop(struct worker *worker)
{
    const struct workload *workload = worker->workload;

    worker->places.room = worker->in_flight_max;
    worker->places.since_ns = calloc(worker->places.room, sizeof(uint64_t));
    worker->lane_turn = calloc(workload->target_count, sizeof(uint32_t));
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    return !worker->places.since_ns || !worker->lane_turn ? -ENOMEM
           : worker->epoll < 0                            ? -errno
                                                          : 0;
}

int worker_init(struct worker *worker, struct crew *crew, uint32_t index, struct tw_error *error)
{
    const struct workload *workload = crew->workload;
    int rc;

    worker->crew = crew;
    worker->workload = workload;
    worker->index = index;
    worker->epoll = -1;
    worker->in_flight_max = part_of(workload->connections, index, workload->threads);
    worker->launches_left =
        workload->count ? part_of(workload->count, index, workload->threads) : UINT64_MAX;
    /* Threads begin at different targets and robots, so that few are busy with the same one. */
    worker->turn = index * workload->turn_count / workload->threads;
    random_seed(&worker->random, workload->seed + index);
    rc = init_loop(worker);
    if (rc)
        return tw_error_set(error, -rc, "cannot set up the event loop: %s", strerror(-rc));
    for (size_t t = 0; t < workload->target_count; t++)
        worker->lane_turn[t] =
            (uint32_t)((uint64_t)index * workload->targets[t].lane_count / workload->threads);
    if (workload->rate_per_s > 0)
        schedule_init(&worker->schedule, &crew->offer, workload->poisson, index, workload->threads,
                      &worker->random);
    else
        for (size_t i = 0; i < worker->in_flight_max; i++)
            places_push(&worker->places, 0);
    return pool_init(&worker->pool, workload, index, worker->epoll, &worker->tally, error);
}

void worker_fini(struct worker *worker)
{
    pool_fini(&worker->pool);
    heap_fini(&worker->thoughts);
    free(worker->places.since_ns);
    free(worker->lane_turn);
    if (worker->epoll >= 0)
        close(worker->epoll);
}

/* --- the ends of connections -------------------------------------------------------------- */

void worker_enter(struct worker *worker, struct conn *conn, enum phase phase, uint64_t now_ns)
{
    conn_list_remove(conn->phase == PHASE_THINKING ? &worker->thinking : &worker->flying, conn);
    conn->phase = phase;
    conn->deadline_ns = now_ns + worker->workload->timeout_ns;
    conn_list_push(&worker->flying, conn);
}

void worker_think(struct worker *worker, struct conn *conn, uint64_t until_ns)
{
    conn_list_remove(&worker->flying, conn);
    conn->phase = PHASE_THINKING;
    conn->deadline_ns = until_ns;
    conn_list_push(&worker->thinking, conn);
    if (heap_push(&worker->thoughts, until_ns, conn))
        worker_done(worker, conn, ENDED_BY_RESET, FAILURE_OTHER, until_ns);
}

/* Takes the connection out of flight and gives its tuple and place back. */
static void leave(struct worker *worker, struct conn *conn, enum ending ending, uint64_t now_ns)
{
    conn_list_remove(conn->phase == PHASE_THINKING ? &worker->thinking : &worker->flying, conn);
    free(conn->head);
    conn->head = NULL;
    conn->head_len = 0;
    worker->in_flight--;
    worker->retry_ns = 0;
    if (worker->workload->rate_per_s == 0)
        places_push(&worker->places, now_ns);
    if (ending == ENDED_BY_RESET)
        pool_reset(&worker->pool, conn, now_ns);
    else
        pool_finish(&worker->pool, conn,
                    ending == ENDED_BY_PEER ? TW_OUTCOME_PEER_FIRST : TW_OUTCOME_WE_FIRST, now_ns);
}

void worker_done(struct worker *worker, struct conn *conn, enum ending ending, enum failure failure,
                 uint64_t now_ns)
{
    static const enum closer closers[] = {
        [ENDED_BY_US] = CLOSER_CLIENT,
        [ENDED_BY_PEER] = CLOSER_SERVER,
        [ENDED_BY_RESET] = CLOSER_RESET,
    };

    if (failure == FAILURE_NONE)
        failure = conn->failure;
    if (conn->counted) {
        if (failure == FAILURE_NONE) {
            worker->tally.completed++;
            worker->tally.in_time += now_ns < worker->crew->end_ns && worker->stop_ns == 0;
            worker->tally.closed_by[closers[ending]]++;
            worker->second.completed++;
            histogram_record(&worker->stages[STAGE_TOTAL], now_ns - conn->scheduled_ns);
            histogram_record(&worker->second_total, now_ns - conn->scheduled_ns);
        } else {
            worker->tally.failures[failure]++;
            worker->second.failed++;
        }
    }
    leave(worker, conn, ending, now_ns);
}

void worker_aborted(struct worker *worker, struct conn *conn, uint64_t now_ns)
{
    if (conn->counted)
        worker->tally.aborted++;
    leave(worker, conn, ENDED_BY_RESET, now_ns);
}

/* --- launching ----------------------------------------------------------------------------- */

static bool is_open_loop(const struct worker *worker)
{
    return worker->workload->rate_per_s > 0;
}

/* When the next connection is due; TW_NEVER when none is. */
static uint64_t next_due_ns(const struct worker *worker)
{
    if (worker->launches_left == 0)
        return TW_NEVER;
    if (is_open_loop(worker))
        return worker->crew->start_ns + schedule_next_ns(&worker->schedule);
    return places_next_ns(&worker->places);
}

/* The connection that was due is launched, or failed, or cannot be any more. */
static void due_is_over(struct worker *worker)
{
    if (worker->launches_left != UINT64_MAX)
        worker->launches_left--;
    if (is_open_loop(worker)) {
        schedule_advance(&worker->schedule);
    } else {
        worker->places.head = (worker->places.head + 1) % worker->places.room;
        worker->places.count--;
    }
}

/* Finds a port on one of the robots of the target whose turn it is. */
static int open_on_any_lane(struct worker *worker, uint64_t now_ns, struct conn **conn,
                            enum failure *failure)
{
    uint32_t t = worker->workload->turns[worker->turn];
    const struct target *target = &worker->workload->targets[t];
    uint32_t tries = target->lane_count < LANES_MAX ? target->lane_count : LANES_MAX;
    uint64_t until, earliest = TW_NEVER;
    int rc = -EAGAIN;

    for (uint32_t i = 0; i < tries && rc == -EAGAIN; i++) {
        uint32_t lane = target->lane_first + worker->lane_turn[t];

        if (++worker->lane_turn[t] == target->lane_count)
            worker->lane_turn[t] = 0;
        until = TW_NEVER;
        rc = pool_open(&worker->pool, lane, now_ns, conn, &until, failure);
        if (rc == -EAGAIN && until < earliest)
            earliest = until;
    }
    if (rc == -EAGAIN) {
        /* Not all robots of a large crew were asked: others may have a port the next time. */
        worker->retry_ns = tries < target->lane_count && earliest > now_ns + TW_NS_PER_MS
                               ? now_ns + TW_NS_PER_MS
                               : earliest;
        return rc;
    }
    if (++worker->turn == worker->workload->turn_count)
        worker->turn = 0;
    return rc;
}

/* Keeps the first time of what happens again and again; 0 stands for never. */
static void note_first(const struct worker *worker, uint64_t *first_ns, uint64_t now_ns)
{
    if (*first_ns == 0 && now_ns >= worker->crew->measure_ns)
        *first_ns = later(now_ns - worker->crew->measure_ns, 1);
}

static void count_port_wait(struct worker *worker, uint64_t waited_ns)
{
    worker->tally.port_waits.count++;
    worker->tally.port_waits.total_ns += waited_ns;
    if (waited_ns > worker->tally.port_waits.max_ns)
        worker->tally.port_waits.max_ns = waited_ns;
}

/* Whether a launch was late for want of a port, or for want of speed, and by how much. */
static void count_delay(struct worker *worker, uint64_t due_ns, uint64_t now_ns)
{
    uint64_t delay = now_ns - due_ns;
    bool starved = worker->starved_ns >= due_ns && worker->starved_ns != 0;

    histogram_record(&worker->stages[STAGE_PORT_WAIT], starved ? delay : 0);
    if (starved) {
        count_port_wait(worker, delay);
        worker->second.port_waits++;
    } else if (is_open_loop(worker) && delay > LATE_NS) {
        worker->tally.late++;
        if (delay > worker->tally.late_max_ns)
            worker->tally.late_max_ns = delay;
    }
}

static void count_failed_launch(struct worker *worker, enum failure failure, int code, bool counted,
                                uint64_t now_ns)
{
    if (counted) {
        worker->tally.failures[failure]++;
        worker->second.failed++;
        if (failure == FAILURE_OTHER)
            worker->tally.last_errno = code;
        if (failure_is_of_address(failure))
            note_first(worker, &worker->tally.first_address_error_ns, now_ns);
    }
    if (!is_open_loop(worker))
        places_push(&worker->places, now_ns + LOCAL_FAILURE_PAUSE_NS);
}

/* Prepares a slot that has just called connect(). */
static void set_out(struct worker *worker, struct conn *conn, uint64_t due_ns, uint64_t now_ns)
{
    const struct workload *workload = worker->workload;
    uint64_t requests = distribution_draw(&workload->requests, &worker->random);

    conn->scheduled_ns = due_ns;
    conn->phase_ns = now_ns;
    conn->deadline_ns = now_ns + workload->timeout_ns;
    conn->counted = due_ns >= worker->crew->measure_ns;
    conn->requests_left = requests ? (uint32_t)requests : 1;
    conn->to_abort =
        workload->abort_share > 0 && random_unit(&worker->random) < workload->abort_share;
    conn->failure = FAILURE_NONE;
    conn->half_closed = false;
    conn_list_push(&worker->flying, conn);
    worker->in_flight++;
}

/* Launches the connection that is due. False when there is no port for it now. */
static bool launch(struct worker *worker, uint64_t due_ns, uint64_t now_ns)
{
    struct conn *conn;
    enum failure failure;
    bool counted;
    int rc = open_on_any_lane(worker, now_ns, &conn, &failure);

    if (rc == -EAGAIN) {
        worker->starved_ns = now_ns;
        worker->second.starved = true;
        note_first(worker, &worker->tally.first_port_wait_ns, now_ns);
        return false;
    }
    /* Places are free from the very beginning on: their time is that of the start. */
    if (due_ns < worker->crew->start_ns)
        due_ns = worker->crew->start_ns;
    counted = due_ns >= worker->crew->measure_ns;
    due_is_over(worker);
    if (counted) {
        worker->tally.attempted++;
        worker->tally.opened++;
        worker->second.opened++;
        count_delay(worker, due_ns, now_ns);
    }
    if (rc)
        count_failed_launch(worker, failure, -rc, counted, now_ns);
    else
        set_out(worker, conn, due_ns, now_ns);
    return true;
}

static bool may_launch(const struct worker *worker, uint64_t now_ns)
{
    return worker->stop_ns == 0 && now_ns < worker->crew->end_ns &&
           worker->in_flight < worker->in_flight_max && now_ns >= worker->retry_ns;
}

/* When --peak has set another rate, what was due at the old one and could not be launched is given
 * up: the new step is not to begin with its queue. */
static void heed_offer(struct worker *worker)
{
    const struct crew *crew = worker->crew;
    unsigned change = atomic_load_explicit(&crew->offer.changes, memory_order_relaxed);
    uint64_t now = tw_clock_ns();

    if (change == worker->offer_change)
        return;
    worker->offer_change = change;
    for (; next_due_ns(worker) < now; due_is_over(worker))
        worker->tally.attempted += next_due_ns(worker) >= crew->measure_ns;
    schedule_restart(&worker->schedule, (double)(now - crew->start_ns) / 1e9);
}

static void launch_due(struct worker *worker)
{
    if (worker->workload->peak)
        heed_offer(worker);
    for (int i = 0; i < LAUNCHES_MAX; i++) {
        uint64_t now = tw_clock_ns(), due = next_due_ns(worker);

        if (due > now || !may_launch(worker, now) || !launch(worker, due, now))
            break;
    }
}

/* --- the loop ------------------------------------------------------------------------------ */

static uint64_t second_end_ns(const struct worker *worker)
{
    return worker->crew->measure_ns + (worker->seconds + 1) * TW_NS_PER_S;
}

static void publish_second(struct worker *worker, uint64_t now_ns)
{
    struct tw_ledger_count ports = {0};
    struct second *second = &worker->second;
    double begin_s = (double)(second_end_ns(worker) - worker->crew->start_ns) / 1e9 - 1;

    second->kernel_ports = worker->workload->kernel_ports;
    if (!second->kernel_ports)
        tw_ledger_count(worker->pool.ledger, &ports);
    /* The mean over the second; the steps of a short ramp are shorter. */
    for (int i = 0; i < OFFER_SAMPLES && is_open_loop(worker); i++)
        second->target_per_s +=
            offer_at(&worker->crew->offer, begin_s + (i + 0.5) / OFFER_SAMPLES) /
            (OFFER_SAMPLES * worker->workload->threads);
    second->starved |= worker->retry_ns > now_ns && next_due_ns(worker) <= now_ns;
    second->in_flight = worker->in_flight;
    second->ports_free = ports.unused + ports.safe;
    second->ports_cooling = ports.cooling;
    monitor_publish(&worker->crew->monitor, worker->seconds++, second, &worker->second_total);
    *second = (struct second){0};
    histogram_clear(&worker->second_total);
}

static void expire(struct worker *worker, uint64_t now_ns)
{
    while (worker->flying.head && worker->flying.head->deadline_ns <= now_ns)
        worker_done(worker, worker->flying.head, ENDED_BY_RESET, FAILURE_TIMEOUT, now_ns);
    while (heap_next_ns(&worker->thoughts) <= now_ns) {
        struct heap_item item = heap_pop(&worker->thoughts);
        struct conn *conn = item.what;

        /* The connection may have ended while it thought, and its slot may serve another one. */
        if (conn->phase == PHASE_THINKING && conn->deadline_ns == item.at_ns)
            exchange_resume(worker, conn, now_ns);
    }
}

static void interrupt_all(struct worker *worker, uint64_t now_ns)
{
    while (worker->flying.head)
        worker_done(worker, worker->flying.head, ENDED_BY_RESET, FAILURE_INTERRUPTED, now_ns);
    while (worker->thinking.head)
        worker_done(worker, worker->thinking.head, ENDED_BY_RESET, FAILURE_INTERRUPTED, now_ns);
}

/* Sees to the stop flag. */
static void heed_stop(struct worker *worker, uint64_t now_ns)
{
    int stop = atomic_load_explicit(worker->crew->stop, memory_order_relaxed);

    if (stop == STOP_NOT && !atomic_load_explicit(&worker->crew->broken, memory_order_relaxed))
        return;
    if (worker->stop_ns == 0) {
        /* What is due by now is still launched: a run that is stopped has not fallen behind. */
        if (is_open_loop(worker))
            launch_due(worker);
        worker->stop_ns = now_ns;
    }
    if (stop == STOP_NOW || now_ns >= worker->stop_ns + STOP_GRACE_NS)
        interrupt_all(worker, now_ns);
}

/* True when nothing is in flight and nothing will be launched. */
static bool is_over(const struct worker *worker, uint64_t now_ns)
{
    return worker->in_flight == 0 &&
           (worker->stop_ns != 0 || worker->launches_left == 0 || now_ns >= worker->crew->end_ns);
}

/* Until when there is nothing to do but to wait for events. */
static uint64_t next_wake_ns(const struct worker *worker, uint64_t now_ns)
{
    uint64_t wake = earlier(second_end_ns(worker), heap_next_ns(&worker->thoughts));

    if (worker->flying.head)
        wake = earlier(wake, worker->flying.head->deadline_ns);
    if (worker->stop_ns)
        return earlier(wake, worker->stop_ns + STOP_GRACE_NS);
    if (now_ns < worker->crew->end_ns) {
        uint64_t due = next_due_ns(worker);

        wake = earlier(wake, worker->crew->end_ns);
        if (worker->in_flight < worker->in_flight_max)
            wake = earlier(wake, due > worker->retry_ns ? due : worker->retry_ns);
    }
    return wake;
}

/* Waits for events; returns their number. */
static int wait_events(struct worker *worker, struct epoll_event *events)
{
    uint64_t now = tw_clock_ns(), wake = next_wake_ns(worker, now);
    /* At least ten times a second the stop flag is looked at. */
    uint64_t left = wake > now ? earlier(wake - now, TW_NS_PER_S / 10) : 0;
    struct timespec timeout = {0, (long)left};
    int count = epoll_pwait2(worker->epoll, events, EVENTS_MAX, &timeout, NULL);

    /* Linux before 5.11, or a container's filter that does not know the call. */
    if (count < 0 && (errno == ENOSYS || errno == EPERM))
        count =
            epoll_wait(worker->epoll, events, EVENTS_MAX, (int)((left + 999999) / TW_NS_PER_MS));
    if (left)
        worker->tally.slept_ns += tw_clock_ns() - now;
    return count;
}

static void turn(struct worker *worker)
{
    struct epoll_event events[EVENTS_MAX];
    int count = wait_events(worker, events);
    uint64_t now;

    if (count < 0 && errno != EINTR) {
        worker->error = -errno;
        atomic_store(&worker->crew->broken, true);
    }
    for (int i = 0; i < count; i++)
        exchange_event(worker, events[i].data.ptr, events[i].events);
    pool_turn(&worker->pool);
    now = tw_clock_ns();
    expire(worker, now);
    heed_stop(worker, now);
    while (now >= second_end_ns(worker))
        publish_second(worker, now);
    launch_due(worker);
}

/* What was due by the end of an open loop and never launched counts as attempted; in either loop,
 * what had no port counts as having waited for one in vain. */
static void count_not_opened(struct worker *worker)
{
    uint64_t end = worker->stop_ns ? worker->stop_ns : worker->crew->end_ns, due;
    /* When the first of them found no port, neither did those behind it. */
    bool starved = worker->starved_ns != 0 && worker->starved_ns >= next_due_ns(worker);

    if (worker->error && end == TW_NEVER) /* launches without end would be due */
        end = worker->over_ns;
    for (; (due = next_due_ns(worker)) < end; due_is_over(worker)) {
        /* Places that never had a connection are free since before the start. */
        if (due < worker->crew->measure_ns && is_open_loop(worker))
            continue;
        worker->tally.attempted += is_open_loop(worker);
        due = later(due, worker->crew->measure_ns);
        if (starved && due < end)
            count_port_wait(worker, end - due);
    }
}

/* What the ledger knows at the end. */
static void read_ledger(struct worker *worker)
{
    const struct tw_ledger *ledger = worker->pool.ledger;

    tw_ledger_count(ledger, &worker->ports);
    worker->ledger_bytes = tw_ledger_bytes(ledger);
    for (uint32_t lane = 0; lane < worker->workload->lane_count && worker->workload->takeover;
         lane++)
        worker->takeover_lost |= !tw_ledger_takes_over(ledger, lane);
}

void *worker_run(void *argument)
{
    struct worker *worker = argument;
    uint64_t now = tw_clock_ns();

    /* Sleep to the microsecond; the default slack of 50 us would show in every latency. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (now < worker->crew->start_ns) {
        struct timespec start = {(time_t)(worker->crew->start_ns / TW_NS_PER_S),
                                 (long)(worker->crew->start_ns % TW_NS_PER_S)};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
    }
    launch_due(worker);
    while (!is_over(worker, tw_clock_ns()) && !worker->error)
        turn(worker);
    worker->over_ns =
        worker->stop_ns ? worker->stop_ns : earlier(tw_clock_ns(), worker->crew->end_ns);
    interrupt_all(worker, tw_clock_ns());
    count_not_opened(worker);
    /* The last second is as a rule a part of one; without anything in it it is not worth a row. */
    if (worker->second.opened || worker->second.completed || worker->second.failed)
        publish_second(worker, worker->over_ns);
    if (!worker->workload->kernel_ports)
        read_ledger(worker);
    monitor_finish(&worker->crew->monitor, worker->seconds);
    return NULL;
}
