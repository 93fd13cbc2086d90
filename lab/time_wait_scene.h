/*
 * time_wait_scene.h - what the scenarios about TIME_WAIT share: a client and a server that use the
 * same two ports again and again.
 *
 * The client is the left host, the server the right one. As everywhere on a stage, what the plot
 * does not want to fail ends the stage.
 */
#ifndef TIME_WAIT_SCENE_H
#define TIME_WAIT_SCENE_H

#include "stage.h"

#define SCENE_CLIENT_PORT 30000 /* outside of the kernel's own choice */
#define SCENE_SERVER_PORT 80

struct scene {
    struct stage *stage;
    struct host *client, *server;
    int listener; /* on SCENE_SERVER_PORT */
    bool drawn;   /* the figure shows what scene_close() does */
};

/* A scene whose hosts are there already; what happens in it is drawn from scene_draw() on. */
struct scene scene_begin(struct stage *stage);
void scene_draw(struct scene *scene);

/* A new socket with SO_REUSEADDR, bound to SCENE_CLIENT_PORT: the tuple is chosen by the program.
 * Connects it; 0 or the positive errno of connect(), and then *fd is -1. */
int scene_connect(const struct scene *scene, int *fd);

/* The same, with the server's end; it must work. */
struct pair scene_open(const struct scene *scene);

/* Closes both ends of a connection to this port of the server, in order. TIME_WAIT is left on the
 * first host and nothing on the other when it returns. */
void scene_close(const struct scene *scene, struct pair *pair, uint16_t server_port,
                 struct host *first);

/* How much longer the kernel will keep the connection to this port of the server. */
uint32_t scene_expires_ms(const struct scene *scene, struct host *host, uint16_t server_port);

/* A counter of tidewait/counters.h on a host. */
int64_t scene_counter(struct host *host, const char *name);

#endif
