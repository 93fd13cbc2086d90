/* Stories made by hand as figures, line by line; and the same as text, Markdown and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"
#include "lab_figure.h"

static const struct scenario scenario = {
    .name = "close-active",
    .group = "closing",
    .title = "The side that closes first keeps TIME_WAIT",
    .expected = "The client closes first and is in TIME-WAIT for 60 s. The server's end is gone as "
                "soon as its FIN is acknowledged.",
    .lesson = "Close first where ports are plenty.",
    .rule = "RFC 9293, 3.6; tcp_time_wait()",
};

static const struct scenario other = {
    .name = "hijack-root",
    .group = "hijack",
    .title = "t",
    .expected = "e",
    .lesson = "l",
    .rule = "r",
};

static struct story *new_story(const char *left, const char *right)
{
    struct story *story = calloc(1, sizeof(*story));

    assert_non_null(story);
    story_begin(story, left, right);
    return story;
}

/* At a time in us. */
static void event(struct story *story, uint64_t at_us, enum story_place place, const char *text)
{
    story_add_event(story, at_us * 1000, place, "%s", text);
}

static struct story *hosts(void)
{
    return new_story("client 10.77.0.1", "server 10.77.0.2");
}

/* What a figure looks like, from malloc; frees the story. */
static void draw(struct story *story, char **text)
{
    size_t len;
    FILE *out = open_memstream(text, &len);

    assert_non_null(out);
    figure_print(story, out);
    fclose(out);
    free(story);
}

static void assert_figure(struct story *story, const char *expected)
{
    char *text;

    draw(story, &text);
    assert_string_equal(text, expected);
    free(text);
}

#define HEAD \
    "      ms   client 10.77.0.1                                           server 10.77.0.2\n"

/* --- figures --- */

static void test_handshake_and_loss(void **state)
{
    struct story *story = hosts();

    (void)state;
    event(story, 0, STORY_RIGHT, "listen()");
    event(story, 20, STORY_LEFT, "connect()");
    event(story, 100, STORY_LEFT, "SYN-SENT");
    event(story, 110, STORY_TO_RIGHT, "SYN seq=0");
    event(story, 120, STORY_RIGHT, "SYN-RECV");
    event(story, 200, STORY_TO_LEFT, "SYN,ACK");
    event(story, 210, STORY_LEFT, "ESTAB");
    event(story, 300, STORY_LOST_TO_RIGHT, "ACK");
    event(story, 1000000, STORY_LOST_TO_LEFT, "SYN,ACK");
    assert_figure(story, HEAD
                  "     0.0   connect()                                                  listen()\n"
                  "     0.1   SYN-SENT               ----------- SYN seq=0 ----------->  SYN-RECV\n"
                  "     0.2   ESTAB                  <----------- SYN,ACK -------------\n"
                  "     0.3                          -------- ACK --------x\n"
                  "  1000.0                                    x------ SYN,ACK --------\n");
}

/* A line is read along its arrow, so what comes in the other order stands on the next one; the time
 * is told once. */
static void test_order_within_a_time(void **state)
{
    struct story *story = hosts();

    (void)state;
    event(story, 5000, STORY_TO_RIGHT, "FIN");
    event(story, 5000, STORY_LEFT, "FIN-WAIT-1");
    event(story, 5000, STORY_TO_LEFT, "ACK");
    event(story, 5000, STORY_RIGHT, "CLOSE-WAIT");
    event(story, 5000, STORY_RIGHT, "close()");
    event(story, 5000, STORY_TO_RIGHT, "RST");
    assert_figure(
        story,
        HEAD "     5.0                          -------------- FIN -------------->\n"
             "           FIN-WAIT-1\n"
             "                                  <------------- ACK ---------------\n"
             "                                                                      CLOSE-WAIT\n"
             "                                                                      close()\n"
             "                                  -------------- RST -------------->\n");
}

