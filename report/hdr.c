/*
 * The HdrHistogram log, as HistogramLogWriter 1.3 writes it: each interval a line with the
 * histogram in the compressed V2 encoding (zig-zag LEB128 counts, a negative one being a run of
 * zeros; zlib; base64).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "report.h"

#define V2_COOKIE            0x1c849303u
#define V2_COMPRESSED_COOKIE 0x1c849304u
#define COOKIE_WORD_SIZE     0x10u
#define V2_HEADER_BYTES      40
/* The most a 64-bit count takes: ZigZag LEB128 in HdrHistogram ends after 9 bytes. */
#define COUNT_BYTES_MAX 9

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put_count(uint8_t *at, int64_t count)
{
    uint64_t rest = (uint64_t)count << 1 ^ (count < 0 ? UINT64_MAX : 0);

    for (int i = 0; i < COUNT_BYTES_MAX - 1 && rest > 0x7f; i++) {
        *at++ = (uint8_t)(rest | 0x80);
        rest >>= 7;
    }
    *at++ = (uint8_t)rest;
    return at;
}

/* The V2 encoding before compression. Returns its length; `to` has room for every bucket. */
static size_t encode(const struct histogram *histogram, uint8_t *to)
{
    uint8_t *at = to + V2_HEADER_BYTES, *head = to;
    size_t last = HISTOGRAM_BUCKETS;
    double ratio = 1;
    uint64_t bits;

    while (last > 0 && histogram->buckets[last - 1] == 0)
        last--;
    for (size_t i = 0; i < last;) {
        size_t zeros = 0;

        while (histogram->buckets[i + zeros] == 0)
            zeros++;
        if (zeros)
            at = put_count(at, -(int64_t)zeros);
        else
            at = put_count(at, (int64_t)histogram->buckets[i]);
        i += zeros ? zeros : 1;
    }
    memcpy(&bits, &ratio, sizeof(bits));
    head = put_u32(head, V2_COOKIE | COOKIE_WORD_SIZE);
    head = put_u32(head, (uint32_t)(at - to - V2_HEADER_BYTES));
    head = put_u32(head, 0); /* normalizing index offset */
    head = put_u32(head, 2); /* significant digits */
    head = put_u64(head, 1); /* lowest discernible value */
    head = put_u64(head, histogram->max > 2 ? histogram->max : 2);
    put_u64(head, bits);
    return (size_t)(at - to);
}

static void put_base64(const uint8_t *bytes, size_t len, FILE *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t word = (uint32_t)bytes[i] << 16;

        if (i + 1 < len)
            word |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < len)
            word |= bytes[i + 2];
        fputc(digits[word >> 18], out);
        fputc(digits[word >> 12 & 63], out);
        fputc(i + 1 < len ? digits[word >> 6 & 63] : '=', out);
        fputc(i + 2 < len ? digits[word & 63] : '=', out);
    }
}

void report_hdr_begin(double start_epoch_s, FILE *out)
{
    fprintf(out,
            "#[Histogram log format version 1.3]\n"
            "#[StartTime: %.3f (seconds since epoch)]\n"
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
            "\"Interval_Compressed_Histogram\"\n",
            start_epoch_s);
}

int report_hdr_interval(const char *tag, double at_s, double length_s,
                        const struct histogram *histogram, FILE *out)
{
    size_t room = V2_HEADER_BYTES + (size_t)HISTOGRAM_BUCKETS * COUNT_BYTES_MAX, len;
    uint8_t *plain = malloc(room), *packed = NULL;
    uLongf packed_len = compressBound(room);

    if (plain)
        packed = malloc(packed_len + 8);
    if (!packed) {
        free(plain);
        return -ENOMEM;
    }
    len = encode(histogram, plain);
    if (compress(packed + 8, &packed_len, plain, len) != Z_OK) {
        free(plain);
        free(packed);
        return -ENOMEM;
    }
    put_u32(put_u32(packed, V2_COMPRESSED_COOKIE | COOKIE_WORD_SIZE), (uint32_t)packed_len);
    if (tag)
        fprintf(out, "Tag=%s,", tag);
    /* The log's maximum is in the unit of its reader: ns / 1e6 = ms, as the format has it. */
    fprintf(out, "%.3f,%.3f,%.3f,", at_s, length_s, (double)histogram->max / 1e6);
    put_base64(packed, packed_len + 8, out);
    fputc('\n', out);
    free(plain);
    free(packed);
    return ferror(out) ? -EIO : 0;
}
