/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/pem.h"

#include <errno.h>
#include <string.h>

#include "crypto/secret.h"

#define BEGIN      "-----BEGIN "
#define END        "-----END "
#define DASHES     "-----"
#define LINE_BYTES 48 /* 64 characters a line */

static bool starts_with(const uint8_t *p, size_t n, const char *what)
{
	size_t len = strlen(what);

	return n >= len && memcmp(p, what, len) == 0;
}

/* Where the line after p begins. */
static size_t next_line(const uint8_t *p, size_t n)
{
	const uint8_t *newline = memchr(p, '\n', n);

	return newline ? (size_t)(newline - p) + 1 : n;
}

/* The label of a line "-----BEGIN LABEL-----", which lies in its n bytes whole. */
static int label_read(char label[PEM_LABEL_MAX + 1], const uint8_t *line, size_t n)
{
	size_t len;

	line += strlen(BEGIN);
	n -= strlen(BEGIN);
	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r' || line[n - 1] == ' '))
		n--;
	if (n < strlen(DASHES) || !starts_with(line + n - strlen(DASHES), strlen(DASHES), DASHES))
		return -EBADMSG;
	len = n - strlen(DASHES);
	if (len == 0 || len > PEM_LABEL_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (line[i] != ' ' && (line[i] < 'A' || line[i] > 'Z') &&
		    (line[i] < '0' || line[i] > '9'))
			return -EBADMSG;
	}
	memcpy(label, line, len);
	label[len] = 0;
	return 0;
}

/* Is this the line "-----END LABEL-----"? */
static bool ends(const uint8_t *p, size_t n, const char *label)
{
	size_t len = strlen(label);

	if (!starts_with(p, n, END))
		return false;
	p += strlen(END);
	n -= strlen(END);
	return starts_with(p, n, label) && starts_with(p + len, n - len, DASHES);
}

int pem_next(const uint8_t **text, size_t *len, struct pem_block *out)
{
	const uint8_t *p = *text;
	size_t n = *len, line;

	while (n > 0 && !starts_with(p, n, BEGIN)) {
		line = next_line(p, n);
		p += line;
		n -= line;
	}
	if (n == 0)
		return -ENOENT;
	line = next_line(p, n);
	if (label_read(out->label, p, line) < 0)
		return -EBADMSG;
	p += line;
	n -= line;
	out->body = p;
	while (n > 0 && !ends(p, n, out->label)) {
		line = next_line(p, n);
		p += line;
		n -= line;
	}
	if (n == 0)
		return -EBADMSG;
	out->n = (size_t)(p - out->body);
	line = next_line(p, n);
	*text = p + line;
	*len = n - line;
	return 0;
}

/* All ones if lo <= c <= hi, without a branch. */
static unsigned between(unsigned c, unsigned lo, unsigned hi)
{
	return 0u - (((lo - 1 - c) & (c - hi - 1)) >> 31);
}

/* Value of a base64 character, 0xff if it is none. */
static unsigned base64_value(unsigned c)
{
	unsigned known = 0, v = 0, mask;

	mask = between(c, 'A', 'Z');
	v |= mask & (c - 'A');
	known |= mask;
	mask = between(c, 'a', 'z');
	v |= mask & (c - 'a' + 26);
	known |= mask;
	mask = between(c, '0', '9');
	v |= mask & (c - '0' + 52);
	known |= mask;
	mask = between(c, '+', '+');
	v |= mask & 62;
	known |= mask;
	mask = between(c, '/', '/');
	v |= mask & 63;
	known |= mask;
	return (v & known) | (0xffu & ~known);
}

static char base64_character(unsigned v)
{
	return (char)((between(v, 0, 25) & (v + 'A')) | (between(v, 26, 51) & (v - 26 + 'a')) |
	              (between(v, 52, 61) & (v - 52 + '0')) | (between(v, 62, 62) & '+') |
	              (between(v, 63, 63) & '/'));
}

