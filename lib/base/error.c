#include "tidewait/error.h"

#include <stdarg.h>
#include <stdio.h>

int tw_error_set(struct tw_error *error, int code, const char *format, ...)
{
    if (error && error->code == 0) {
        va_list args;

        error->code = code;
        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        /* What is quoted may hold anything; the text stays one line and harmless on a terminal. */
        for (char *c = error->text; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 127)
                *c = '?';
    }
    return -code;
}
