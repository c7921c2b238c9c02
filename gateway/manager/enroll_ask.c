/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/enroll.h"

#include "crypto/hex.h"
#include "crypto/token.h"
#include "gateway/manager/records.h"
#include <errno.h>
#include <string.h>

static const char *string_of(const json_t *j, const char *key, size_t *len)
{
	const json_t *v = json_object_get(j, key);

	*len = json_string_length(v);
	return json_string_value(v);
}

/* Hex of 1 to max bytes. */
static bool bytes_of(const json_t *j, const char *key, uint8_t *out, size_t max, uint16_t *n)
{
	size_t len;
	const char *text = string_of(j, key, &len);

	if (!text || len < 2 || len > 2 * max || hex_parse(out, len / 2, text, len) < 0)
		return false;
	*n = (uint16_t)(len / 2);
	return true;
}

static int parse_join(struct enroll_ask *a, const json_t *j, const char **why)
{
	const char *name, *token, *version;
	size_t len;

	*why = "name: it is no lower case DNS label of 1 to 63 characters";
	name = string_of(j, "name", &len);
	if (!name || strlen(name) != len || !cert_name_ok(name))
		return -EINVAL;
	memcpy(a->sign.name, name, len + 1);
	*why = "token: it is not the 16 hex digits of a token's id";
	token = string_of(j, "token", &len);
	if (!token || hex_parse(a->sign.token_id, sizeof(a->sign.token_id), token, len) < 0)
		return -EINVAL;
	*why = "csr: it is no hex of at most 2048 bytes";
	if (!bytes_of(j, "csr", a->sign.csr, sizeof(a->sign.csr), &a->sign.csr_len))
		return -EINVAL;
	*why = "proof: it is no hex of at most 72 bytes";
	if (!bytes_of(j, "proof", a->sign.sig, sizeof(a->sign.sig), &a->sign.sig_len))
		return -EINVAL;
	*why = "endpoints: it is no list of at most 8 texts ADDR:PORT";
	if (record_endpoints_parse(a->endpoints, &a->nendpoints, json_object_get(j, "endpoints")) <
	    0)
		return -EINVAL;
	*why = "version: it is no text of at most 31 characters";
	version = string_of(j, "version", &len);
	if (!version || strlen(version) != len || !record_version_ok(version))
		return -EINVAL;
	memcpy(a->version, version, len + 1);
	return 0;
}

/* The name is the certificate's, which the ca judges; here it has but to be readable. */
static int parse_holder(struct enroll_ask *a, const json_t *j, const char **why)
{
	struct cert_info cert;

	*why = "certificate: it is no hex of a node's certificate of at most 2048 bytes";
	if (!bytes_of(j, "certificate", a->sign.cert, sizeof(a->sign.cert), &a->sign.cert_len) ||
	    cert_parse(&cert, a->sign.cert, a->sign.cert_len) != CERT_OK)
		return -EINVAL;
	memcpy(a->sign.name, cert.node, sizeof(cert.node));
	*why = "proof: it is no hex of at most 72 bytes";
	return bytes_of(j, "proof", a->sign.sig, sizeof(a->sign.sig), &a->sign.sig_len) ? 0
	                                                                                : -EINVAL;
}

static int parse_renewal(struct enroll_ask *a, const json_t *j, const char **why)
{
	int err = parse_holder(a, j, why);

	if (err)
		return err;
	*why = "csr: it is no hex of at most 2048 bytes";
	return bytes_of(j, "csr", a->sign.csr, sizeof(a->sign.csr), &a->sign.csr_len) ? 0 : -EINVAL;
}

int enroll_parse(struct enroll_ask *out, enum sign_kind kind, const char *body, size_t len,
                 const char **why)
{
	json_t *j = h2_json(body, len);
	int err = -EINVAL;

	memset(out, 0, sizeof(*out));
	*why = "the body is no JSON object";
	out->sign.kind = (uint8_t)kind;
	if (json_is_object(j))
		err = kind == SIGN_JOIN    ? parse_join(out, j, why)
		      : kind == SIGN_RENEW ? parse_renewal(out, j, why)
		                           : parse_holder(out, j, why);
	json_decref(j);
	return err;
}
