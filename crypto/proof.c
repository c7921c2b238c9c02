/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/proof.h"

#include <errno.h>
#include <string.h>

#define LABEL_MAX sizeof("ginnel-renew-1")

static const char *const labels[] = {
	[PROOF_JOIN] = "ginnel-join-1",
	[PROOF_RENEW] = "ginnel-renew-1",
	[PROOF_LEAVE] = "ginnel-leave-1",
};

struct statement {
	uint8_t bytes[LABEL_MAX + PROOF_EXPORTER_LEN + CERT_DER_MAX];
	size_t n;
};

static int statement_make(struct statement *s, enum proof_kind kind,
                          const uint8_t exporter[PROOF_EXPORTER_LEN], const uint8_t *body,
                          size_t len)
{
	size_t label = strlen(labels[kind]) + 1;

	if (len == 0 || len > CERT_DER_MAX)
		return -EBADMSG;
	memcpy(s->bytes, labels[kind], label);
	memcpy(s->bytes + label, exporter, PROOF_EXPORTER_LEN);
	memcpy(s->bytes + label + PROOF_EXPORTER_LEN, body, len);
	s->n = label + PROOF_EXPORTER_LEN + len;
	return 0;
}

int proof_make(enum proof_kind kind, const struct cert_key *key,
               const uint8_t exporter[PROOF_EXPORTER_LEN], const uint8_t *body, size_t len,
               uint8_t *sig, size_t *sig_len)
{
	struct statement s;
	int err = statement_make(&s, kind, exporter, body, len);

	return err ? err : cert_key_sign(key, s.bytes, s.n, sig, sig_len);
}

int proof_check(enum proof_kind kind, const uint8_t *spki, size_t spki_len,
                const uint8_t exporter[PROOF_EXPORTER_LEN], const uint8_t *body, size_t len,
                const uint8_t *sig, size_t sig_len)
{
	struct statement s;

	if (statement_make(&s, kind, exporter, body, len) < 0)
		return -EBADMSG;
	return cert_verify(spki, spki_len, s.bytes, s.n, sig, sig_len) ? -EBADMSG : 0;
}
