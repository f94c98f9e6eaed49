/* SPDX-License-Identifier: MIT */
/* why.c - naru why: who waits for whom, and who will wait for ever.
 *
 * Processes are nodes; a wait is an edge to everybody who can end it. A wait needs so much
 * (permits, room, a message), and each edge gives some of it. Whoever does not wait can go on and
 * gives in the end; so can who waits for enough of those. What is left over when nothing more
 * follows from that is a deadlock. */
#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    int64_t pid;
    const char *program;
    bool stopped, waits, goes_on, shown, in_cycle;
    size_t from; /* of a search */
};

struct wait {
    size_t node;
    const struct naru_view *view;
    const struct naru_view_part *part;
};

/* A wait that no object knows of: `naru sem acquire` waits for its command. */
struct command_wait {
    struct naru_view_part part;
    struct naru_view_wait to;
    struct command_wait *next;
};

struct graph {
    struct invocation *in;
    struct node *nodes;
    struct wait *waits;
    size_t n_nodes, n_waits;
    struct command_wait *commands;
    bool utf8;
};

enum { NONE = -1 };

static const char *fact(const struct naru_view_part *p, const char *name)
{
    for (size_t i = 0; i < p->n_facts; i++)
        if (strcmp(p->facts[i].name, name) == 0 && p->facts[i].text)
            return p->facts[i].text;
    return "-";
}

static long node_of(const struct graph *g, int64_t pid)
{
    for (size_t i = 0; pid > 0 && i < g->n_nodes; i++)
        if (g->nodes[i].pid == pid)
            return (long)i;
    return NONE;
}

/* ---- from what is seen ---- */

static void *more(void *list, size_t n, size_t size)
{
    void *longer = realloc(list, (n + 1) * size);
    if (!longer) {
        fputs("naru why: no memory\n", stderr);
        exit(EXIT_FAILED);
    }
    return longer;
}

static void add_part(struct graph *g, const struct naru_view *v, const struct naru_view_part *p)
{
    if (p->pid <= 0 || strcmp(p->program, "?") == 0) /* dead, or of another pid namespace */
        return;
    long i = node_of(g, p->pid);
    if (i == NONE) {
        g->nodes = more(g->nodes, g->n_nodes, sizeof *g->nodes);
        i = (long)g->n_nodes++;
        g->nodes[i] = (struct node){.pid = p->pid, .program = p->program};
    }
    g->nodes[i].stopped |= strcmp(fact(p, "stopped"), "yes") == 0;
    if (!p->wants)
        return;
    g->nodes[i].waits = true;
    g->waits = more(g->waits, g->n_waits, sizeof *g->waits);
    g->waits[g->n_waits++] = (struct wait){.node = (size_t)i, .view = v, .part = p};
}

/* ---- naru sem acquire ---- */

static int64_t parent_of(int64_t pid)
{
    char path[40], line[128];
    int64_t parent = 0;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/status", pid);
    FILE *f = fopen(path, "re");
    while (f && parent == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, "PPid:", 5) == 0)
            parent = atol(line + 5);
    if (f)
        fclose(f);
    return parent;
}

static bool runs_a_command(int64_t pid)
{
    static const char words[] = "sem\0acquire";
    char path[40], text[256] = "";
    snprintf(path, sizeof path, "/proc/%" PRId64 "/cmdline", pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    size_t first = strlen(text) + 1;
    return first + sizeof words <= n && memcmp(text + first, words, sizeof words) == 0;
}

/* Who waits somewhere below its command keeps it from giving back. */
static void add_commands(struct graph *g)
{
    static const struct naru_view none = {.url = "its command", .noun = "command"};
    enum { GENERATIONS = 50 };
    for (size_t i = 0, n = g->n_waits; i < n; i++) {
        int64_t pid = g->nodes[g->waits[i].node].pid, up = pid;
        for (int k = 0; k < GENERATIONS && (up = parent_of(up)) > 1; k++) {
            long holder = node_of(g, up);
            if (holder == NONE || g->nodes[holder].waits || !runs_a_command(up))
                continue;
            struct command_wait *c = more(NULL, 0, sizeof *c);
            *c = (struct command_wait){.to = {.pid = pid, .why = "belongs to it", .gives = 1},
                                       .part = {.pid = up,
                                                .program = g->nodes[holder].program,
                                                .wants = "the end",
                                                .needs = 1,
                                                .n_waits = 1},
                                       .next = g->commands};
            c->part.waits = &c->to;
            g->commands = c;
            g->nodes[holder].waits = true;
            g->waits = more(g->waits, g->n_waits, sizeof *g->waits);
            g->waits[g->n_waits++] =
                (struct wait){.node = (size_t)holder, .view = &none, .part = &c->part};
        }
    }
}

/* ---- who goes on ---- */

static bool can_end(const struct graph *g, const struct wait *w)
{
    uint64_t given = 0;
    for (size_t i = 0; i < w->part->n_waits; i++) {
        long to = node_of(g, w->part->waits[i].pid);
        if (to == NONE || g->nodes[to].goes_on)
            given += w->part->waits[i].gives;
    }
    return w->part->others || given >= w->part->needs;
}

/* A process waits for ever if each of its waits does. */
static void reduce(struct graph *g)
{
    bool changed = true;
    for (size_t i = 0; i < g->n_nodes; i++)
        g->nodes[i].goes_on = !g->nodes[i].waits;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < g->n_waits; i++) {
            struct node *n = &g->nodes[g->waits[i].node];
            if (!n->goes_on && can_end(g, &g->waits[i]))
                n->goes_on = changed = true;
        }
    }
}

