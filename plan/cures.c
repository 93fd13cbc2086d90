#include "cures.h"

#include <math.h>
#include <stdio.h>

/* What it takes, from gentle to rough. */
enum effort { EFFORT_PROGRAM, EFFORT_SETTING, EFFORT_MORE };

#define ENDS(limit) (1U << (limit))

/* The most that makes sense to name. */
#define MANY           65536.0 /* addresses, endpoints, times the ports of a gateway */
#define REQUESTS_MAX   1e6
#define REQUESTS_USUAL 1000.0    /* where so many do not suffice, more win next to nothing */
#define FILES_MAX      1048576.0 /* fs.nr_open, as the kernel sets it */
#define ENTRIES_MAX    2147483647.0

#define HOLD_MAX_NS 9e18 /* of the 64 bits of a distribution */

/* What is to be cured. */
struct patient {
    const struct plan_system *system;
    const struct plan_nat *nat;
    const struct plan_workload *workload;
    struct plan_answer answer;
    double wanted; /* requests a second */
};

/* Sets one number of a cure; the more, the better it sustains. */
typedef void set_number(struct plan_cure *cure, const struct patient *patient, double number);

static double requests_of(const struct plan_workload *workload)
{
    return fmax(1, workload->requests);
}

/* Requests a second. */
static double sustained(const struct plan_answer *answer, const struct plan_workload *workload)
{
    return answer->sustainable_per_s * requests_of(workload);
}

static void ask_again(struct plan_cure *cure)
{
    plan_answer(&cure->system, &cure->nat, &cure->workload, &cure->answer);
}

/* The bounds in `ends` are those that the number moves: whether they let `rate` through. */
static bool number_suffices(struct plan_cure *cure, const struct patient *patient, set_number *set,
                            double number, unsigned ends, double rate)
{
    set(cure, patient, number);
    ask_again(cure);
    for (unsigned i = 0; i < PLAN_LIMITS; i++) {
        if (ends & ENDS(i) &&
            cure->answer.bounds[i].sustainable_per_s < rate / requests_of(&cure->workload))
            return false;
    }
    return true;
}

/* The wanted rate, or what the bounds that are not in `ends` let through of it. */
static double attainable(const struct patient *patient, unsigned ends)
{
    double rate = patient->wanted;

    for (unsigned i = 0; i < PLAN_LIMITS; i++) {
        if (!(ends & ENDS(i)) && i != PLAN_LIMIT_TIME_WAITS)
            rate = fmin(rate, patient->answer.bounds[i].sustainable_per_s *
                                  requests_of(patient->workload));
    }
    return rate;
}

/* Sets the smallest whole number, above `now` and up to `most`, with which the bounds in `ends` let
 * through what is attainable; where none does, `most`. False when nothing is between. */
static bool set_smallest(struct plan_cure *cure, const struct patient *patient, set_number *set,
                         double now, double most, unsigned ends)
{
    double low = floor(now), high = floor(most), rate = attainable(patient, ends);

    if (!(low < high))
        return false;
    while (high - low > 1) {
        double middle = floor((low + high) / 2);

        if (number_suffices(cure, patient, set, middle, ends, rate))
            high = middle;
        else
            low = middle;
    }
    set(cure, patient, high);
    return true;
}

#define SAY(cure, ...) snprintf((cure)->what, sizeof((cure)->what), __VA_ARGS__)

/* --- one function a kind: makes the change and says it, or returns false ---------------------- */

static uint64_t longer(uint64_t ns, double times)
{
    return (uint64_t)llround(fmin((double)ns * times, HOLD_MAX_NS));
}

/* Each request takes as long as before. */
static void set_requests(struct plan_cure *cure, const struct patient *patient, double number)
{
    double times = number / requests_of(patient->workload);

    cure->workload.requests = number;
    cure->workload.hold.a = longer(patient->workload->hold.a, times);
    cure->workload.hold.b = longer(patient->workload->hold.b, times);
}

