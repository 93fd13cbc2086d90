#include "tidewait/error.h"

#include <stdarg.h>

#include "tidewait/text.h"

int tw_error_set(struct tw_error *error, int code, const char *format, ...)
{
    if (error && error->code == 0) {
        va_list args;

        error->code = code;
        va_start(args, format);
        /* What is quoted may hold anything; the text stays one line and harmless on a terminal. */
        tw_text_format(error->text, sizeof(error->text), format, args);
        va_end(args);
    }
    return -code;
}
