#include "text.h"

#include <fcntl.h>
#include <unistd.h>

bool facts_read_text(const char *path, char *buf, size_t size, struct tw_view *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = 0;

    if (fd < 0)
        return false;
    while (len < size && (got = read(fd, buf + len, size - len)) > 0)
        len += (size_t)got;
    close(fd);
    while (len && (buf[len - 1] == '\n' || buf[len - 1] == ' '))
        len--;
    *out = (struct tw_view){buf, len};
    return got >= 0;
}

int64_t facts_read_number(const char *path)
{
    char buf[64];
    struct tw_view text;
    uint64_t value;

    if (!facts_read_text(path, buf, sizeof(buf), &text) ||
        tw_parse_number(text, path, 0, INT64_MAX, &value, NULL))
        return -1;
    return (int64_t)value;
}
