#include "tidewait/rules.h"

enum tw_rules_unix tw_rules_unix(bool is_abstract, bool file_exists, bool file_is_socket,
                                 bool socket_bound)
{
    if (is_abstract)
        return socket_bound ? TW_UNIX_LIVE : TW_UNIX_FREE;
    /* A socket whose file was removed lives on, but is in nobody's way. */
    if (!file_exists)
        return TW_UNIX_FREE;
    if (!file_is_socket)
        return TW_UNIX_OTHER;
    return socket_bound ? TW_UNIX_LIVE : TW_UNIX_STALE;
}