/* ---- cycles ---- */

/* The shortest way from `start` back to itself, into pids; its length, 0 if there is none. */
static size_t cycle_from(struct graph *g, size_t start, size_t *queue)
{
    const size_t unseen = SIZE_MAX;
    size_t head = 0, tail = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        g->nodes[i].from = unseen;
    queue[tail++] = start;
    while (head < tail) {
        size_t at = queue[head++];
        for (size_t i = 0; i < g->n_waits; i++) {
            const struct wait *w = &g->waits[i];
            for (size_t k = 0; w->node == at && k < w->part->n_waits; k++) {
                long to = node_of(g, w->part->waits[k].pid);
                if (to == (long)start) { /* the way back, turned round */
                    size_t n = 0, step = at;
                    for (; step != start; step = g->nodes[step].from)
                        n++;
                    for (step = at, queue[0] = start, head = n; step != start;
                         step = g->nodes[step].from)
                        queue[head--] = step;
                    return n + 1;
                }
                if (to != NONE && g->nodes[to].from == unseen && (size_t)to != start) {
                    g->nodes[to].from = at;
                    queue[tail++] = (size_t)to;
                }
            }
        }
    }
    return 0;
}

static bool is_deadlock(const struct graph *g, const size_t *cycle, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (g->nodes[cycle[i]].goes_on)
            return false;
    return true;
}

/* What the i-th of a cycle waits for at the next one. */
static const struct wait *wait_in(const struct graph *g, const size_t *cycle, size_t n, size_t i)
{
    for (size_t k = 0; k < g->n_waits; k++)
        for (size_t e = 0; g->waits[k].node == cycle[i] && e < g->waits[k].part->n_waits; e++)
            if (node_of(g, g->waits[k].part->waits[e].pid) == (long)cycle[(i + 1) % n])
                return &g->waits[k];
    return NULL;
}

static void print_cycle(const struct graph *g, const size_t *cycle, size_t n)
{
    bool dead = is_deadlock(g, cycle, n);
    const char *arrow = g->utf8 ? "→" : "->";
    if (wants_json(g->in)) {
        json_t *pids = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(pids, json_integer((json_int_t)g->nodes[cycle[i]].pid));
        json_t *o = json_pack("{s:o, s:b}", "cycle", pids, "deadlock", dead);
        json_line(o);
        json_decref(o);
        return;
    }
    printf("%s: ", dead ? "deadlock" : "cycle, which others can end");
    for (size_t i = 0; i < n; i++) {
        const struct wait *w = wait_in(g, cycle, n, i);
        printf("%" PRId64 " (%s) %s %s %s ", g->nodes[cycle[i]].pid, g->nodes[cycle[i]].program,
               arrow, w ? w->view->url : "?", arrow);
    }
    printf("%" PRId64 "\n", g->nodes[cycle[0]].pid);
    if (dead)
        puts("  none of them goes on unless one ends, gives up its wait, or loses what it owns "
             "(naru sem revoke URL PID)");
}

/* Those that can be reached from the nodes that are marked as shown. */
static void print_cycles(struct graph *g)
{
    size_t *cycle = calloc(g->n_nodes + 1, sizeof *cycle);
    for (size_t i = 0; cycle && i < g->n_nodes; i++) {
        if (!g->nodes[i].shown || g->nodes[i].in_cycle)
            continue;
        size_t n = cycle_from(g, i, cycle);
        for (size_t k = 0; k < n; k++)
            g->nodes[cycle[k]].in_cycle = true;
        if (n)
            print_cycle(g, cycle, n);
    }
    free(cycle);
}

