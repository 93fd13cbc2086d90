#include "lab_figure.h"

#include <stdbool.h>
#include <string.h>

/* Where the columns begin. */
enum {
    TIME_WIDTH = 8,
    LEFT_AT = 11,
    ARROW_AT = 34,
    ARROW_END = 68,
    RIGHT_AT = 70,
    END = FIGURE_COLUMNS,
};

#define ARROW_WIDTH  (ARROW_END - ARROW_AT)
#define LEFT_WIDTH   (ARROW_AT - LEFT_AT - 1)
#define BESIDE_WIDTH (RIGHT_AT - LEFT_AT - 2) /* of the left column when nothing is sent */
#define RIGHT_WIDTH  (END - RIGHT_AT)
#define ARROW_DASHES 4 /* the least that an arrow has beside its text, blanks and head included */
#define HANGING      2 /* further lines of a text stand so much further right */
#define MS_TENTH_NS  100000ULL

/* What is in the middle of a line. */
enum arrow { ARROW_NONE, ARROW_RIGHT, ARROW_LEFT, ARROW_NO_ROOM };

/* The line under way. What happens at the same time on different sides shares it. */
struct figure {
    FILE *out;
    bool one_column;
    uint64_t tenths; /* its time, in tenths of a ms */
    uint64_t told;   /* the last time that was printed */
    bool begun;
    bool has_left, has_right;
    enum arrow arrow;
    char cells[END + 1];
};

static char safe(char c)
{
    return (unsigned char)c < ' ' || (unsigned char)c > '~' ? '?' : c;
}

/* The part of the text that fits in so many columns, at a blank if there is one: its length. */
static size_t fitting(const char *text, size_t len, size_t width)
{
    size_t at = width;

    if (len <= width)
        return len;
    while (at > 0 && text[at] != ' ')
        at--;
    return at ? at : width;
}

void figure_wrap(const char *text, size_t size, int at, int end, FILE *out)
{
    size_t len = strnlen(text, size), width = (size_t)(end - at), part;

    for (;;) {
        part = fitting(text, len, width);
        for (size_t i = 0; i < part; i++)
            fputc(safe(text[i]), out);
        fputc('\n', out);
        text += part;
        len -= part;
        while (len && *text == ' ')
            text++, len--;
        if (!len)
            return;
        fprintf(out, "%*s", at, "");
    }
}

/* --- one line --- */

static void end_line(struct figure *figure)
{
    size_t len = END;

    if (!figure->begun)
        return;
    while (len > 0 && figure->cells[len - 1] == ' ')
        len--;
    fprintf(figure->out, "%.*s\n", (int)len, figure->cells);
    figure->begun = figure->has_left = figure->has_right = false;
    figure->arrow = ARROW_NONE;
}

static void put(struct figure *figure, int at, const char *text, size_t len)
{
    for (size_t i = 0; i < len && at + (int)i < END; i++)
        figure->cells[at + (int)i] = safe(text[i]);
}

static void begin_line(struct figure *figure)
{
    char time[32];

    end_line(figure);
    memset(figure->cells, ' ', END);
    figure->begun = true;
    if (figure->tenths == figure->told)
        return;
    figure->told = figure->tenths;
    snprintf(time, sizeof(time), "%*.1f", TIME_WIDTH, (double)figure->tenths / 10);
    put(figure, 0, time, strlen(time));
}

/* A text in lines of its own, or behind what is on this line already. */
static void put_wrapped(struct figure *figure, int at, size_t width, const char *text, size_t len)
{
    size_t part = fitting(text, len, width);

    put(figure, at, text, part);
    while (part < len) {
        text += part;
        len -= part;
        while (len && *text == ' ')
            text++, len--;
        if (!len)
            return;
        begin_line(figure);
        part = fitting(text, len, width - HANGING);
        put(figure, at + HANGING, text, part);
    }
}

/* --- events --- */

/* A line reads along its arrow: cause, segment, effect. What would be read the other way round
 * begins a new one. */
static void add_left(struct figure *figure, const char *text, size_t len)
{
    bool fits = len <= LEFT_WIDTH;

    if (!figure->begun || figure->has_left || figure->arrow == ARROW_RIGHT ||
        (figure->arrow && !fits))
        begin_line(figure);
    put_wrapped(figure, LEFT_AT, fits ? LEFT_WIDTH : BESIDE_WIDTH, text, len);
    figure->has_left = true;
    if (!fits)
        figure->arrow = ARROW_NO_ROOM;
}

static void add_right(struct figure *figure, const char *text, size_t len)
{
    if (!figure->begun || figure->has_right || figure->arrow == ARROW_LEFT)
        begin_line(figure);
    put_wrapped(figure, RIGHT_AT, RIGHT_WIDTH, text, len);
    figure->has_right = true;
}

