/* SPDX-License-Identifier: GPL-3.0-or-later */
/* signer_inner - between signer.c, which judges and signs, and signer_process.c, which serves. */
#pragma once
#include "gateway/privsep/ledger.h"
#include "gateway/privsep/signer.h"

/* Something done by one source, or with one token, within a window. */
struct often {
	uint8_t key[16];
	int64_t since;
	unsigned n; /* 0: the slot is free */
};

struct signer {
	struct ca *ca;
	struct ledger *ledger;
	struct cert_trust *trust; /* its own root */
	uint8_t pin[32];
	struct often wrong[SIGNER_WRONG_SOURCES];
	struct often joins[SIGNER_JOIN_TOKENS];
};
