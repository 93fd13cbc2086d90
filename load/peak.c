#include "peak.h"

#include <stdatomic.h>
#include <string.h>

static bool step_held(const struct peak *peak, double rate)
{
    const struct run *step = &peak->step;
    double due = rate * step->duration_s;

    if ((double)step->tally.opened < due * PEAK_SHARE ||
        (double)step->tally.completed < due * PEAK_SHARE)
        return false;
    if (peak->limit_count == 0 && tally_failed(&step->tally))
        return false;
    for (size_t i = 0; i < peak->limit_count; i++)
        if (threshold_missed(&peak->limits[i], step))
            return false;
    return true;
}

/* Judges the step that is over and sets the rate of the next; true when there is none. */
static bool next_step(struct peak *peak)
{
    double rate = atomic_load(&peak->offer->per_s);

    if (step_held(peak, rate)) {
        if (rate > peak->best_per_s)
            peak->best_per_s = rate;
    } else if (peak->missed_per_s == 0 || rate < peak->missed_per_s) {
        peak->missed_per_s = rate;
    }
    memset(&peak->step, 0, sizeof(peak->step));
    if (peak->missed_per_s == 0)
        rate *= 2;
    else if (peak->best_per_s == 0 && rate > PEAK_FLOOR_PER_S)
        rate /= 2; /* the first rate was too high: down until one is held, and not counted */
    else if (peak->halvings++ < PEAK_HALVINGS)
        rate = (peak->best_per_s + peak->missed_per_s) / 2;
    else
        return true;
    atomic_store(&peak->offer->per_s, rate);
    atomic_fetch_add(&peak->offer->changes, 1);
    return false;
}

bool peak_second(struct peak *peak, const struct second *second, const struct histogram *total)
{
    if (peak->second++ == 0)
        return false;
    peak->step.duration_s += 1;
    peak->step.tally.opened += second->opened;
    peak->step.tally.completed += second->completed;
    peak->step.tally.in_time += second->completed;
    peak->step.tally.failures[FAILURE_OTHER] += second->failed;
    peak->step.tally.port_waits.count += second->port_waits;
    histogram_add(&peak->step.stages[STAGE_TOTAL], total);
    if (peak->second < PEAK_STEP_S)
        return false;
    peak->second = 0;
    return next_step(peak);
}