static void test_long_texts(void **state)
{
    struct story *story = hosts();

    (void)state;
    event(story, 1000, STORY_LEFT, "connect(): ECONNREFUSED, as expected");
    event(story, 1000, STORY_RIGHT, "no socket listens on this port, so the kernel answers");
    event(story, 2000, STORY_LEFT, "bind() again");
    event(story, 2000, STORY_TO_RIGHT, "PSH,ACK seq=1 ack=1 len=1448 ts=1");
    event(story, 3000, STORY_NOTE,
          "the wire is cut from here on, and whatever either side sends from now on is lost");
    assert_figure(
        story, HEAD
        "     1.0   connect(): ECONNREFUSED, as expected                       no socket listens "
        "on "
        "this\n"
        "                                                                        port, so the "
        "kernel answers\n"
        "     2.0   bind() again           PSH,ACK seq=1 ack=1 len=1448 ts=1\n"
        "                                  --------------------------------->\n"
        "     3.0   * the wire is cut from here on, and whatever either side sends from now on is "
        "lost\n");
}

static void test_one_host(void **state)
{
    struct story *alone = new_story("host 127.0.0.1", ""), *twice = new_story("host", "host");

    (void)state;
    event(alone, 0, STORY_LEFT, "bind(127.0.0.1:8080): 0");
    event(alone, 0, STORY_RIGHT, "bind(127.0.0.1:8080): EADDRINUSE");
    event(alone, 64234567, STORY_NOTE, "TIME-WAIT is over");
    event(alone, 64234567, STORY_LOST_TO_LEFT, "RST");
    assert_figure(alone, "      ms   host 127.0.0.1\n"
                         "     0.0   bind(127.0.0.1:8080): 0\n"
                         "           bind(127.0.0.1:8080): EADDRINUSE\n"
                         " 64234.6   * TIME-WAIT is over\n"
                         "           x-- RST\n");
    event(twice, 0, STORY_LEFT, "a");
    assert_figure(twice, "      ms   host\n"
                         "     0.0   a\n");
}

/* An arrow keeps its place beside a text that would need it. */
static void test_long_text_beside_arrow(void **state)
{
    struct story *story = hosts();

    (void)state;
    event(story, 1000, STORY_RIGHT, "close()");
    event(story, 1000, STORY_TO_LEFT, "FIN,ACK");
    event(story, 1000, STORY_LEFT, "read(): 0 bytes, which is the end");
    assert_figure(story, HEAD
                  "     1.0                          <----------- FIN,ACK -------------  close()\n"
                  "           read(): 0 bytes, which is the end\n");
}

