#include "schedule.h"

/* The first step has the rate FROM, the last one below the ramp's end almost TO. */
static double step_rate(const struct offer *offer, int step)
{
    double to = atomic_load_explicit(&offer->per_s, memory_order_relaxed);

    if (step >= RAMP_STEPS)
        return to;
    return offer->ramp_from_per_s + (to - offer->ramp_from_per_s) * step / RAMP_STEPS;
}

static int step_at(const struct offer *offer, double at_s)
{
    return at_s >= offer->ramp_s ? RAMP_STEPS : (int)floor(at_s / offer->ramp_s * RAMP_STEPS);
}

double offer_at(const struct offer *offer, double at_s)
{
    return step_rate(offer, step_at(offer, at_s));
}

/* Moves on until the offer adds up to so many connections more. A gap that a step of the ramp does
 * not fill goes on at the rate of the next: a step of 0/s, or of one a minute, holds up nothing. */
static void move_on(struct schedule *schedule, double connections)
{
    const struct offer *offer = schedule->offer;

    for (int step = step_at(offer, schedule->next_s); step < RAMP_STEPS; step++) {
        double end_s = offer->ramp_s * (step + 1) / RAMP_STEPS, rate = step_rate(offer, step);
        double in_step = rate * (end_s - schedule->next_s);

        if (in_step > connections) {
            schedule->next_s += connections / rate;
            return;
        }
        connections -= in_step;
        schedule->next_s = end_s;
    }
    schedule->next_s += connections / step_rate(offer, RAMP_STEPS);
}

void schedule_init(struct schedule *schedule, const struct offer *offer, bool poisson,
                   uint32_t thread, uint32_t threads, struct random *random)
{
    *schedule = (struct schedule){
        .offer = offer,
        .random = random,
        .poisson = poisson,
        .thread = thread,
        .threads = threads,
    };
    schedule_restart(schedule, 0);
}

void schedule_restart(struct schedule *schedule, double at_s)
{
    schedule->next_s = at_s;
    if (schedule->poisson)
        schedule_advance(schedule);
    else
        move_on(schedule, schedule->thread);
}

void schedule_advance(struct schedule *schedule)
{
    double mean = schedule->threads;

    move_on(schedule, schedule->poisson ? random_exponential(schedule->random, mean) : mean);
}
