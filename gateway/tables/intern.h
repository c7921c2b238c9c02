/* SPDX-License-Identifier: GPL-3.0-or-later */
/* intern - byte strings as small numbers: equal ones have the same, counted from 0.
 *
 * What is compared often is compared as a number. Strings are kept aligned for uint32_t and with a
 * zero byte behind, which is not part of them. Read by several threads at once, once no more are added.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define INTERN_NONE UINT32_MAX

struct intern;

int intern_new(struct intern **out); /* -ENOMEM */
void intern_free(struct intern *t);
/* The number of these bytes, a new one if they are new. -ENOMEM. */
int intern_add(struct intern *t, const void *bytes, size_t len, uint32_t *id);
/* INTERN_NONE if they are unknown. */
uint32_t intern_find(const struct intern *t, const void *bytes, size_t len);
/* Valid until the next intern_add. */
const void *intern_bytes(const struct intern *t, uint32_t id);
size_t intern_len(const struct intern *t, uint32_t id);
uint32_t intern_count(const struct intern *t);
