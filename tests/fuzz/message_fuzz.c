/* Feeds tw_message_recognise() whole texts. What it finds must be what its header says, and the
 * same text must give the same answer. */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>

#include "tidewait/message.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_endpoint(bool has, const struct tw_endpoint *endpoint)
{
    if (has)
        check(endpoint->sa.sa_family == AF_INET || endpoint->sa.sa_family == AF_INET6);
    else
        check(endpoint->sa.sa_family == AF_UNSPEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tw_view text = {(const char *)data, size};
    struct tw_message message = {0}, again = {0};
    int rc = tw_message_recognise(text, &message);

    check(rc == 0 || rc == -ENOENT);
    check(tw_message_recognise(text, &again) == rc);
    /* Both were zeroed, padding too. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    check(memcmp(&message, &again, sizeof(message)) == 0);
    check((rc == 0) == (message.program != NULL));
    if (rc)
        return 0;
    check(message.program[0] && message.meaning && message.meaning[0]);
    check(message.op <= TW_MESSAGE_CONNECT);
    check(message.code == EADDRINUSE || message.code == EADDRNOTAVAIL || message.code == EACCES ||
          message.code == EINVAL || message.code == EAGAIN);
    check((message.protocol == 0) == (message.path[0] != 0));
    check(memchr(message.path, 0, sizeof(message.path)) != NULL);
    check(!message.has_remote || message.op == TW_MESSAGE_CONNECT);
    check(!message.port_only || message.has_local || message.has_remote);
    check_endpoint(message.has_local, &message.local);
    check_endpoint(message.has_remote, &message.remote);
    return 0;
}