static bool keep_alive(struct plan_cure *cure, const struct patient *patient)
{
    double now = requests_of(patient->workload);

    if (!set_smallest(cure, patient, set_requests, now, REQUESTS_MAX, ~ENDS(PLAN_LIMIT_TIME_WAITS)))
        return false;
    if (cure->workload.requests >= REQUESTS_MAX)
        set_requests(cure, patient, fmax(now, REQUESTS_USUAL));
    SAY(cure, "%.0f requests a connection instead of %.6g", cure->workload.requests, now);
    return true;
}

static bool server_closes(struct plan_cure *cure, const struct patient *patient)
{
    if (patient->workload->closing != PLAN_CLOSING_CLIENT)
        return false;
    cure->workload.closing = PLAN_CLOSING_SERVER;
    SAY(cure, "the server closes first: TIME_WAIT stays there and leaves the tuples here free");
    return true;
}

static bool managed_ports(struct plan_cure *cure, const struct patient *patient)
{
    if (patient->workload->ports == PLAN_PORTS_MANAGED)
        return false;
    cure->workload.ports = PLAN_PORTS_MANAGED;
    SAY(cure, "bind() to explicit ports with SO_REUSEADDR, the oldest first: our own TIME_WAIT is "
              "taken over");
    return true;
}

static bool no_port(struct plan_cure *cure, const struct patient *patient)
{
    if (patient->workload->ports != PLAN_PORTS_BIND)
        return false;
    cure->workload.ports = PLAN_PORTS_KERNEL;
    SAY(cure, "IP_BIND_ADDRESS_NO_PORT before bind(): connect() chooses the port, for its lane "
              "alone");
    return true;
}

static bool tw_reuse(struct plan_cure *cure, const struct patient *patient)
{
    double age_s = patient->system->reuse_possible_s;

    if (!(age_s < patient->system->reuse_s))
        return false;
    cure->system.reuse_s = age_s;
    SAY(cure, "tcp_tw_reuse=1: connect() takes over a TIME_WAIT that is %.6g s old", age_s);
    return true;
}

/* `number` ms less. */
static void set_reuse_delay(struct plan_cure *cure, const struct patient *patient, double number)
{
    cure->system.reuse_s = cure->system.reuse_possible_s =
        (round(patient->system->reuse_s * 1e3) - number) / 1e3;
}

static bool reuse_delay(struct plan_cure *cure, const struct patient *patient)
{
    double now_ms = round(patient->system->reuse_s * 1e3);

    if (isinf(now_ms) ||
        !set_smallest(cure, patient, set_reuse_delay, 0, now_ms - 1, ENDS(PLAN_LIMIT_TUPLES)))
        return false;
    SAY(cure, "tcp_tw_reuse_delay=%.0f (ms) instead of %.0f", round(cure->system.reuse_s * 1e3),
        now_ms);
    return true;
}

static bool time_wait(struct plan_cure *cure, const struct patient *patient)
{
    const struct plan_system *system = patient->system;

    if (!(system->time_wait_possible_s > 0 && system->time_wait_possible_s < system->time_wait_s))
        return false;
    cure->system.time_wait_s = system->time_wait_possible_s;
    SAY(cure, "TIME_WAIT of %.6g s instead of %.6g s (%s)", cure->system.time_wait_s,
        system->time_wait_s, system->time_wait_setting ? system->time_wait_setting : "a setting");
    return true;
}

static void set_range(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->system.ports = number;
}

static bool range(struct plan_cure *cure, const struct patient *patient)
{
    const struct plan_system *system = patient->system;

    if (!set_smallest(cure, patient, set_range, system->ports, fmin(system->ports_possible, MANY),
                      ENDS(PLAN_LIMIT_TUPLES)))
        return false;
    SAY(cure, "a range of %.0f ports instead of %.0f (%s)", cure->system.ports, system->ports,
        system->ports_setting ? system->ports_setting : "a setting");
    return true;
}

static void set_sources(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->workload.sources = number;
}

static bool sources(struct plan_cure *cure, const struct patient *patient)
{
    if (!set_smallest(cure, patient, set_sources, patient->workload->sources, MANY,
                      ENDS(PLAN_LIMIT_TUPLES)))
        return false;
    SAY(cure, "%.0f source addresses instead of %.0f", cure->workload.sources,
        patient->workload->sources);
    return true;
}

