/* Feeds every file of the directories given as arguments to a fuzz target: with this in the place
 * of libFuzzer a corpus runs as an ordinary test, whatever the compiler. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

/* The input has a heap block of exactly its size, so that ASan sees a byte read too many. */
static int replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    FILE *file = fopen(path, "re");
    int rc = -1;

    if (data && file && fread(data, 1, size, file) == size) {
        LLVMFuzzerTestOneInput(data, size);
        rc = 0;
    } else {
        fprintf(stderr, "replay: cannot read %s: %s\n", path, strerror(errno));
    }
    if (file)
        fclose(file);
    free(data);
    return rc;
}

/* Returns how many files were replayed, or -1. */
static long replay_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    long count = 0;

    if (!directory) {
        fprintf(stderr, "replay: cannot open %s: %s\n", path, strerror(errno));
        return -1;
    }
    while (count >= 0 && (entry = readdir(directory))) {
        char name[4096];
        struct stat status;

        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (stat(name, &status) == 0 && S_ISREG(status.st_mode))
            count = replay_file(name, (size_t)status.st_size) ? -1 : count + 1;
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    long total = 0;

    for (int i = 1; i < argc; i++) {
        long count = replay_directory(argv[i]);

        if (count < 0)
            return 1;
        total += count;
    }
    printf("replayed %ld inputs\n", total);
    return total ? 0 : 1;
}
