/*
 * quote.h - how the parsers of the library quote offending input in an error.
 */
#ifndef QUOTE_H
#define QUOTE_H

/* Longest piece of input quoted: enough to be recognised, short enough for one line. */
#define QUOTE_MAX 60

/* The two arguments of a %.*s that quotes a view. */
#define QUOTE(view) (int)((view).len < QUOTE_MAX ? (view).len : QUOTE_MAX), (view).data

#endif
