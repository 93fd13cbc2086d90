/*
 * mark.h - a word that no command writes by chance, to tell its words from ours.
 */
#ifndef MARK_H
#define MARK_H

#define MARK_MAX 48

void mark_make(char mark[MARK_MAX]);

#endif
