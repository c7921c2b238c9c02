/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/claim.h"

#include <errno.h>
#include <string.h>

const uint8_t claim_oid[20] = {0x69, 0x82, 0x8d, 0xa0, 0xa9, 0xc6, 0xd4, 0xcb, 0xf2, 0xab,
                               0xcf, 0x8b, 0xb1, 0xda, 0xb8, 0xba, 0xad, 0xc0, 0xff, 0x36};

static bool alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters and digits; between them also the given marks. */
static bool word_ok(const char *text, size_t n, const char *marks)
{
	if (n == 0 || !alphanumeric(text[0]) || !alphanumeric(text[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!alphanumeric(text[i]) && (text[i] == 0 || !strchr(marks, text[i])))
			return false;
	}
	return true;
}

bool claim_key_ok(const char *text, size_t n)
{
	return n <= CERT_LABEL_KEY_MAX && word_ok(text, n, "._-/");
}

bool claim_value_ok(const char *text, size_t n)
{
	return n <= CERT_LABEL_VALUE_MAX && word_ok(text, n, "._-");
}

static bool role_ok(uint64_t role)
{
	return role == ROLE_NODE || role == ROLE_MANAGER;
}

/* One label behind the last of *l. */
static int label_parse(struct cert_labels *l, struct der in)
{
	struct cert_label *label = &l->at[l->n];
	struct der key, value;

	if (l->n == CERT_LABELS_MAX || der_read(&in, DER_UTF8_STRING, &key) < 0 ||
	    der_read(&in, DER_UTF8_STRING, &value) < 0 || in.n)
		return -EBADMSG;
	if (!claim_key_ok((const char *)key.at, key.n) ||
	    !claim_value_ok((const char *)value.at, value.n))
		return -EBADMSG;
	memcpy(label->key, key.at, key.n);
	memcpy(label->value, value.at, value.n);
	if (l->n > 0 && strcmp(l->at[l->n - 1].key, label->key) >= 0)
		return -EBADMSG;
	l->n++;
	return 0;
}

int claim_parse(struct claim *out, const uint8_t *bytes, size_t len)
{
	struct der in = {bytes, len};
	struct der seq, labels, label;
	struct claim c = {0};
	uint64_t role;

	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n || der_read_uint(&seq, &role) < 0 ||
	    !role_ok(role) || der_read_uint(&seq, &c.incarnation) < 0 ||
	    der_read_uint(&seq, &c.issue) < 0 || der_read(&seq, DER_SEQUENCE, &labels) < 0 || seq.n)
		return -EBADMSG;
	while (labels.n) {
		if (der_read(&labels, DER_SEQUENCE, &label) < 0 ||
		    label_parse(&c.labels, label) < 0)
			return -EBADMSG;
	}
	c.role = (enum cert_role)role;
	*out = c;
	return 0;
}

static bool labels_ok(const struct cert_labels *l)
{
	if (l->n > CERT_LABELS_MAX)
		return false;
	for (unsigned i = 0; i < l->n; i++) {
		const struct cert_label *label = &l->at[i];

		if (!claim_key_ok(label->key, strnlen(label->key, sizeof(label->key))) ||
		    !claim_value_ok(label->value, strnlen(label->value, sizeof(label->value))))
			return false;
		if (i > 0 && strcmp(l->at[i - 1].key, label->key) >= 0)
			return false;
	}
	return true;
}

void claim_put(struct der_out *o, enum cert_role role, uint64_t incarnation, uint64_t issue,
               const struct cert_labels *labels)
{
	size_t seq, list, one;

	if (!role_ok((uint64_t)role) || (labels && !labels_ok(labels))) {
		if (!o->err)
			o->err = -EINVAL;
		return;
	}
	seq = der_open(o, DER_SEQUENCE);
	der_put_uint(o, (uint64_t)role);
	der_put_uint(o, incarnation);
	der_put_uint(o, issue);
	list = der_open(o, DER_SEQUENCE);
	for (unsigned i = 0; labels && i < labels->n; i++) {
		const struct cert_label *label = &labels->at[i];

		one = der_open(o, DER_SEQUENCE);
		der_put_element(o, DER_UTF8_STRING, label->key, strlen(label->key));
		der_put_element(o, DER_UTF8_STRING, label->value, strlen(label->value));
		der_close(o, one);
	}
	der_close(o, list);
	der_close(o, seq);
}