/* Four characters, of which pad are '=', give three bytes less pad. */
static int group_decode(uint8_t out[3], const unsigned v[4], unsigned pad)
{
	unsigned sum = v[0] << 18 | v[1] << 12 | v[2] << 6 | v[3];

	if (pad > 2 || (pad == 2 && v[1] & 15) || (pad == 1 && v[2] & 3))
		return -EBADMSG; /* RFC 4648 section 3.5: the bits that are left over are zero */
	out[0] = (uint8_t)(sum >> 16);
	out[1] = (uint8_t)(sum >> 8);
	out[2] = (uint8_t)sum;
	return 0;
}

static int body_decode(const struct pem_block *b, uint8_t *der, size_t max, size_t *used)
{
	unsigned v[4], n = 0, pad = 0;
	uint8_t bytes[3] = {0};
	int err = 0;

	for (size_t i = 0; i < b->n && !err; i++) {
		uint8_t c = b->body[i];

		if (c == '\n' || c == '\r' || c == ' ' || c == '\t')
			continue;
		if (c == '=')
			pad++;
		v[n] = c == '=' ? 0 : base64_value(c);
		if (v[n] == 0xff || (pad > 0 && c != '=') || (pad > 0 && *used % 3 != 0))
			err = -EBADMSG;
		if (err || ++n < 4)
			continue;
		n = 0;
		err = group_decode(bytes, v, pad);
		if (err)
			break;
		if (3 - pad > max - *used) {
			err = -E2BIG;
			break;
		}
		memcpy(der + *used, bytes, 3 - pad);
		*used += 3 - pad;
	}
	secret_wipe(v, sizeof(v));
	secret_wipe(bytes, sizeof(bytes));
	if (!err && (n != 0 || *used == 0))
		err = -EBADMSG;
	return err;
}

int pem_decode(const struct pem_block *b, uint8_t *der, size_t max, size_t *len)
{
	size_t used = 0;
	int err;

	err = body_decode(b, der, max, &used);
	if (err) {
		secret_wipe(der, used);
		return err;
	}
	*len = used;
	return 0;
}

static void put(char *pem, size_t *at, const char *text)
{
	while (*text)
		pem[(*at)++] = *text++;
}

/* Up to LINE_BYTES bytes as one line. */
static void line_encode(char *pem, size_t *at, const uint8_t *der, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		unsigned have = n - i < 3 ? (unsigned)(n - i) : 3;
		unsigned sum = (unsigned)der[i] << 16;

		if (have > 1)
			sum |= (unsigned)der[i + 1] << 8;
		if (have > 2)
			sum |= der[i + 2];
		for (unsigned k = 0; k < 4; k++) {
			unsigned v = (sum >> (18 - 6 * k)) & 63;

			pem[*at] = '=';
			if (k <= have)
				pem[*at] = base64_character(v);
			(*at)++;
		}
	}
	pem[(*at)++] = '\n';
}

int pem_append(char *pem, size_t max, size_t *len, const char *label, const uint8_t *der,
               size_t der_len)
{
	size_t at = *len, need;

	if (der_len > max)
		return -E2BIG;
	need = strlen(BEGIN) + strlen(END) + 2 * (strlen(label) + strlen(DASHES) + 1) +
	       (der_len + 2) / 3 * 4 + (der_len + LINE_BYTES - 1) / LINE_BYTES + 1;
	if (at > max || need > max - at)
		return -E2BIG;
	put(pem, &at, BEGIN);
	put(pem, &at, label);
	put(pem, &at, DASHES "\n");
	for (size_t i = 0; i < der_len; i += LINE_BYTES)
		line_encode(pem, &at, der + i, der_len - i < LINE_BYTES ? der_len - i : LINE_BYTES);
	put(pem, &at, END);
	put(pem, &at, label);
	put(pem, &at, DASHES "\n");
	pem[at] = 0;
	*len = at;
	return 0;
}