/* ---- for people ---- */

static void print_node(const struct graph *g, size_t i)
{
    const struct node *n = &g->nodes[i];
    printf("process %" PRId64 " (%s)%s", n->pid, n->program,
           n->stopped ? ", which is stopped" : "");
}

static void indent(const struct graph *g, int depth)
{
    for (int i = 0; i < depth; i++)
        fputs("   ", stdout);
    fputs(g->utf8 ? "└─ " : "`- ", stdout);
}

static void print_waits(struct graph *g, size_t node, int depth);

static void print_edge(struct graph *g, const struct naru_view_wait *e, int depth)
{
    long to = node_of(g, e->pid);
    indent(g, depth);
    if (to != NONE)
        print_node(g, (size_t)to);
    else if (e->pid > 0)
        printf("process %" PRId64, e->pid);
    if (to != NONE || e->pid > 0)
        putchar(' ');
    printf("%s%s\n", e->why,
           to != NONE && g->nodes[to].shown && g->nodes[to].waits ? "; see above" : "");
    if (to != NONE)
        print_waits(g, (size_t)to, depth + 1);
}

static void print_waits(struct graph *g, size_t node, int depth)
{
    if (g->nodes[node].shown)
        return;
    g->nodes[node].shown = true;
    for (size_t i = 0; i < g->n_waits; i++) {
        const struct wait *w = &g->waits[i];
        const char *since = fact(w->part, "waits_since");
        if (w->node != node)
            continue;
        if (depth > 0)
            indent(g, depth);
        else
            print_node(g, node);
        printf("%swaits for %s of %s", depth > 0 ? "it " : " ", w->part->wants, w->view->url);
        if (since[0] != '-')
            printf(", since %s", since);
        if (w->part->n_waits == 0)
            fputs(w->part->needs ? ", from anybody" : ", and is about to have it", stdout);
        putchar('\n');
        for (size_t k = 0; k < w->part->n_waits; k++)
            print_edge(g, &w->part->waits[k], depth + 1);
    }
}

/* Who waits for it, without what they wait for besides. */
static void print_waited_for(const struct graph *g, size_t node)
{
    for (size_t i = 0; i < g->n_waits; i++)
        for (size_t k = 0; k < g->waits[i].part->n_waits; k++) {
            const struct naru_view_wait *e = &g->waits[i].part->waits[k];
            if (node_of(g, e->pid) != (long)node)
                continue;
            print_node(g, g->waits[i].node);
            printf(" waits for it, which %s of %s\n", e->why, g->waits[i].view->url);
        }
}

static void print_process(struct graph *g, int64_t pid)
{
    long i = node_of(g, pid);
    if (i != NONE && g->nodes[i].waits && !g->nodes[i].shown)
        print_waits(g, (size_t)i, 0);
    else if (i == NONE)
        printf("process %" PRId64 " takes part in nothing of naru's that can be looked at here\n",
               pid);
    else if (!g->nodes[i].waits) {
        print_node(g, (size_t)i);
        printf(" waits for nobody in naru\n");
    }
    if (i != NONE)
        print_waited_for(g, (size_t)i);
    if (i != NONE && g->nodes[i].waits && !g->nodes[i].goes_on)
        printf("process %" PRId64 " waits for ever: nobody it waits for can go on\n", pid);
}

/* ---- for programs ---- */

static void json_wait(const struct graph *g, const struct wait *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->part->n_waits; i++) {
        const struct naru_view_wait *e = &w->part->waits[i];
        long to = node_of(g, e->pid);
        json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:I}", "pid", (json_int_t)e->pid,
                                              "program", to == NONE ? "?" : g->nodes[to].program,
                                              "why", e->why, "gives", (json_int_t)e->gives));
    }
    json_t *o = json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:o}", "pid", (json_int_t)w->part->pid,
        "program", w->part->program, "url", w->view->url, "noun", w->view->noun, "wants",
        w->part->wants, "since", fact(w->part, "waits_since"), "needs", (json_int_t)w->part->needs,
        "others", w->part->others, "for_ever", !g->nodes[w->node].goes_on, "waits_for", list);
    json_line(o);
    json_decref(o);
}

static void reach(struct graph *g, size_t node)
{
    if (g->nodes[node].shown)
        return;
    g->nodes[node].shown = true;
    for (size_t i = 0; i < g->n_waits; i++)
        for (size_t k = 0; g->waits[i].node == node && k < g->waits[i].part->n_waits; k++) {
            long to = node_of(g, g->waits[i].part->waits[k].pid);
            if (to != NONE)
                reach(g, (size_t)to);
        }
}

