/*
 * tune_proposal.h - what `tune` proposes, as text for people and as JSON for programs.
 */
#ifndef REPORT_TUNE_PROPOSAL_H
#define REPORT_TUNE_PROPOSAL_H

#include <stdbool.h>
#include <stdio.h>

#include "propose.h"

/* How it is, the changes, how it will be; and what no setting can do. `asked` is NULL when the
 * changes were not found for a workload. */
void report_proposal_text(const struct proposal *proposal, const struct plan_workload *asked,
                          bool color, FILE *out);

/* {"schema":"tidewait.proposal/1", ...} on one line; `done`: the changes were made. Returns 0,
 * -ENOMEM, or -EIO when out fails. */
int report_proposal_json(const struct proposal *proposal, const struct plan_workload *asked,
                         bool done, FILE *out);

#endif
