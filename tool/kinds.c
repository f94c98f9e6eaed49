/* SPDX-License-Identifier: MIT */
/* kinds.c - naru kinds: the tables that the library itself is held to. */
#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

static const char *cell_text(const struct naru_url_form *form, int noun, char *buf, size_t n)
{
    static const char *const text[] = {"-", "yes", "not in this build"};
    const char *note = form->note[noun];
    snprintf(buf, n, "%s%s%s%s", text[form->cell[noun]], note ? " (" : "", note ? note : "",
             note ? ")" : "");
    return buf;
}

static int print_urls(bool json)
{
    const char *heads[NARU_NOUN_COUNT + 1] = {"url"};
    for (int i = 0; i < NARU_NOUN_COUNT; i++)
        heads[i + 1] = naru_noun_name(i);
    const struct naru_url_form *forms;
    size_t n = naru_url_forms(&forms);
    struct table *table = table_new(heads, NARU_NOUN_COUNT + 1);
    for (size_t k = 0; k < n; k++) {
        char cells[NARU_NOUN_COUNT][80];
        const char *row[NARU_NOUN_COUNT + 1] = {forms[k].form};
        json_t *object = json_pack("{s:s, s:s, s:s}", "url", forms[k].form, "scheme",
                                   forms[k].scheme, "kind", forms[k].kind);
        for (int i = 0; i < NARU_NOUN_COUNT; i++) {
            static const char *const word[] = {"no", "yes", "later"};
            row[i + 1] = cell_text(&forms[k], i, cells[i], sizeof cells[i]);
            json_object_set_new(object, naru_noun_name(i), json_string(word[forms[k].cell[i]]));
        }
        if (json)
            json_line(object);
        else
            table_row(table, row);
        json_decref(object);
    }
    return table_end(table, !json);
}

static int print_promises(bool json)
{
    static const char *const heads[] = {
        "url",        "order",   "types", "largest message", "outlives its participants",
        "comes back", "may lose"};
    const struct naru_url_form *forms;
    size_t n = naru_url_forms(&forms);
    struct table *table = table_new(heads, 7);
    for (size_t k = 0; k < n; k++) {
        const struct naru_promise *p = &forms[k].promise;
        const char *row[] = {forms[k].form, p->order,      p->types,   p->largest,
                             p->outlives,   p->redelivers, p->may_lose};
        json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "url", row[0], "order",
                                   row[1], "types", row[2], "largest", row[3], "outlives", row[4],
                                   "redelivers", row[5], "may_lose", row[6]);
        if (json)
            json_line(object);
        else
            table_row(table, row);
        json_decref(object);
    }
    return table_end(table, !json);
}

static int print_sockets(bool json)
{
    static const char *const heads[] = {"url", "domain", "type", "protocol", "may lose"};
    const struct naru_url_form *forms;
    size_t n = naru_url_forms(&forms);
    struct table *table = table_new(heads, 5);
    for (size_t k = 0; k < n; k++) {
        const struct naru_url_form *f = &forms[k];
        const char *row[] = {f->form, f->domain, f->type, f->protocol, f->promise.may_lose};
        if (!f->domain)
            continue;
        json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s}", "url", row[0], "domain", row[1],
                                   "type", row[2], "protocol", row[3], "may_lose", row[4]);
        if (json)
            json_line(object);
        else
            table_row(table, row);
        json_decref(object);
    }
    return table_end(table, !json);
}

static int print_kinds(bool json)
{
    static const char *const heads[] = {"kind", "when", "medium", "unit", "direction", "reach"};
    const struct naru_kind *kinds;
    size_t n = naru_kinds(&kinds);
    struct table *table = table_new(heads, 6);
    for (size_t k = 0; k < n; k++) {
        const struct naru_kind *kind = &kinds[k];
        const char *row[] = {kind->title, kind->when,      kind->medium,
                             kind->unit,  kind->direction, kind->reach};
        json_t *object =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kind", kind->name, "title",
                      kind->title, "when", kind->when, "medium", kind->medium, "unit", kind->unit,
                      "direction", kind->direction, "reach", kind->reach);
        json_object_update_new(
            object, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "order", kind->promise.order,
                              "types", kind->promise.types, "largest", kind->promise.largest,
                              "outlives", kind->promise.outlives, "redelivers",
                              kind->promise.redelivers, "may_lose", kind->promise.may_lose));
        if (json)
            json_line(object);
        else
            table_row(table, row);
        json_decref(object);
    }
    return table_end(table, !json);
}

static int run(struct invocation *in)
{
    bool json = wants_json(in);
    if (option_flag(in, "urls"))
        return print_urls(json);
    if (option_flag(in, "sockets"))
        return print_sockets(json);
    return option_flag(in, "promises") ? print_promises(json) : print_kinds(json);
}

static const struct option_row options[] = {
    {.name = "urls", .help = "what each URL can be opened as, in this build"},
    {.name = "promises", .help = "what each URL guarantees: order, types, sizes, loss"},
    {.name = "sockets", .help = "domain, type and protocol of each that is a socket"},
    {0},
};

const struct command kinds_command = {
    "kinds",
    "shows the kinds of communication and what each can do",
    "",
    "The eight kinds with what each is for. The tables are the library's own: an opening call that "
    "they do not allow is refused with the same words.",
    0,
    0,
    options,
    run,
};
