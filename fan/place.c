#include "place.h"

#include <errno.h>
#include <netdb.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/clock.h"

/* The question for one host. */
struct lookup {
    struct place place; /* without an address as long as none has come */
    uint64_t since_ns;  /* when it was first looked for */
    struct addrinfo hints;
    struct gaicb request;
};

struct places {
    const struct hosts *hosts;
    uint16_t port;
    uint64_t limit_ns;
    uint64_t asked_ns;
    struct lookup *lookups; /* of each host */
    void *lanes;            /* tsearch(3): the first place of each lane */
};

static int by_endpoint(const void *a, const void *b)
{
    const struct tw_endpoint *x = &((const struct place *)a)->to;
    const struct tw_endpoint *y = &((const struct place *)b)->to;

    if (x->sa.sa_family != y->sa.sa_family)
        return x->sa.sa_family - y->sa.sa_family;
    if (tw_endpoint_port(x) != tw_endpoint_port(y))
        return tw_endpoint_port(x) - tw_endpoint_port(y);
    if (x->sa.sa_family == AF_INET)
        return memcmp(&x->v4.sin_addr, &y->v4.sin_addr, sizeof(x->v4.sin_addr));
    if (x->v6.sin6_scope_id != y->v6.sin6_scope_id)
        return x->v6.sin6_scope_id < y->v6.sin6_scope_id ? -1 : 1;
    return memcmp(&x->v6.sin6_addr, &y->v6.sin6_addr, sizeof(x->v6.sin6_addr));
}

static int ask(struct places *places, struct tw_error *error)
{
    size_t count = places->hosts->count;
    struct gaicb **requests = calloc(count, sizeof(struct gaicb *));
    int rc;

    places->lookups = calloc(count, sizeof(*places->lookups));
    if (!requests || !places->lookups) {
        free(requests);
        return tw_error_set(error, ENOMEM, "no memory");
    }
    for (size_t i = 0; i < count; i++) {
        struct lookup *lookup = &places->lookups[i];

        lookup->place.lane = (uint32_t)i;
        lookup->hints.ai_socktype = SOCK_STREAM;
        lookup->request.ar_name = places->hosts->items[i].address;
        lookup->request.ar_request = &lookup->hints;
        requests[i] = &lookup->request;
    }
    places->asked_ns = tw_clock_ns();
    rc = getaddrinfo_a(GAI_NOWAIT, requests, (int)count, NULL);
    free(requests);
    return rc ? tw_error_set(error, ENOMEM, "cannot ask for the addresses of the hosts: %s",
                             gai_strerror(rc))
              : 0;
}

int places_new(const struct hosts *hosts, uint16_t port, uint64_t limit_ns, struct places **out,
               struct tw_error *error)
{
    struct places *places = calloc(1, sizeof(*places));
    int rc;

    if (!places)
        return tw_error_set(error, ENOMEM, "no memory");
    places->hosts = hosts;
    places->port = port;
    places->limit_ns = limit_ns;
    rc = ask(places, error);
    if (rc == 0)
        *out = places;
    else
        places_free(places);
    return rc;
}

static void leave(void *place)
{
    (void)place;
}

void places_free(struct places *places)
{
    bool asking = false;

    if (!places)
        return;
    for (size_t i = 0; places->lookups && i < places->hosts->count; i++) {
        struct lookup *lookup = &places->lookups[i];

        if (gai_cancel(&lookup->request) == EAI_NOTCANCELED)
            asking = true;
        else if (lookup->request.ar_result)
            freeaddrinfo(lookup->request.ar_result);
    }
    tdestroy(places->lanes, leave);
    /* A question that is still on its way writes its answer there. */
    if (!asking)
        free(places->lookups);
    free(places);
}

/* IPv4 first: inetd's shell service is of IPv4 unless it is told otherwise. */
static const struct addrinfo *choose(const struct addrinfo *list)
{
    for (const struct addrinfo *one = list; one; one = one->ai_next)
        if (one->ai_family == AF_INET)
            return one;
    return list;
}

static int take_answer(struct places *places, const struct host *host, struct lookup *lookup,
                       struct tw_error *error)
{
    const struct addrinfo *found = choose(lookup->request.ar_result);
    struct place *place = &lookup->place, **lane;

    memcpy(&place->to, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(lookup->request.ar_result);
    lookup->request.ar_result = NULL;
    tw_endpoint_set_port(&place->to, host->port ? host->port : places->port);
    lane = tsearch(place, &places->lanes, by_endpoint);
    if (!lane)
        return tw_error_set(error, ENOMEM, "no memory");
    place->lane = (*lane)->lane;
    return 0;
}

int places_find(struct places *places, const struct host *host, const struct place **out,
                struct tw_error *error)
{
    struct lookup *lookup = &places->lookups[host - places->hosts->items];
    uint64_t now = tw_clock_ns();
    int rc;

    *out = &lookup->place;
    if (lookup->place.to.sa.sa_family != AF_UNSPEC)
        return 0;
    lookup->since_ns = lookup->since_ns ? lookup->since_ns : now;
    rc = gai_error(&lookup->request);
    if (rc == 0)
        return take_answer(places, host, lookup, error);
    if (rc != EAI_INPROGRESS)
        return tw_error_set(error, ENXIO, "%s", gai_strerror(rc));
    if (places->limit_ns && now - lookup->since_ns >= places->limit_ns)
        return tw_error_set(error, ETIMEDOUT, "no answer about its address in time");
    return now - places->asked_ns < PLACE_IN_ORDER_NS ? -EAGAIN : -EBUSY;
}
