/* SPDX-License-Identifier: MIT */
/* points.c - the code that is swept: which function lies where, from which source it is, and which
 * of its instructions were ever reached.
 *
 * The program is linked at a fixed address, so that addresses are those of its symbol table.
 * Sources are asked of addr2line, once; instructions of objdump, when they are printed. */
#include "rig.h"

#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern char __executable_start[], etext[];

struct function {
    uint64_t start, size;
    const char *name;
    char *source;
};

static struct function *functions;
static size_t n_functions;
static unsigned char *swept;           /* a byte of text: 1 in the rooms, 2 may jump there */
static _Atomic unsigned char *reached; /* shared by all drivers: 1 swept by somebody, 2 reached */
static char self[512];

static uint64_t begin(void)
{
    return (uint64_t)(uintptr_t)__executable_start;
}

static size_t text_size(void)
{
    return (size_t)(etext - __executable_start);
}

static int by_start(const void *a, const void *b)
{
    const struct function *f = a, *g = b;
    return (f->start > g->start) - (f->start < g->start);
}

static void read_symbols(const char *file)
{
    const Elf64_Ehdr *head = (const void *)file;
    const Elf64_Shdr *sections = (const void *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const void *)(file + sections[i].sh_offset);
        const char *names = file + sections[sections[i].sh_link].sh_offset;
        size_t n = sections[i].sh_size / sizeof *symbols;
        functions = calloc(n, sizeof *functions);
        for (size_t k = 0; functions && k < n; k++) {
            if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC && symbols[k].st_size)
                functions[n_functions++] = (struct function){
                    symbols[k].st_value, symbols[k].st_size, names + symbols[k].st_name, NULL};
        }
    }
    qsort(functions, n_functions, sizeof *functions, by_start);
}

static bool read_sources(void)
{
    char command[600], line[1024];
    int fd = memfd_create("addresses", 0); /* inherited */
    if (fd < 0)
        return false;
    for (size_t i = 0; i < n_functions; i++)
        dprintf(fd, "%" PRIx64 "\n", functions[i].start);
    lseek(fd, 0, SEEK_SET);
    snprintf(command, sizeof command, "addr2line -e '%s' <&%d", self, fd);
    FILE *f = popen(command, "r");
    bool good = false;
    for (size_t i = 0; f && i < n_functions && fgets(line, sizeof line, f); i++) {
        line[strcspn(line, ":\n")] = 0;
        functions[i].source = strdup(line);
        good |= line[0] == '/';
    }
    if (f)
        pclose(f);
    close(fd);
    return good;
}

bool code_load(void)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    int fd = n < 0 ? -1 : open(self, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return false;
    char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    swept = calloc(1, text_size());
    reached = rig_memory(text_size());
    if (file == MAP_FAILED || !swept)
        return false;
    read_symbols(file);
    return functions && read_sources();
}

void code_choose(const char *const *rooms)
{
    memset(swept, 0, text_size());
    for (size_t i = 0; i < n_functions; i++) {
        const struct function *f = &functions[i];
        bool in = false;
        for (const char *const *room = rooms; f->source && *room; room++)
            in |= strstr(f->source, *room) != NULL;
        if (f->start < begin() || f->start + f->size > begin() + text_size())
            continue;
        if (in || strstr(f->name, ".cold"))
            memset(swept + (f->start - begin()), in ? 1 : 2, f->size);
        for (uint64_t k = 0; in && k < f->size; k++)
            reached[f->start - begin() + k] |= 1;
    }
}

static bool in_text(uint64_t pc)
{
    return pc - begin() < text_size();
}

bool code_swept(uint64_t pc)
{
    return in_text(pc) && swept[pc - begin()] == 1;
}

/* Also the cold part of a function, which another file's first line may have given its source. */
bool code_stepped(uint64_t pc)
{
    return in_text(pc) && swept[pc - begin()] != 0;
}

uint64_t code_entry(size_t i)
{
    return i < n_functions ? functions[i].start : 0;
}

size_t code_index(uint64_t pc)
{
    return pc - begin();
}

size_t code_size(void)
{
    return text_size();
}

void code_reached(uint64_t pc)
{
    reached[pc - begin()] |= 2;
}

static const struct function *function_at(uint64_t pc)
{
    const struct function *best = NULL;
    for (size_t i = 0; i < n_functions && functions[i].start <= pc; i++)
        if (pc < functions[i].start + functions[i].size)
            best = &functions[i];
    return best;
}

