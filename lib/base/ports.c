#include "tidewait/ports.h"

void tw_ports_add_range(struct tw_ports *set, struct tw_port_range range)
{
    for (unsigned port = range.first; port <= range.last; port++)
        tw_ports_add(set, (uint16_t)port);
}

void tw_ports_remove_all(struct tw_ports *set, const struct tw_ports *others)
{
    for (size_t i = 0; i < sizeof(set->bits) / sizeof(set->bits[0]); i++)
        set->bits[i] &= ~others->bits[i];
}

size_t tw_ports_count(const struct tw_ports *set)
{
    size_t count = 0;

    for (size_t i = 0; i < sizeof(set->bits) / sizeof(set->bits[0]); i++)
        count += (size_t)__builtin_popcountll(set->bits[i]);
    return count;
}

void tw_ports_list(const struct tw_ports *set, uint16_t *out)
{
    for (unsigned port = 0; port < 65536; port++)
        if (tw_ports_has(set, (uint16_t)port))
            *out++ = (uint16_t)port;
}

int tw_ports_parse(struct tw_view text, struct tw_ports *set, struct tw_error *error)
{
    struct tw_view rest = text;
    struct tw_ports all = *set;

    if (text.len == 0)
        return 0;
    do {
        struct tw_port_range range;
        int rc = tw_parse_ports(tw_view_cut(&rest, ','), &range, error);

        if (rc)
            return rc;
        tw_ports_add_range(&all, range);
    } while (rest.data);
    *set = all;
    return 0;
}
