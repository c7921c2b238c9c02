/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificate requests (PKCS#10, RFC 2986): csr_new and csr_parse of crypto/cert.h. An issuer takes
 * the key alone, so nothing else is kept; still every byte is looked at, so that one request is one
 * byte string.
 */
#include "crypto/cert.h"

#include <errno.h>
#include <string.h>

#include "crypto/der.h"
#include "crypto/x509.h"

int csr_new(const struct cert_key *k, const char *node, uint8_t *out, size_t max, size_t *len)
{
	uint8_t info[CERT_DER_MAX], sig[CERT_SIG_MAX];
	struct der_out o;
	const uint8_t *spki;
	size_t seq, spki_len, sig_len;
	int err;

	if (!cert_name_ok(node))
		return -EINVAL;
	der_out_init(&o, info, sizeof(info));
	seq = der_open(&o, DER_SEQUENCE);
	der_put_uint(&o, 0);
	x509_put_name(&o, NULL, node);
	spki = cert_key_spki(k, &spki_len);
	der_put(&o, spki, spki_len);
	der_close(&o, der_open(&o, DER_FIELD(0))); /* attributes: none */
	der_close(&o, seq);
	if (o.err)
		return o.err;
	err = cert_key_sign(k, info, o.n, sig, &sig_len);
	if (err)
		return err;
	return x509_join(out, max, len, info, o.n, sig, sig_len);
}

int csr_parse(const uint8_t *csr, size_t len, uint8_t *spki, size_t *spki_len)
{
	struct der in = {csr, len};
	struct der seq, tbs, info, key, algorithm, sig, name, value, attributes;
	uint64_t version;

	if (!csr || len > CERT_DER_MAX || der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n)
		return -EBADMSG;
	if (der_read_whole(&seq, DER_SEQUENCE, &tbs, &info) < 0 ||
	    der_read_whole(&seq, DER_SEQUENCE, &algorithm, &value) < 0 ||
	    !der_equal(&algorithm, x509_ecdsa_sha256, sizeof(x509_ecdsa_sha256)) ||
	    der_read_bits(&seq, &sig) < 0 || seq.n)
		return -EBADMSG;
	if (der_read_uint(&info, &version) < 0 || version != 0 ||
	    der_read(&info, DER_SEQUENCE, &name) < 0 ||
	    der_read_whole(&info, DER_SEQUENCE, &key, &value) < 0 ||
	    der_read(&info, DER_FIELD(0), &attributes) < 0 || info.n)
		return -EBADMSG;
	if (cert_verify(key.at, key.n, tbs.at, tbs.n, sig.at, sig.n) < 0 || key.n > CERT_SPKI_MAX)
		return -EBADMSG;
	memcpy(spki, key.at, key.n);
	*spki_len = key.n;
	return 0;
}
