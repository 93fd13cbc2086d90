#include "tidewait/blind.h"

#include <stddef.h>

const char *tw_blind_text(enum tw_blind flag)
{
    static const struct {
        enum tw_blind flag;
        const char *text;
    } texts[] = {
        {TW_BLIND_SOCK_DIAG,
         "the device and the IPV6_V6ONLY of sockets, because netlink is refused here and /proc/net "
         "was read instead"},
        {TW_BLIND_BOUND,
         "TCP sockets that are bound but neither listen nor connect, because only sock_diag of "
         "Linux 6.8 or later lists them"},
        {TW_BLIND_PROCESSES,
         "the descriptors of some processes, because this user has no right to look into them"},
        {TW_BLIND_HIDEPID, "the processes of other users, because /proc is mounted with hidepid"},
        {TW_BLIND_PID_NAMESPACE,
         "processes outside of this container, because /proc shows one pid namespace alone"},
        {TW_BLIND_OPTIONS,
         "SO_REUSEADDR and SO_REUSEPORT of some sockets, because only a copy of the descriptor "
         "tells them and that was not to be had"},
        {TW_BLIND_NETNS, "some network namespaces, because entering them was refused"},
        {TW_BLIND_PROC, "processes and settings, because /proc is not mounted or not readable"},
        {TW_BLIND_UNIX,
         "owners, peers, files and queues of Unix sockets, because netlink is refused here and "
         "/proc/net/unix was read instead"},
    };

    _Static_assert(sizeof(texts) / sizeof(texts[0]) == TW_BLIND_COUNT, "one text a flag");
    for (size_t i = 0; i < TW_BLIND_COUNT; i++)
        if (texts[i].flag == flag)
            return texts[i].text;
    return "something that this version has no words for";
}
