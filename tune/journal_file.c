#include "journal_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA "tidewait.journal/1"

int journal_file_name(const struct journal_place *place, char out[NAME_MAX + 1],
                      struct tw_error *error)
{
    enum { NETNS_MAX = 200 };
    const char *netns = place->netns;

    if (!netns) {
        snprintf(out, NAME_MAX + 1, "tune.json");
        return 0;
    }
    if (!netns[0] || netns[0] == '.' || strchr(netns, '/') || strlen(netns) > NETNS_MAX ||
        !journal_value_ok(netns))
        return tw_error_set(error, EINVAL, "'%.60s' cannot be the name of a network namespace",
                            netns);
    snprintf(out, NAME_MAX + 1, "tune-%s.json", netns);
    return 0;
}

/* --- eras --- */

void journal_era_now(struct journal_era *out)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    socklen_t len = sizeof(out->cookie);
    struct stat status;
    ssize_t got = 0;

    *out = (struct journal_era){.boot_id = ""};
    if (fd >= 0) {
        got = read(fd, out->boot_id, sizeof(out->boot_id) - 1);
        close(fd);
    }
    out->boot_id[got > 0 ? got : 0] = 0;
    out->boot_id[strcspn(out->boot_id, "\n")] = 0;
    if (stat("/proc/thread-self/ns/net", &status) == 0)
        out->inode = status.st_ino;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &out->cookie, &len))
            out->cookie = 0;
        close(fd);
    }
}

bool journal_era_same(const struct journal_era *a, const struct journal_era *b)
{
    return strcmp(a->boot_id, b->boot_id) == 0 && a->inode == b->inode && a->cookie == b->cookie;
}

/* --- items --- */

