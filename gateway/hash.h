/* SPDX-License-Identifier: GPL-3.0-or-later */
/* hash - uthash, with a hash function that falls through no switch (clang warns of the default one).
 * Without memory it ends the process: the parent starts it again.
 */
#pragma once
#define HASH_FUNCTION HASH_OAT
#include <uthash.h>
