#include <errno.h>
#include <math.h>

#include "builder.h"
#include "plan_points.h"
#include "plan_report.h"
#include "tidewait/blind.h"

/* INFINITY is null: no limit, never, not known. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static const char *const closings[] = {"client", "server", "reset"};
static const char *const ports[] = {"kernel", "bind", "managed"};

static json_t *system_object(struct builder *b, const struct plan_system *system)
{
    json_t *object = json_object();

    set(b, object, "name", text_or_null(system->name));
    set(b, object, "note", text_or_null(system->note));
    set(b, object, "ports", number(system->ports));
    set(b, object, "ports_lost", number(system->ports_lost));
    set(b, object, "ports_possible", number(system->ports_possible));
    set(b, object, "ports_shared", json_boolean(system->ports_shared));
    set(b, object, "time_wait_s", number(system->time_wait_s));
    set(b, object, "reuse_s", number(system->reuse_s));
    set(b, object, "takeover", json_boolean(system->takeover));
    set(b, object, "time_waits", number(system->time_waits));
    set(b, object, "files", number(system->files));
    set(b, object, "conntrack", number(system->conntrack));
    set(b, object, "conntrack_close_s", number(system->conntrack_close_s));
    set(b, object, "conntrack_reset_s", number(system->conntrack_reset_s));
    set(b, object, "accept_queue", number(system->accept_queue));
    return object;
}

static json_t *nat_object(struct builder *b, const struct plan_nat *nat)
{
    json_t *object;

    if (nat->ports <= 0)
        return json_null();
    object = json_object();
    set(b, object, "name", text_or_null(nat->name));
    set(b, object, "note", text_or_null(nat->note));
    set(b, object, "ports", number(nat->ports));
    set(b, object, "hold_s", number(nat->hold_s));
    set(b, object, "hold_reset_s", number(nat->hold_reset_s));
    return object;
}

static json_t *workload_object(struct builder *b, const struct plan_workload *workload)
{
    json_t *object = json_object();

    set(b, object, "rate_per_s", number(workload->rate_per_s));
    set(b, object, "arrivals", json_string(workload->poisson ? "poisson" : "constant"));
    set(b, object, "hold_s", number(distribution_mean(&workload->hold) / 1e9));
    set(b, object, "requests", number(workload->requests));
    set(b, object, "close", json_string(closings[workload->closing]));
    set(b, object, "ports", json_string(ports[workload->ports]));
    set(b, object, "sources", number(workload->sources));
    set(b, object, "destinations", number(workload->destinations));
    set(b, object, "idle", number(workload->idle));
    return object;
}

static json_t *bounds_array(struct builder *b, const struct plan_answer *answer)
{
    json_t *array = json_array();

    for (int i = 0; i < PLAN_LIMITS; i++) {
        const struct plan_bound *bound = &answer->bounds[i];
        json_t *object = json_object();

        set(b, object, "limit", json_string(plan_limit_names[i]));
        set(b, object, "capacity", number(bound->capacity));
        set(b, object, "occupied_s", number(bound->occupied_s));
        set(b, object, "sustainable_per_s", number(bound->sustainable_per_s));
        set(b, object, "exhausted_s", number(bound->exhausted_s));
        append(b, array, object);
    }
    return array;
}

static json_t *answer_object(struct builder *b, const struct plan_answer *answer)
{
    json_t *object = json_object();

    set(b, object, "suffices", json_boolean(answer->suffices));
    set(b, object, "lanes", number(answer->lanes));
    set(b, object, "tuples", number(answer->tuples));
    set(b, object, "connections_per_s", number(answer->connections_per_s));
    set(b, object, "hold_s", number(answer->hold_s));
    set(b, object, "cooling_s", number(answer->cooling_s));
    set(b, object, "occupied_s", number(answer->occupied_s));
    set(b, object, "in_use", number(answer->in_use));
    set(b, object, "sustainable_per_s", number(answer->sustainable_per_s));
    set(b, object, "limited_by",
        isfinite(answer->sustainable_per_s) ? json_string(plan_limit_names[answer->limited_by])
                                            : json_null());
    set(b, object, "exhausted_s", number(answer->exhausted_s));
    set(b, object, "half_full_s", number(answer->half_full_s));
    set(b, object, "refused_share", number(answer->refused_share));
    set(b, object, "refused_random", number(answer->refused_random));
    set(b, object, "stall_s", number(answer->stall_s));
    set(b, object, "bounds", bounds_array(b, answer));
    return object;
}

static json_t *cures_array(struct builder *b, const struct report_plan *plan)
{
    json_t *array = json_array();

    for (size_t i = 0; i < plan->cure_count; i++) {
        const struct plan_cure *cure = &plan->cures[i];
        json_t *object = json_object();

        set(b, object, "name", json_string(cure->name));
        set(b, object, "what", text_or_null(cure->what));
        set(b, object, "cost", text_or_null(cure->cost));
        set(b, object, "workload", workload_object(b, &cure->workload));
        set(b, object, "answer", answer_object(b, &cure->answer));
        append(b, array, object);
    }
    return array;
}

static json_t *simulation_object(struct builder *b, const struct simulate_result *simulation)
{
    json_t *object;

    if (!simulation)
        return json_null();
    object = json_object();
    set(b, object, "duration_s", number(simulation->duration_s));
    set(b, object, "interrupted", json_boolean(simulation->interrupted));
    set(b, object, "attempted", count(simulation->attempted));
    set(b, object, "refused", count(simulation->refused));
    set(b, object, "first_refused_s", number(simulation->first_refused_s));
    set(b, object, "refused_share", number(simulation->refused_share));
    set(b, object, "sustained_per_s", number(simulation->sustained_per_s));
    set(b, object, "in_use_mean", number(simulation->in_use_mean));
    set(b, object, "in_use_max", number(simulation->in_use_max));
    return object;
}

static json_t *series_array(struct builder *b, const struct report_plan *plan)
{
    struct plan_point points[REPORT_PLAN_POINTS];
    size_t point_count = plan_points(plan, points);
    json_t *array = json_array();

    for (size_t i = 0; i < point_count; i++) {
        json_t *object = json_object();

        set(b, object, "at_s", number(points[i].at_s));
        set(b, object, "in_use", number(points[i].in_use));
        if (plan->simulation)
            set(b, object, "simulated", number(points[i].simulated));
        append(b, array, object);
    }
    return array;
}

static int dump(struct builder *b, json_t *root, FILE *out)
{
    int rc = b->bad || !root ? -ENOMEM : 0;

    if (rc == 0 && (json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) ||
                    fputc('\n', out) == EOF || fflush(out)))
        rc = -EIO;
    json_decref(root);
    return rc;
}

int report_plan_json(const struct report_plan *plan, FILE *out)
{
    struct builder b = {0};
    json_t *root = json_object();

    set(&b, root, "schema", json_string("tidewait.plan/1"));
    set(&b, root, "like", text_or_null(plan->like));
    set(&b, root, "system", system_object(&b, plan->system));
    set(&b, root, "nat", nat_object(&b, plan->nat));
    set(&b, root, "workload", workload_object(&b, plan->workload));
    set(&b, root, "answer", answer_object(&b, plan->answer));
    set(&b, root, "cures", cures_array(&b, plan));
    set(&b, root, "simulation", simulation_object(&b, plan->simulation));
    set(&b, root, "series", series_array(&b, plan));
    return dump(&b, root, out);
}

static json_t *endpoint(const struct tw_endpoint *address)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    return json_string(tw_endpoint_format(address, text));
}

static json_t *lanes_array(struct builder *b, const struct report_plan_now *now)
{
    json_t *array = json_array();

    for (size_t i = 0; i < now->lane_count; i++) {
        const struct report_plan_lane *lane = &now->lanes[i];
        json_t *object = json_object();

        set(b, object, "source", endpoint(&lane->source));
        set(b, object, "destination", endpoint(&lane->destination));
        set(b, object, "opened_per_s", number(lane->opened_per_s));
        set(b, object, "open", number(lane->open));
        set(b, object, "lasting", number(lane->lasting));
        set(b, object, "time_waits", number(lane->time_waits));
        set(b, object, "closing_seen", json_boolean(lane->closing_seen));
        set(b, object, "system", system_object(b, &lane->system));
        set(b, object, "workload", workload_object(b, &lane->workload));
        set(b, object, "answer", answer_object(b, &lane->answer));
        append(b, array, object);
    }
    return array;
}

int report_plan_now_json(const struct report_plan_now *now, FILE *out)
{
    struct builder b = {0};
    json_t *root = json_object(), *measured = json_object(), *blind = json_array();

    set(&b, measured, "seconds", number(now->seconds));
    set(&b, measured, "interrupted", json_boolean(now->interrupted));
    set(&b, measured, "looks", count(now->looks));
    set(&b, measured, "opened_per_s",
        now->opened_per_s < 0 ? json_null() : number(now->opened_per_s));
    set(&b, measured, "attributed_per_s", number(now->attributed_per_s));
    set(&b, measured, "ports_lost", number(now->lost));
    set(&b, measured, "lanes_seen", count(now->lanes_seen));
    set(&b, measured, "lanes_opening", count(now->lanes_opening));
    for (unsigned flag = 1; flag < 1u << TW_BLIND_COUNT; flag <<= 1)
        if (now->blind & flag)
            append(&b, blind, json_string(tw_blind_text((enum tw_blind)flag)));
    set(&b, measured, "blind", blind);
    set(&b, root, "schema", json_string("tidewait.plan/1"));
    set(&b, root, "measured", measured);
    set(&b, root, "lanes", lanes_array(&b, now));
    return dump(&b, root, out);
}

int report_plan_csv(const struct report_plan *plan, FILE *out)
{
    struct plan_point points[REPORT_PLAN_POINTS];
    size_t point_count = plan_points(plan, points);

    fprintf(out, "at_s,in_use%s,tuples\n", plan->simulation ? ",simulated" : "");
    for (size_t i = 0; i < point_count; i++) {
        fprintf(out, "%.6g,%.9g", points[i].at_s, points[i].in_use);
        if (plan->simulation)
            fprintf(out, ",%.9g", points[i].simulated);
        if (isfinite(plan->answer->tuples))
            fprintf(out, ",%.0f\n", plan->answer->tuples);
        else
            fputs(",\n", out);
    }
    return fflush(out) || ferror(out) ? -EIO : 0;
}