/* ---- points ---- */

static const char *const moments[] = {"entry", "exit", "inside"};

/* function+0x1f#2, the second time; call-3-exit, the third system call. */
const char *point_name(struct point p)
{
    static char name[2][256];
    static int next;
    char *text = name[next ^= 1];
    const struct function *f = function_at(p.pc);
    if (p.pc == 1)
        snprintf(text, sizeof *name, "whole");
    else if (p.pc == 0)
        snprintf(text, sizeof *name, "call-%u-%s", p.call, moments[p.time]);
    else if (f)
        snprintf(text, sizeof *name, "%s+0x%" PRIx64 "#%u", f->name, p.pc - f->start, p.time);
    else
        snprintf(text, sizeof *name, "0x%" PRIx64 "#%u", p.pc, p.time);
    return text;
}

bool point_parse(const char *text, struct point *ret_point)
{
    char name[256], moment[16];
    uint64_t offset;
    unsigned n;
    if (strcmp(text, "whole") == 0)
        return *ret_point = NO_POINT, true;
    if (sscanf(text, "call-%u-%15s", &n, moment) == 2) {
        for (uint8_t i = 0; i < 3; i++)
            if (strcmp(moments[i], moment) == 0)
                return *ret_point = (struct point){0, i, (uint16_t)n}, true;
        return false;
    }
    if (sscanf(text, "%255[^+]+0x%" SCNx64 "#%u", name, &offset, &n) != 3)
        return false;
    for (int pass = 0; pass < 2; pass++) { /* of equal names the swept one */
        for (size_t i = 0; i < n_functions; i++) {
            if (strcmp(functions[i].name, name) == 0 && (pass || code_swept(functions[i].start)))
                return *ret_point = (struct point){functions[i].start + offset, (uint8_t)n, 0},
                       true;
        }
    }
    return false;
}

void points_add(struct points *points, struct point point)
{
    if (points->n == points->room) {
        size_t room = points->room ? 2 * points->room : 256;
        void *list = realloc(points->list, room * sizeof *points->list);
        if (!list)
            abort();
        points->list = list;
        points->room = room;
    }
    points->list[points->n++] = point;
}

/* ---- coverage ---- */

/* Instructions that objdump knows between start and end, and how many of them were not reached. */
static void count_function(const struct function *f, bool *boundary, unsigned *ret_all,
                           unsigned *ret_missed)
{
    *ret_all = *ret_missed = 0;
    for (uint64_t at = f->start - begin(); at < f->start - begin() + f->size; at++) {
        if (!boundary[at])
            continue;
        ++*ret_all;
        *ret_missed += !(reached[at] & 2);
    }
}

static bool *boundaries(void)
{
    char command[600], line[512], rest[16];
    bool *boundary = calloc(1, text_size());
    snprintf(command, sizeof command, "objdump -d --no-show-raw-insn '%s'", self);
    FILE *f = popen(command, "r");
    while (f && boundary && fgets(line, sizeof line, f)) {
        uint64_t pc;
        if (sscanf(line, " %" SCNx64 ": %15s", &pc, rest) == 2 && in_text(pc) &&
            strncmp(rest, "nop", 3) != 0 && strncmp(rest, "data16", 6) != 0 &&
            strncmp(rest, "cs", 3) != 0 && strncmp(rest, "endbr", 5) != 0)
            boundary[pc - begin()] = true;
    }
    if (f)
        pclose(f);
    return boundary;
}

/* A line a function that was not reached whole; `write` gets it. */
void code_unreached(unsigned *ret_all, unsigned *ret_missed, FILE *out)
{
    bool *boundary = boundaries();
    unsigned all, missed;
    *ret_all = *ret_missed = 0;
    for (size_t i = 0; boundary && i < n_functions; i++) {
        const struct function *f = &functions[i];
        if (!in_text(f->start) || !(reached[f->start - begin()] & 1) ||
            (i && functions[i - 1].start == f->start))
            continue;
        count_function(f, boundary, &all, &missed);
        *ret_all += all;
        *ret_missed += missed;
        const char *file = f->source ? strrchr(f->source, '/') : NULL;
        if (missed && out)
            fprintf(out, "#   %s (%s): %u of %u\n", f->name, file ? file + 1 : "?", missed, all);
    }
    free(boundary);
}
