/* Feeds hosts_add() and hosts_add_text() texts; the first byte chooses. What they make must have
 * harmless names, each once, no more than there may be, and fold into a list that means the same.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hosts.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_text(const char *text)
{
    check(text[0] && text[0] != '-');
    for (; *text; text++)
        check((unsigned char)*text > ' ' && (unsigned char)*text < 0x7f && *text != '/' &&
              *text != '\'' && *text != '"' && *text != '\\' && *text != '$' && *text != ';');
}

static void check_host(const struct host *host)
{
    check_text(host->label);
    check_text(host->address);
    check(!strchr(host->address, '[') && host->address[0] != '.');
    check(strlen(host->label) < HOST_LABEL_MAX && strstr(host->label, host->address));
    if (host->user)
        check_text(host->user);
}

/* Folded and read again it is the same set. */
static void check_fold(const struct hosts *hosts)
{
    const char **labels = malloc((hosts->count + 1) * sizeof(*labels));
    struct hosts again = {.count = 0};
    char *folded;

    check(labels != NULL);
    for (size_t i = 0; i < hosts->count; i++)
        labels[i] = hosts->items[i].label;
    folded = hosts_fold(labels, hosts->count);
    check(folded && hosts_add(&again, tw_view_of(folded), NULL) == 0);
    check(again.count == hosts->count);
    /* Taken away from each other nothing is left. */
    for (size_t i = 0; i < hosts->count && i < 50; i++)
        check(hosts_remove(&again, tw_view_of(labels[i]), NULL) == 0);
    check(hosts->count > 50 || again.count == 0);
    hosts_fini(&again);
    free(folded);
    free(labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tw_view text = {(const char *)data + 1, size - 1};
    struct hosts hosts = {.count = 0};
    struct tw_error error = {0};
    int rc;

    if (size == 0)
        return 0;
    rc = data[0] % 2 ? hosts_add_text(&hosts, text, "file", &error)
                     : hosts_add(&hosts, text, &error);
    check((rc == 0) == (error.code == 0) && hosts.count <= HOSTS_MAX);
    for (size_t i = 0; i < hosts.count; i++)
        check_host(&hosts.items[i]);
    if (hosts.count <= 5000)
        check_fold(&hosts);
    hosts_fini(&hosts);
    return 0;
}
