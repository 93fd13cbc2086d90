/*
 * ls_json.h - sockets and groups of `ls` as JSON: an array, or an object a line. Nothing is built
 * in memory.
 */
#ifndef LS_JSON_H
#define LS_JSON_H

#include "ls_print.h"

/* Before the first object and behind the last. */
void ls_json_begin(struct ls_printer *printer);
void ls_json_end(struct ls_printer *printer);

void ls_json_item(struct ls_printer *printer, const struct ls_item *item);

/* One object; between the two its keys. */
void ls_json_open(struct ls_printer *printer);
void ls_json_close(struct ls_printer *printer);

void ls_json_key(struct ls_printer *printer, const char *key);
void ls_json_number(struct ls_printer *printer, const char *key, uint64_t value);
void ls_json_text(struct ls_printer *printer, const char *key, const char *text);
void ls_json_address(struct ls_printer *printer, const char *key,
                     const struct tw_endpoint *endpoint);
void ls_json_netns(struct ls_printer *printer, const struct tw_netns *netns);
void ls_json_user(struct ls_printer *printer, uint32_t uid);

#endif