static void dot_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

static void print_dot(const struct graph *g)
{
    puts("digraph naru {\n  node [shape=box];");
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].shown) {
            printf("  p%" PRId64 " [label=\"%" PRId64 " ", g->nodes[i].pid, g->nodes[i].pid);
            dot_text(g->nodes[i].program);
            printf("\"%s];\n", g->nodes[i].goes_on ? "" : ", color=red");
        }
    for (size_t i = 0; i < g->n_waits; i++)
        for (size_t k = 0; g->nodes[g->waits[i].node].shown && k < g->waits[i].part->n_waits; k++) {
            const struct naru_view_wait *e = &g->waits[i].part->waits[k];
            if (node_of(g, e->pid) == NONE)
                continue;
            printf("  p%" PRId64 " -> p%" PRId64 " [label=\"", g->waits[i].part->pid, e->pid);
            dot_text(g->waits[i].view->url);
            printf("\\n%s\"%s];\n", e->why, g->waits[i].part->others ? ", style=dashed" : "");
        }
    puts("}");
}

/* ---- the command ---- */

static int parse_pids(struct invocation *in, int64_t *pids)
{
    for (int i = 0; i < in->n_arguments; i++) {
        char *end;
        pids[i] = strtol(in->arguments[i], &end, 10);
        if (end == in->arguments[i] || *end || pids[i] <= 0 || pids[i] > INT32_MAX)
            return usage(in, "wants pids, not \"%s\"", in->arguments[i]);
        if (kill((pid_t)pids[i], 0) < 0 && errno == ESRCH)
            return fail(in, "there is no process %" PRId64, pids[i]);
    }
    return 0;
}

static void print_graph(struct graph *g, const int64_t *pids)
{
    bool quiet = wants_json(g->in) || option_flag(g->in, "dot");
    int n = g->in->n_arguments;
    for (int i = 0; i < n && !quiet; i++)
        print_process(g, pids[i]);
    for (int i = 0; i < n && quiet; i++)
        if (node_of(g, pids[i]) != NONE)
            reach(g, (size_t)node_of(g, pids[i]));
    for (size_t i = 0; i < g->n_nodes && n == 0; i++) {
        if (quiet)
            g->nodes[i].shown |= g->nodes[i].waits;
        else if (g->nodes[i].waits)
            print_waits(g, i, 0);
    }
    if (option_flag(g->in, "dot")) {
        print_dot(g);
        return;
    }
    for (size_t i = 0; i < g->n_waits && quiet; i++)
        if (g->nodes[g->waits[i].node].shown)
            json_wait(g, &g->waits[i]);
    print_cycles(g);
}

static int run(struct invocation *in)
{
    naru_snapshot *s;
    const struct naru_view *v;
    struct graph g = {.in = in, .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
    int64_t pids[64];
    int status = parse_pids(in, pids);
    if (status)
        return status;
    if (naru_snapshot_waits(&s) < 0)
        return fail_naru(in);
    for (size_t i = 0; (v = naru_snapshot_view(s, i)); i++)
        for (size_t k = 0; k < v->n_parts; k++)
            add_part(&g, v, v->parts[k]);
    add_commands(&g);
    reduce(&g);
    print_graph(&g, pids);
    size_t hidden = naru_snapshot_hidden(s);
    if (hidden > 0)
        fprintf(stderr, "naru why: %zu processes of others may not be looked at\n", hidden);
    while (g.commands) {
        struct command_wait *c = g.commands;
        g.commands = c->next;
        free(c);
    }
    free(g.nodes);
    free(g.waits);
    naru_snapshot_free(s);
    return 0;
}

static const struct option_row options[] = {
    {.name = "dot", .help = "print a graph for dot(1) instead: red boxes never go on"},
    {0},
};

const struct command why_command = {
    "why",
    "tells who waits for whom, and cycles",
    "[PID...]",
    "For each PID, or all processes: what it waits for in shm: locks, queues and topics, map: "
    "locks "
    "and locks in regions, who could "
    "end that wait and what they wait for in turn, and who waits for it. A cycle that nobody from "
    "outside can end is a deadlock. It only looks: nobody is slowed or stopped, so what moves "
    "meanwhile may be seen half. A process whose other threads could still give what is waited for "
    "is taken as one that waits; libc's and the kernel's own locks are not seen.\n"
    "A wait for a message can be ended by senders that come later, one for room in a queue by "
    "receivers, so a cycle through these is told of and is not called a deadlock.",
    0,
    64,
    options,
    run,
};