static void set_destinations(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->workload.destinations = number;
}

static bool destinations(struct plan_cure *cure, const struct patient *patient)
{
    if (!set_smallest(cure, patient, set_destinations, patient->workload->destinations, MANY,
                      ENDS(PLAN_LIMIT_TUPLES) | ENDS(PLAN_LIMIT_NAT)))
        return false;
    SAY(cure, "%.0f destination endpoints instead of %.0f", cure->workload.destinations,
        patient->workload->destinations);
    return true;
}

static void set_files(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->system.files = number;
}

static bool files(struct plan_cure *cure, const struct patient *patient)
{
    if (!set_smallest(cure, patient, set_files, patient->system->files, FILES_MAX,
                      ENDS(PLAN_LIMIT_FILES)))
        return false;
    SAY(cure, "%.0f descriptors for the process instead of %.0f", cure->system.files,
        patient->system->files);
    return true;
}

static void set_time_waits(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->system.time_waits = number;
}

/* Refuses nothing, so it is no matter of the rate that is sustained, but of what that leaves. */
static bool time_waits(struct plan_cure *cure, const struct patient *patient)
{
    const struct plan_answer *answer = &patient->answer;
    double made = fmin(answer->connections_per_s, answer->sustainable_per_s);
    struct patient keeper = *patient;

    keeper.wanted = made * requests_of(patient->workload);
    if (answer->bounds[PLAN_LIMIT_TIME_WAITS].sustainable_per_s >= made ||
        !set_smallest(cure, &keeper, set_time_waits, patient->system->time_waits, ENTRIES_MAX,
                      ENDS(PLAN_LIMIT_TIME_WAITS)))
        return false;
    SAY(cure, "tcp_max_tw_buckets=%.0f instead of %.0f", cure->system.time_waits,
        patient->system->time_waits);
    return true;
}

static void set_conntrack(struct plan_cure *cure, const struct patient *patient, double number)
{
    (void)patient;
    cure->system.conntrack = number;
}

static bool conntrack(struct plan_cure *cure, const struct patient *patient)
{
    if (!set_smallest(cure, patient, set_conntrack, patient->system->conntrack, ENTRIES_MAX,
                      ENDS(PLAN_LIMIT_CONNTRACK)))
        return false;
    SAY(cure, "%.0f entries of conntrack left for it instead of %.0f (nf_conntrack_max)",
        cure->system.conntrack, patient->system->conntrack);
    return true;
}

static void set_nat(struct plan_cure *cure, const struct patient *patient, double number)
{
    cure->nat.ports = patient->nat->ports * number;
}

static bool gateway_ports(struct plan_cure *cure, const struct patient *patient)
{
    if (!(patient->nat->ports > 0) ||
        !set_smallest(cure, patient, set_nat, 1, MANY, ENDS(PLAN_LIMIT_NAT)))
        return false;
    SAY(cure, "%.0f times the ports at the gateway: %.0f instead of %.0f",
        cure->nat.ports / patient->nat->ports, cure->nat.ports, patient->nat->ports);
    return true;
}

/* --- all of them ------------------------------------------------------------------------------ */

