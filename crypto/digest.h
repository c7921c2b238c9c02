/* SPDX-License-Identifier: GPL-3.0-or-later */
/* digest - SHA-256 of bytes, by which a document is told from another. Pure; any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEN 32

void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_LEN]);
