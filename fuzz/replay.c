/* SPDX-License-Identifier: MIT */
/* replay.c - gives a fuzz target each file named in the arguments, without libFuzzer. TAP. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input ends where its allocation ends, so that AddressSanitizer sees a read beyond it. */
static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        return -1;
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size ? size : 1);
    int result = data && fread(data, 1, size, file) == size ? 0 : -1;
    if (result == 0)
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    fclose(file);
    return result;
}

int main(int argc, char *argv[])
{
    int failed = argc < 2;
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        int bad = replay(argv[i]) < 0;
        printf("%sok %d - %s\n", bad ? "not " : "", i, argv[i]);
        failed |= bad;
        fflush(stdout);
    }
    return failed;
}