/* "---- text ------->", "<----- text -------"; a lost one ends at an x before it is there. */
static void draw_arrow(struct figure *figure, bool to_right, bool lost, const char *text,
                       size_t len)
{
    int from = ARROW_AT, to = ARROW_END - 1, head;
    size_t room = len ? len + 2 : 0;

    if (lost && to_right)
        to -= (int)(ARROW_WIDTH - room - ARROW_DASHES) / 2;
    else if (lost)
        from += (int)(ARROW_WIDTH - room - ARROW_DASHES) / 2;
    memset(figure->cells + from, '-', (size_t)(to - from) + 1);
    head = to_right ? to : from;
    figure->cells[head] = lost ? 'x' : to_right ? '>' : '<';
    if (!len)
        return;
    head = from + (int)((size_t)(to - from) + 1 - room) / 2;
    figure->cells[head] = ' ';
    put(figure, head + 1, text, len);
    figure->cells[head + 1 + (int)len] = ' ';
}

static void add_arrow(struct figure *figure, bool to_right, bool lost, const char *text, size_t len)
{
    bool fits = len + 2 + ARROW_DASHES <= ARROW_WIDTH;

    if (!figure->begun || figure->arrow || (to_right ? figure->has_right : figure->has_left) ||
        (figure->has_right && !fits))
        begin_line(figure);
    if (!fits) {
        put_wrapped(figure, ARROW_AT, END - ARROW_AT, text, len);
        begin_line(figure);
        len = 0;
    }
    draw_arrow(figure, to_right, lost, text, len);
    figure->arrow = to_right ? ARROW_RIGHT : ARROW_LEFT;
}

static void add_text(struct figure *figure, const char *mark, const char *text, size_t len)
{
    size_t indent = strlen(mark);

    begin_line(figure);
    put(figure, LEFT_AT, mark, indent);
    put_wrapped(figure, LEFT_AT + (int)indent, END - LEFT_AT - indent, text, len);
    end_line(figure);
}

static void add_alone(struct figure *figure, uint8_t place, const char *text, size_t len)
{
    bool to_right = place == STORY_TO_RIGHT || place == STORY_LOST_TO_RIGHT;
    bool to_left = place == STORY_TO_LEFT || place == STORY_LOST_TO_LEFT;
    bool lost = place == STORY_LOST_TO_RIGHT || place == STORY_LOST_TO_LEFT;

    add_text(figure,
             place == STORY_NOTE ? "* "
             : to_right          ? lost ? "--x " : "--> "
             : to_left           ? lost ? "x-- " : "<-- "
                                 : "",
             text, len);
}

static void add_event(struct figure *figure, const struct story_event *event)
{
    uint64_t tenths = (event->at_ns + MS_TENTH_NS / 2) / MS_TENTH_NS;
    size_t len = strnlen(event->text, sizeof(event->text));

    if (tenths != figure->tenths)
        end_line(figure);
    figure->tenths = tenths;
    if (figure->one_column || event->place == STORY_NOTE)
        add_alone(figure, event->place, event->text, len);
    else if (event->place == STORY_LEFT)
        add_left(figure, event->text, len);
    else if (event->place == STORY_RIGHT)
        add_right(figure, event->text, len);
    else
        add_arrow(figure, event->place == STORY_TO_RIGHT || event->place == STORY_LOST_TO_RIGHT,
                  event->place == STORY_LOST_TO_RIGHT || event->place == STORY_LOST_TO_LEFT,
                  event->text, len);
}

static void print_head(struct figure *figure, const struct story *story)
{
    size_t left = strnlen(story->left, sizeof(story->left));

    memset(figure->cells, ' ', END);
    figure->begun = true;
    put(figure, TIME_WIDTH - 2, "ms", 2);
    put(figure, LEFT_AT, story->left, left);
    if (!figure->one_column)
        put(figure, RIGHT_AT, story->right, strnlen(story->right, sizeof(story->right)));
    end_line(figure);
}

void figure_print(const struct story *story, FILE *out)
{
    struct figure figure = {
        .out = out,
        .one_column =
            !story->right[0] || strncmp(story->left, story->right, sizeof(story->left)) == 0,
        .told = UINT64_MAX,
    };

    print_head(&figure, story);
    for (uint32_t i = 0; i < story->event_count && i < STORY_EVENTS_MAX; i++)
        add_event(&figure, &story->events[i]);
    end_line(&figure);
    if (story->events_lost)
        fprintf(out, "%*s(%u later events had no room here)\n", LEFT_AT, "", story->events_lost);
}