/* A text of `len` letters between two others. */
static void assert_whole(enum story_place first, enum story_place place, enum story_place last,
                         size_t len)
{
    char text[STORY_TEXT_MAX], *figure;
    struct story *story = hosts();
    size_t letters = 0, columns;

    memset(text, 'o', len);
    text[len] = 0;
    event(story, 0, first, "A");
    event(story, 0, place, text);
    event(story, 0, last, "B");
    draw(story, &figure);
    for (const char *line = strchr(figure, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        columns = strcspn(line, "\n");
        assert_in_range(columns, 1, FIGURE_COLUMNS);
        assert_int_not_equal(line[columns - 1], ' ');
        for (size_t i = 0; i < columns; i++)
            letters += line[i] == 'o';
    }
    assert_int_equal(letters, len);
    assert_non_null(strchr(figure, 'A'));
    assert_non_null(strchr(figure, 'B'));
    free(figure);
}

/* Every length of text at every place stays within the columns and loses no letter. */
static void test_no_line_is_too_long(void **state)
{
    (void)state;
    for (size_t len = 0; len < STORY_TEXT_MAX; len++)
        for (int place = STORY_LEFT; place <= STORY_NOTE; place++) {
            assert_whole(STORY_LEFT, (enum story_place)place, STORY_RIGHT, len);
            assert_whole(STORY_RIGHT, (enum story_place)place, STORY_LEFT, len);
        }
}

/* A story of a process that died in the middle of it, or that went mad. */
static void test_story_that_is_torn(void **state)
{
    struct story *story = new_story("a", "b");
    char *text;

    (void)state;
    memset(story, 0xff, sizeof(*story));
    draw(story, &text);
    free(text);
    story = new_story("a", "b");
    event(story, 0, STORY_LEFT, "x");
    memcpy(story->events[0].text, "\033[2J\200", 6);
    story->events_lost = 7;
    draw(story, &text);
    assert_null(strpbrk(text, "\033\200"));
    assert_non_null(strstr(text, "?[2J?"));
    assert_non_null(strstr(text, "(7 later events had no room here)"));
    free(text);
}

/* --- in full --- */

static struct story *played(bool held)
{
    struct story *story = hosts();

    event(story, 0, STORY_LEFT, "close()");
    story_add_check(story, true, "the client is in TIME-WAIT for 60.1 s");
    story_add_check(story, held, "the server's end is gone");
    story_set_end(story, STORY_PLAYED, "%s", "");
    return story;
}

typedef void printer(const struct report_play *play, bool color, FILE *out);

static char *printed(printer *print, const struct scenario *of, struct story *story)
{
    struct report_play play = {of, story, 60123};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    print(&play, false, out);
    fclose(out);
    free(story);
    return text;
}

static void assert_printed(printer *print, struct story *story, const char *expected)
{
    char *text = printed(print, &scenario, story);

    assert_string_equal(text, expected);
    free(text);
}

#define EXPECTED                                                                                  \
    "  expected  The client closes first and is in TIME-WAIT for 60 s. The server's end is gone " \
    "as soon\n            as its FIN is acknowledged.\n"
#define LESSON                                          \
    "  lesson    Close first where ports are plenty.\n" \
    "  rule      RFC 9293, 3.6; tcp_time_wait()\n"
#define TITLE "close-active: The side that closes first keeps TIME_WAIT"

static void test_text(void **state)
{
    struct story *lacking = new_story("", "");

    (void)state;
    assert_printed(report_play_text, played(true),
                   TITLE "                                          ok\n" EXPECTED "\n" HEAD
                         "     0.0   close()\n\n"
                         "  checks    ok  the client is in TIME-WAIT for 60.1 s\n"
                         "            ok  the server's end is gone\n" LESSON);
    assert_printed(report_play_text, played(false),
                   TITLE "                                      FAILED\n" EXPECTED "\n" HEAD
                         "     0.0   close()\n\n"
                         "  checks    ok  the client is in TIME-WAIT for 60.1 s\n"
                         "            NO  the server's end is gone\n" LESSON);
    story_set_end(lacking, STORY_LACKING, "there is no /dev/net/tun");
    assert_printed(report_play_text, lacking,
                   TITLE "                                     lacking\n" EXPECTED
                         "  reason    there is no /dev/net/tun\n" LESSON);
}

static void test_line(void **state)
{
    struct story *broken = hosts(), *empty = hosts();

    (void)state;
    assert_printed(
        report_play_line, played(true),
        "ok           60.1 s  close-active                    The side that closes first "
        "keeps TIME_WAIT\n");
    story_set_end(broken, STORY_BROKEN, "socket(): %s", strerror(EMFILE));
    assert_printed(report_play_line, broken,
                   "BROKEN       60.1 s  close-active                    socket(): Too many open "
                   "files\n");
    story_set_end(empty, STORY_PLAYED, "%s", "");
    assert_printed(
        report_play_line, empty,
        "FAILED       60.1 s  close-active                    The side that closes first "
        "keeps TIME_WAIT\n");
}

/* With a count that cannot be. */
static void test_checks_that_are_torn(void **state)
{
    struct story *story = hosts();
    const char *at;
    char *text;
    size_t lines = 0;

    (void)state;
    story->check_count = UINT32_MAX;
    text = printed(report_play_text, &scenario, story);
    for (at = text; (at = strstr(at, " NO ")); at++)
        lines++;
    assert_int_equal(lines, STORY_CHECKS_MAX);
    free(text);
}

/* --- documents --- */

static void test_markdown(void **state)
{
    struct story *first = played(false), *second = new_story("a", "");
    struct report_play plays[] = {{&scenario, first, 1}, {&other, second, 2}};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    story_set_end(second, STORY_LACKING, "no <tun> in tcp_tw_reuse");
    report_lab_markdown(plays, 2, "Linux 6.18", out);
    fclose(out);
    assert_ptr_equal(strstr(text, "# The lab\n\n"), text);
    assert_non_null(strstr(text, " on Linux 6.18."));
    assert_non_null(strstr(text, "\n## closing\n\n### close-active\n\n"
                                 "**The side that closes first keeps TIME\\_WAIT** (FAILED)\n\n"
                                 "**Expected:** The client closes first"));
    assert_non_null(strstr(text,
                           "\n```text\n" HEAD "     0.0   close()\n```\n\n"
                           "- ok: the client is in TIME-WAIT for 60.1 s\n"
                           "- **NO**: the server's end is gone\n\n"
                           "**Lesson:** Close first where ports are plenty.\n\n"
                           "**Rule:** RFC 9293, 3.6; tcp\\_time\\_wait()\n\n## hijack\n\n"
                           "### hijack-root\n\n**t** (lacking)\n\n**Expected:** e\n\n"
                           "**Reason:** no \\<tun\\> in tcp\\_tw\\_reuse\n\n**Lesson:** l\n"));
    free(text);
    free(first);
    free(second);
}

static const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_t *json_of(const struct report_play *plays, size_t count)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    json_t *root;

    assert_non_null(out);
    assert_int_equal(report_lab_json(plays, count, out), 0);
    fclose(out);
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static void test_json(void **state)
{
    struct story *first = played(false), *second = new_story("a", "");
    struct report_play plays[] = {{&scenario, first, 60123}, {&other, second, 2}};
    json_t *root, *one, *two, *events;

    (void)state;
    event(first, 60123456, STORY_LOST_TO_LEFT, "\"FIN\"");
    memset(second->reason, 0xfe, sizeof(second->reason)); /* neither UTF-8 nor an end */
    root = json_of(plays, 2);
    assert_string_equal(text_at(root, "schema"), "tidewait.lab/1");
    assert_int_equal(json_array_size(json_object_get(root, "scenarios")), 2);
    one = json_array_get(json_object_get(root, "scenarios"), 0);
    two = json_array_get(json_object_get(root, "scenarios"), 1);
    assert_string_equal(text_at(one, "name"), "close-active");
    assert_string_equal(text_at(one, "end"), "played");
    assert_true(json_is_false(json_object_get(one, "passed")));
    assert_true(json_is_null(json_object_get(one, "reason")));
    assert_int_equal(json_integer_value(json_object_get(one, "ms")), 60123);
    events = json_object_get(one, "events");
    assert_int_equal(json_array_size(events), 2);
    assert_string_equal(text_at(json_array_get(events, 0), "place"), "left");
    assert_string_equal(text_at(json_array_get(events, 1), "place"), "lost-to-left");
    assert_string_equal(text_at(json_array_get(events, 1), "text"), "\"FIN\"");
    assert_true(json_real_value(json_object_get(json_array_get(events, 1), "at_ms")) == 60123.456);
    assert_int_equal(json_array_size(json_object_get(one, "checks")), 2);
    assert_string_equal(text_at(two, "end"), "unfinished");
    assert_int_equal(strlen(text_at(two, "reason")), sizeof(second->reason));
    assert_true(json_is_null(json_object_get(two, "right")));
    json_decref(root);
    free(first);
    free(second);
}

static void test_json_that_cannot_be_written(void **state)
{
    struct story *story = played(true);
    struct report_play play = {&scenario, story, 1};
    FILE *out = fopen("/dev/full", "we");

    (void)state;
    assert_non_null(out);
    assert_int_equal(report_lab_json(&play, 1, out), -EIO);
    fclose(out);
    free(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_loss),
        cmocka_unit_test(test_order_within_a_time),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_one_host),
        cmocka_unit_test(test_long_text_beside_arrow),
        cmocka_unit_test(test_no_line_is_too_long),
        cmocka_unit_test(test_story_that_is_torn),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_checks_that_are_torn),
        cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_that_cannot_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