bool journal_value_ok(const char *value)
{
    for (; *value; value++)
        if (!isprint((unsigned char)*value) && *value != '\t')
            return false;
    return true;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void item_fini(struct journal_item *item)
{
    free(item->former);
    free(item->applied);
    free(item->earlier);
}

int journal_add(struct journal *journal, const struct setting *setting, const char *former,
                const char *applied, const char *earlier)
{
    struct journal_item item = {setting, copy(former), copy(applied), copy(earlier)};
    struct journal_item *items =
        reallocarray(journal->items, journal->count + 1, sizeof(*journal->items));

    if (items)
        journal->items = items;
    if (!items || !item.former || !item.applied || (earlier && !item.earlier)) {
        item_fini(&item);
        return -ENOMEM;
    }
    items[journal->count++] = item;
    return 0;
}

void journal_fini(struct journal *journal)
{
    for (size_t i = 0; i < journal->count; i++)
        item_fini(&journal->items[i]);
    free(journal->items);
    keep_file_fini(&journal->former);
    keep_file_fini(&journal->applied);
    keep_file_fini(&journal->earlier);
    *journal = (struct journal){.count = 0};
}

/* --- bytes of the kept file, as text: %XX for what JSON cannot hold, and for % --- */

static char *escape(const struct keep_file *file)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = malloc(file->len * 3 + 1), *to = out;

    for (size_t i = 0; out && i < file->len; i++) {
        unsigned char byte = (unsigned char)file->bytes[i];

        if (byte != '%' && (isprint(byte) || byte == '\n')) {
            *to++ = (char)byte;
        } else {
            *to++ = '%';
            *to++ = hex[byte >> 4];
            *to++ = hex[byte & 15];
        }
    }
    if (out)
        *to = 0;
    return out;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL without memory, or when it is not what escape() writes. */
static char *unescape(const char *text, size_t *len)
{
    char *out = malloc(strlen(text) + 1), *to = out;

    while (out && *text) {
        int high, low;

        if (*text != '%') {
            *to++ = *text++;
            continue;
        }
        high = nibble(text[1]);
        low = high < 0 ? -1 : nibble(text[2]);
        if (low < 0) {
            free(out);
            return NULL;
        }
        *to++ = (char)(high << 4 | low);
        text += 3;
    }
    if (!out)
        return NULL;
    *to = 0;
    *len = (size_t)(to - out);
    return out;
}

/* --- writing --- */

static json_t *file_object(const struct keep_file *file)
{
    char *text = file->exists ? escape(file) : NULL;
    json_t *object = text
                         ? json_pack("{s:s, s:i, s:I, s:I}", "bytes", text, "mode", (int)file->mode,
                                     "uid", (json_int_t)file->uid, "gid", (json_int_t)file->gid)
                         : NULL;

    free(text);
    return file->exists ? object : json_null();
}

static json_t *items_array(const struct journal *journal)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < journal->count; i++) {
        const struct journal_item *item = &journal->items[i];
        json_t *object =
            json_pack("{s:s, s:s, s:s, s:s?}", "name", item->setting->name, "former", item->former,
                      "applied", item->applied, "earlier", item->earlier);

        if (json_array_append_new(array, object)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *keep_object(const struct journal *journal)
{
    if (!journal->keeps)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "former", file_object(&journal->former), "applied",
                     file_object(&journal->applied), "earlier", file_object(&journal->earlier));
}

int journal_format(const struct journal *journal, const struct journal_place *place,
                   struct keep_file *out)
{
    const struct journal_era *era = &journal->era;
    json_t *object = json_pack("{s:s, s:s?, s:s, s:I, s:I, s:o, s:o}", "schema", SCHEMA, "netns",
                               place->netns, "boot_id", era->boot_id, "netns_inode",
                               (json_int_t)era->inode, "netns_cookie", (json_int_t)era->cookie,
                               "settings", items_array(journal), "kept_file", keep_object(journal));
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
    bool secret = journal->keeps && journal->former.exists && !(journal->former.mode & S_IROTH);

    json_decref(object);
    if (!text)
        return -ENOMEM;
    *out = (struct keep_file){
        .exists = true,
        .bytes = text,
        .len = strlen(text),
        .mode = secret ? 0600 : 0644,
        .uid = geteuid(),
        .gid = getegid(),
    };
    return 0;
}

/* --- reading --- */

/* A reading under way; `wrong` is what does not fit, in words. */
struct reading {
    const struct journal_place *place;
    struct journal *out;
    const char *wrong;
    bool starved;
};

static bool wrong(struct reading *reading, const char *what)
{
    if (!reading->wrong)
        reading->wrong = what;
    return false;
}

/* A text of the object; NULL where it may be null and is. */
static bool get_text(struct reading *reading, const json_t *object, const char *key, bool may_lack,
                     const char **out)
{
    const json_t *value = json_object_get(object, key);

    *out = json_string_value(value);
    return *out || (may_lack && json_is_null(value)) ||
           wrong(reading, "a text is missing or no text");
}

static bool get_number(struct reading *reading, const json_t *object, const char *key,
                       json_int_t max, json_int_t *out)
{
    const json_t *value = json_object_get(object, key);

    *out = json_integer_value(value);
    return (json_is_integer(value) && *out >= 0 && *out <= max) ||
           wrong(reading, "a number is missing or out of its bounds");
}

static bool read_file(struct reading *reading, const json_t *object, const char *key, bool may_lack,
                      struct keep_file *out)
{
    const json_t *value = json_object_get(object, key);
    json_int_t mode, uid, gid;
    const char *text;

    if (json_is_null(value) && may_lack)
        return true;
    /* 32 bits without -1, which would mean "leave it as it is" to chown(). */
    if (!get_text(reading, value, "bytes", false, &text) ||
        !get_number(reading, value, "mode", 07777, &mode) ||
        !get_number(reading, value, "uid", UINT32_MAX - 1, &uid) ||
        !get_number(reading, value, "gid", UINT32_MAX - 1, &gid))
        return false;
    out->exists = true;
    out->bytes = unescape(text, &out->len);
    out->mode = (mode_t)mode;
    out->uid = (uid_t)uid;
    out->gid = (gid_t)gid;
    return out->bytes || wrong(reading, "the bytes of the kept file are not as they were written");
}

static bool read_item(struct reading *reading, const json_t *object)
{
    const char *name, *former, *applied, *earlier;
    const struct setting *setting;

    if (!get_text(reading, object, "name", false, &name) ||
        !get_text(reading, object, "former", false, &former) ||
        !get_text(reading, object, "applied", false, &applied) ||
        !get_text(reading, object, "earlier", true, &earlier))
        return false;
    setting = setting_find(tw_view_of(name));
    if (!setting || strcmp(setting->name, name) != 0 || setting->kind == SETTING_LIMIT)
        return wrong(reading, "it names a setting that tidewait does not change");
    for (size_t i = 0; i < reading->out->count; i++)
        if (reading->out->items[i].setting == setting)
            return wrong(reading, "it names a setting twice");
    if (!journal_value_ok(former) || !journal_value_ok(applied) ||
        (earlier && !journal_value_ok(earlier)))
        return wrong(reading, "a value holds what no value can hold");
    if (journal_add(reading->out, setting, former, applied, earlier) == 0)
        return true;
    reading->starved = true;
    return false;
}

static bool read_head(struct reading *reading, const json_t *object)
{
    struct journal_era *era = &reading->out->era;
    const char *schema, *netns, *boot_id, *expected = reading->place->netns;
    json_int_t inode, cookie;

    if (!get_text(reading, object, "schema", false, &schema))
        return false;
    if (strcmp(schema, SCHEMA) != 0)
        return wrong(reading, "its schema is not " SCHEMA "; another version wrote it");
    if (!get_text(reading, object, "netns", true, &netns) ||
        !get_text(reading, object, "boot_id", false, &boot_id) ||
        !get_number(reading, object, "netns_inode", INT64_MAX, &inode) ||
        !get_number(reading, object, "netns_cookie", INT64_MAX, &cookie))
        return false;
    if (!netns != !expected || (netns && strcmp(netns, expected) != 0))
        return wrong(reading, "it belongs to another network namespace");
    if (strlen(boot_id) >= sizeof(era->boot_id))
        return wrong(reading, "its boot_id is too long");
    snprintf(era->boot_id, sizeof(era->boot_id), "%s", boot_id);
    era->inode = (uint64_t)inode;
    era->cookie = (uint64_t)cookie;
    return true;
}

static bool read_journal(struct reading *reading, const json_t *object)
{
    const json_t *items = json_object_get(object, "settings");
    const json_t *keep = json_object_get(object, "kept_file");
    struct journal *out = reading->out;

    if (!json_is_object(object))
        return wrong(reading, "it is no JSON object");
    if (!read_head(reading, object))
        return false;
    if (!json_is_array(items) || !(json_is_object(keep) || json_is_null(keep)))
        return wrong(reading, "its settings or the kept file are missing");
    for (size_t i = 0; i < json_array_size(items); i++)
        if (!read_item(reading, json_array_get(items, i)))
            return false;
    out->keeps = json_is_object(keep);
    return !out->keeps || (read_file(reading, keep, "former", true, &out->former) &&
                           read_file(reading, keep, "applied", false, &out->applied) &&
                           read_file(reading, keep, "earlier", true, &out->earlier));
}

int journal_parse(const struct keep_file *file, const struct journal_place *place, const char *path,
                  struct journal *out, struct tw_error *error)
{
    struct reading reading = {.place = place, .out = out};
    json_error_t where;
    json_t *object = json_loadb(file->bytes, file->len, JSON_REJECT_DUPLICATES, &where);
    bool done;

    *out = (struct journal){.count = 0};
    done = object ? read_journal(&reading, object) : wrong(&reading, "it is no JSON, or was cut");
    json_decref(object);
    if (done)
        return 0;
    journal_fini(out);
    if (reading.starved)
        return tw_error_set(error, ENOMEM, "no memory for %s", path);
    return tw_error_set(error, EBADMSG,
                        "the journal %s is damaged: %s. Nothing was touched; look into it, and "
                        "remove it when its values are no longer needed",
                        path, reading.wrong);
}
