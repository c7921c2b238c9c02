/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crypto/hex.h"
#include "crypto/secret.h"

#define VERSION  "GNL1."
#define BYTES    ((size_t)32 + TOKEN_ID_LEN + TOKEN_SECRET_LEN)
#define CRC      4
#define BASE32   ((BYTES + CRC) / 5 * 8) /* a multiple of five bytes: no bits are left over */
#define KEY_INFO "ginnel-token-1"

_Static_assert((BYTES + CRC) % 5 == 0, "the base32 text has no padding");
_Static_assert(sizeof(VERSION) + sizeof("manager.") + BASE32 <= TOKEN_TEXT_MAX, "text fits");

/* IEEE 802.3's, reflected; no table, as what goes in is secret. */
static uint32_t crc_add(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;

	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (unsigned k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
	}
	return ~crc;
}

/* Over the role too: a token whose role was changed is mistyped. */
static uint32_t token_crc(enum cert_role role, const uint8_t bytes[BYTES])
{
	const char *name = cert_role_name(role);
	uint32_t crc;

	crc = crc_add(0, VERSION, strlen(VERSION));
	crc = crc_add(crc, name, strlen(name));
	crc = crc_add(crc, ".", 1);
	return crc_add(crc, bytes, BYTES);
}

/* -- base32, RFC 4648 section 6, lower case ------------------------------------------------------ */

static char base32_character(unsigned v)
{
	unsigned letter = 0u - ((v - 26) >> 31); /* all ones for 0 to 25 */

	return (char)((letter & (v + 'a')) | (~letter & (v - 26 + '2')));
}

/* Eight characters for five bytes. */
static void base32_format(char *out, const uint8_t *in, size_t n)
{
	for (size_t i = 0; i < n; i += 5) {
		uint64_t v = 0;

		for (unsigned k = 0; k < 5; k++)
			v = v << 8 | in[i + k];
		for (unsigned k = 0; k < 8; k++)
			*out++ = base32_character((unsigned)(v >> (35 - 5 * k)) & 31);
	}
}

static int base32_parse(uint8_t *out, const char *in, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = 0;

		for (unsigned k = 0; k < 8; k++) {
			char c = in[i + k];

			if (c >= 'a' && c <= 'z')
				v = v << 5 | (uint64_t)(c - 'a');
			else if (c >= '2' && c <= '7')
				v = v << 5 | (uint64_t)(c - '2' + 26);
			else
				return -EBADMSG;
		}
		for (unsigned k = 0; k < 5; k++)
			*out++ = (uint8_t)(v >> (32 - 8 * k));
	}
	return 0;
}

/* -- the text ------------------------------------------------------------------------------------ */

int token_new(struct token *t, enum cert_role role, const uint8_t pin[32])
{
	struct token made = {.role = role};
	int err;

	if (role != ROLE_NODE && role != ROLE_MANAGER)
		return -EINVAL;
	memcpy(made.pin, pin, sizeof(made.pin));
	err = secret_random(made.id, sizeof(made.id));
	if (!err)
		err = secret_random(made.secret, sizeof(made.secret));
	if (!err)
		*t = made;
	secret_wipe(&made, sizeof(made));
	return err;
}

static void bytes_join(uint8_t bytes[BYTES + CRC], const struct token *t)
{
	uint32_t crc;

	memcpy(bytes, t->pin, sizeof(t->pin));
	memcpy(bytes + 32, t->id, TOKEN_ID_LEN);
	memcpy(bytes + 32 + TOKEN_ID_LEN, t->secret, TOKEN_SECRET_LEN);
	crc = token_crc(t->role, bytes);
	for (unsigned i = 0; i < CRC; i++)
		bytes[BYTES + i] = (uint8_t)(crc >> (24 - 8 * i));
}

