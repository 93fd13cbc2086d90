/*
 * tune_show.h - `tidewait tune` without a rate, and `tidewait tune explain`: the settings of this
 * host and what each is worth. They need no rights.
 */
#ifndef TUNE_SHOW_H
#define TUNE_SHOW_H

#include <stdbool.h>
#include <stddef.h>

/* All settings as a table. Returns an exit code. */
int tune_show(bool json, bool color);

/* All that is known of the settings named, each once and in this order. Returns an exit code. */
int tune_explain(int count, char **names, bool json, bool color);

/* Of a name that is no setting's: "; did you mean ..?", or where the names are listed. */
void tune_offer(const char *typed, char *text, size_t size);

#endif
