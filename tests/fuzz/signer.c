/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The ca's two doors. First byte 0: a message of the manager as it came; 1: request and name are
 * foreign, the proof of the token is right; else an operator's line.
 */
#include "gateway/privsep/signer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include "gateway/log.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/privsep/ledger.h"
#include "gateway/privsep/operator.h"

#define NOW 1700000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	char folders[2][32];
	struct signer *signer;
	struct ledger *ledger; /* the operator's: the signer holds its own alone */
	struct token token;
	int64_t now;
} world;

static void must(int err)
{
	if (err)
		abort();
}

static int folder_new(unsigned at)
{
	strcpy(world.folders[at], "/tmp/fuzz-signer-XXXXXX");
	if (!mkdtemp(world.folders[at]))
		abort();
	return open(world.folders[at], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void world_end(void)
{
	signer_free(world.signer);
	ledger_close(world.ledger);
	for (unsigned at = 0; at < 2; at++) {
		DIR *d = opendir(world.folders[at]);
		struct dirent *e;

		while (d && (e = readdir(d)))
			unlinkat(dirfd(d), e->d_name, 0);
		if (d)
			closedir(d);
		rmdir(world.folders[at]);
	}
}

static void world_begin(void)
{
	struct ledger_token row = {.role = ROLE_NODE, .created = NOW, .expires = NOW + 3600};
	static const uint8_t pin[32];
	char pem[4096], why[256];
	struct cert_chain chain;
	size_t len = 0;
	struct ca *ca;
	int dir = folder_new(0), other = folder_new(1);

	log_setup(LOG_LEVEL_ERROR, false, NULL);
	must(ca_new(&ca, "test", NOW));
	must(cert_key_to_pem(ca_key(ca), pem, sizeof(pem), &len));
	must(keyfile_write(dir, CAFILES_KEY, pem, len));
	len = 0;
	ca_chain(ca, &chain);
	must(cert_to_pem(pem, sizeof(pem), &len, chain.at[0].der, chain.at[0].len));
	must(keyfile_write(dir, CAFILES_CHAIN, pem, len));
	ca_free(ca);
	must(token_new(&world.token, ROLE_NODE, pin));
	memcpy(row.id, world.token.id, sizeof(row.id));
	must(token_public(&world.token, row.spki, &row.spki_len));
	must(ledger_create(dir, "test"));
	must(ledger_open(&world.ledger, dir));
	must(ledger_token_add(world.ledger, &row));
	ledger_close(world.ledger);
	must(signer_new(&world.signer, dir, why, sizeof(why)));
	must(ledger_create(other, "test"));
	must(ledger_open(&world.ledger, other));
	close(dir);
	close(other);
	atexit(world_end);
}

/* A minute later each time, so that wrong proofs do not shut the door. */
static void sign(const struct message_sign *q)
{
	static struct message_signed a;

	world.now += SIGNER_WINDOW;
	signer_sign(world.signer, q, NOW, world.now, &a);
	if (a.result >= SIGN_RESULT_COUNT || (a.result == SIGN_OK) != (a.nchain > 0))
		abort();
}

static void feed_message(const uint8_t *data, size_t size)
{
	static struct message_sign q;

	memset(&q, 0, sizeof(q));
	memcpy(&q, data, size < sizeof(q) ? size : sizeof(q));
	sign(&q);
}

static void feed_request(const uint8_t *data, size_t size)
{
	static struct message_sign q;
	size_t sig_len;

	if (size <= sizeof(q.name) || size - sizeof(q.name) > sizeof(q.csr))
		return;
	memset(&q, 0, sizeof(q));
	q.kind = SIGN_JOIN;
	memcpy(q.token_id, world.token.id, sizeof(q.token_id));
	memcpy(q.name, data, sizeof(q.name));
	q.csr_len = (uint16_t)(size - sizeof(q.name));
	memcpy(q.csr, data + sizeof(q.name), q.csr_len);
	must(token_prove(&world.token, q.exporter, q.csr, q.csr_len, q.sig, &sig_len));
	q.sig_len = (uint16_t)sig_len;
	sign(&q);
}

static void feed_line(const uint8_t *data, size_t size)
{
	static const uint8_t pin[32];
	struct operator_answer a;

	if (operator_ask(world.ledger, pin, "root", (const char *)data, size, NOW, &a))
		return;
	/* Always exactly one line. */
	if (a.len < 2 || memchr(a.text, '\n', a.len) != a.text + a.len - 1)
		abort();
	operator_answer_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!world.signer)
		world_begin();
	if (!size)
		return 0;
	if (data[0] == 0)
		feed_message(data + 1, size - 1);
	else if (data[0] == 1)
		feed_request(data + 1, size - 1);
	else
		feed_line(data + 1, size - 1);
	return 0;
}
