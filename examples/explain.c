/*
 * explain.c - a server that explains its own failure to bind, instead of "Address already in use".
 *
 *     explain ADDRESS:PORT
 */
#include <stdio.h>
#include <unistd.h>

#include <tidewait/socket.h>
#include <tidewait/verdict.h>

/* What is wrong, who has it, and what to do. */
static void explain(const struct tw_endpoint *local)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict = tw_why_bind(-1, &local->sa, tw_endpoint_len(local), &error);

    if (!verdict) {
        fprintf(stderr, "explain: nor can it be told why: %s\n", error.text);
        return;
    }
    fprintf(stderr, "%s (%s)\n", verdict->summary, verdict->cause ? verdict->cause : "by now");
    for (size_t i = 0; i < verdict->remedy_count; i++) {
        const struct tw_verdict_remedy *remedy = &verdict->remedies[i];

        fprintf(stderr, "  - %s%s%s: %s\n", remedy->what, remedy->command ? ": " : "",
                remedy->command ? remedy->command : "", remedy->why);
    }
    for (size_t i = 0; i < verdict->hidden_count; i++)
        fprintf(stderr, "  not seen: %s\n", verdict->hidden[i]);
    tw_verdict_free(verdict);
}

int main(int argc, char **argv)
{
    struct tw_listen_opts opts = {0};
    struct tw_endpoint local;
    struct tw_error error = {0};
    int listener;

    if (argc != 2 || tw_endpoint_parse(tw_view_of(argv[1]), &local, &error)) {
        fprintf(stderr, "usage: explain ADDRESS:PORT\n%s\n", error.text);
        return 2;
    }
    listener = tw_listen(&local, &opts, &error);
    if (listener < 0) {
        fprintf(stderr, "explain: %s\n", error.text);
        explain(&local);
        return 1;
    }
    printf("%s could be had\n", argv[1]);
    close(listener);
    return 0;
}