static const struct kind {
    const char *name;
    enum effort effort;
    bool (*change)(struct plan_cure *cure, const struct patient *patient);
    const char *cost;
} kinds[PLAN_CURES] = {
    [PLAN_CURE_KEEP_ALIVE] = {"keep-alive", EFFORT_PROGRAM, keep_alive,
                              "asks for a change of the program; the server must keep connections "
                              "open between requests"},
    [PLAN_CURE_SERVER_CLOSES] = {"server-closes", EFFORT_PROGRAM, server_closes,
                                 "asks for a change of the server or of the protocol; it then "
                                 "holds the TIME_WAITs"},
    [PLAN_CURE_MANAGED_PORTS] = {"managed-ports", EFFORT_PROGRAM, managed_ports,
                                 "asks for a change of the program, and for TCP timestamps at "
                                 "both ends"},
    [PLAN_CURE_NO_PORT] = {"no-port", EFFORT_PROGRAM, no_port,
                           "asks for one setsockopt() in the program"},
    [PLAN_CURE_TW_REUSE] = {"tw-reuse", EFFORT_SETTING, tw_reuse,
                            "a setting; needs TCP timestamps at both ends, and helps no port that "
                            "was bound"},
    [PLAN_CURE_REUSE_DELAY] = {"reuse-delay", EFFORT_SETTING, reuse_delay,
                               "a setting of new kernels; must not be shorter than a tick of the "
                               "peer's timestamps"},
    [PLAN_CURE_TIME_WAIT] = {"time-wait", EFFORT_SETTING, time_wait,
                             "a setting; a late segment of an old connection may reach a new one"},
    [PLAN_CURE_RANGE] = {"range", EFFORT_SETTING, range,
                         "a setting; connect() may then take a port that a service of yours "
                         "wants: reserve those first"},
    [PLAN_CURE_SOURCES] = {"sources", EFFORT_MORE, sources,
                           "more addresses at this host, and a program that spreads its "
                           "connections over them"},
    [PLAN_CURE_DESTINATIONS] = {"destinations", EFFORT_MORE, destinations,
                                "more addresses or ports at which the server listens, and a "
                                "program that uses them all"},
    [PLAN_CURE_FILES] = {"files", EFFORT_SETTING, files,
                         "a setting (ulimit -n, LimitNOFILE=); a socket takes some KiB of memory"},
    [PLAN_CURE_TIME_WAITS] = {"time-waits", EFFORT_SETTING, time_waits,
                              "a setting; a TIME_WAIT takes some kernel memory"},
    [PLAN_CURE_CONNTRACK] = {"conntrack", EFFORT_SETTING, conntrack,
                             "a setting; an entry takes some kernel memory"},
    [PLAN_CURE_NAT] = {"nat", EFFORT_MORE, gateway_ports,
                       "more addresses at the gateway, or more of its ports for this host"},
};

static bool helps(const struct plan_cure *cure, const struct patient *patient)
{
    return cure->kind == PLAN_CURE_TIME_WAITS ||
           sustained(&cure->answer, &cure->workload) >
               sustained(&patient->answer, patient->workload) * (1 + 1e-9);
}

/* Whether `a` is to be told before `b`. */
static bool before(const struct plan_cure *a, const struct plan_cure *b,
                   const struct patient *patient)
{
    double rate_a = sustained(&a->answer, &a->workload);
    double rate_b = sustained(&b->answer, &b->workload);
    enum effort effort_a = kinds[a->kind].effort, effort_b = kinds[b->kind].effort;

    if (a->answer.suffices != b->answer.suffices)
        return a->answer.suffices;
    if (a->answer.suffices && !patient->answer.suffices && effort_a != effort_b)
        return effort_a < effort_b;
    if (rate_a > rate_b || rate_a < rate_b)
        return rate_a > rate_b;
    return effort_a < effort_b;
}

size_t plan_cures(const struct plan_system *system, const struct plan_nat *nat,
                  const struct plan_workload *workload, struct plan_cure out[PLAN_CURES])
{
    struct patient patient = {.system = system, .nat = nat, .workload = workload};
    size_t count = 0;

    plan_answer(system, nat, workload, &patient.answer);
    patient.wanted =
        patient.answer.suffices ? 2 * sustained(&patient.answer, workload) : workload->rate_per_s;
    for (int kind = 0; kind < PLAN_CURES; kind++) {
        struct plan_cure cure = {
            .kind = (enum plan_cure_kind)kind,
            .name = kinds[kind].name,
            .system = *system,
            .nat = *nat,
            .workload = *workload,
        };
        size_t at;

        if (!kinds[kind].change(&cure, &patient))
            continue;
        ask_again(&cure);
        if (!helps(&cure, &patient))
            continue;
        snprintf(cure.cost, sizeof(cure.cost), "%s", kinds[kind].cost);
        for (at = count++; at > 0 && before(&cure, &out[at - 1], &patient); at--)
            out[at] = out[at - 1];
        out[at] = cure;
    }
    return count;
}