int token_format(const struct token *t, char *text, size_t max)
{
	uint8_t bytes[BYTES + CRC];
	int n;

	if (t->role != ROLE_NODE && t->role != ROLE_MANAGER)
		return -EINVAL;
	n = snprintf(text, max, VERSION "%s.", cert_role_name(t->role));
	if (n < 0 || (size_t)n + BASE32 + 1 > max)
		return -E2BIG;
	bytes_join(bytes, t);
	base32_format(text + n, bytes, sizeof(bytes));
	text[(size_t)n + BASE32] = 0;
	secret_wipe(bytes, sizeof(bytes));
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "role." off the front of the text. */
static int role_take(enum cert_role *role, const char **text, size_t *len)
{
	static const enum cert_role roles[] = {ROLE_NODE, ROLE_MANAGER};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		const char *name = cert_role_name(roles[i]);
		size_t n = strlen(name);

		if (*len > n && memcmp(*text, name, n) == 0 && (*text)[n] == '.') {
			*role = roles[i];
			*text += n + 1;
			*len -= n + 1;
			return 0;
		}
	}
	return -EBADMSG;
}

static int bytes_split(struct token *t, const uint8_t bytes[BYTES + CRC])
{
	uint32_t crc = token_crc(t->role, bytes);

	for (unsigned i = 0; i < CRC; i++)
		crc ^= (uint32_t)bytes[BYTES + i] << (24 - 8 * i);
	if (crc)
		return -EBADMSG;
	memcpy(t->pin, bytes, sizeof(t->pin));
	memcpy(t->id, bytes + 32, TOKEN_ID_LEN);
	memcpy(t->secret, bytes + 32 + TOKEN_ID_LEN, TOKEN_SECRET_LEN);
	return 0;
}

int token_parse(struct token *t, const char *text, size_t len)
{
	uint8_t bytes[BYTES + CRC];
	struct token parsed = {0};
	int err;

	while (len > 0 && is_space(text[0])) {
		text++;
		len--;
	}
	while (len > 0 && is_space(text[len - 1]))
		len--;
	if (len < strlen(VERSION) || memcmp(text, VERSION, strlen(VERSION)) != 0)
		return -EINVAL;
	text += strlen(VERSION);
	len -= strlen(VERSION);
	err = role_take(&parsed.role, &text, &len);
	if (!err && len != BASE32)
		err = -EBADMSG;
	if (!err)
		err = base32_parse(bytes, text, BASE32);
	if (!err)
		err = bytes_split(&parsed, bytes);
	if (!err)
		*t = parsed;
	secret_wipe(bytes, sizeof(bytes));
	secret_wipe(&parsed, sizeof(parsed));
	return err;
}

void token_id_format(const uint8_t id[TOKEN_ID_LEN], char out[TOKEN_ID_TEXT + 1])
{
	hex_format(out, id, TOKEN_ID_LEN);
}

int token_id_parse(uint8_t id[TOKEN_ID_LEN], const char *text)
{
	uint8_t parsed[TOKEN_ID_LEN];

	if (hex_parse(parsed, sizeof(parsed), text, strnlen(text, TOKEN_ID_TEXT + 1)) < 0)
		return -EINVAL;
	memcpy(id, parsed, sizeof(parsed));
	return 0;
}

/* -- the proof ----------------------------------------------------------------------------------- */

static int token_key(struct cert_key **out, const struct token *t)
{
	return cert_key_from_seed(out, t->secret, sizeof(t->secret), KEY_INFO);
}

int token_public(const struct token *t, uint8_t *spki, size_t *len)
{
	struct cert_key *k;
	const uint8_t *bytes;
	int err;

	err = token_key(&k, t);
	if (err)
		return err;
	bytes = cert_key_spki(k, len);
	memcpy(spki, bytes, *len);
	cert_key_free(k);
	return 0;
}

int token_prove(const struct token *t, const uint8_t exporter[TOKEN_EXPORTER_LEN],
                const uint8_t *csr, size_t csr_len, uint8_t *sig, size_t *sig_len)
{
	struct cert_key *k;
	int err;

	err = token_key(&k, t);
	if (err)
		return err;
	err = proof_make(PROOF_JOIN, k, exporter, csr, csr_len, sig, sig_len);
	cert_key_free(k);
	return err;
}

int token_verify(const uint8_t *spki, size_t spki_len, const uint8_t exporter[TOKEN_EXPORTER_LEN],
                 const uint8_t *csr, size_t csr_len, const uint8_t *sig, size_t sig_len)
{
	return proof_check(PROOF_JOIN, spki, spki_len, exporter, csr, csr_len, sig, sig_len);
}
