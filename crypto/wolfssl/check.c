/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <wolfssl/ssl.h>
int main(void) { return wolfSSL_Init() == WOLFSSL_SUCCESS ? 0 : 1; }
