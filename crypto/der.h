/* SPDX-License-Identifier: GPL-3.0-or-later */
/* der - reads and writes DER exactly: one byte string for one meaning, and no other (X.690).
 *
 * What a certificate says is judged on these bytes, so a lax reader would let two parties read
 * two things in one certificate. Lengths are definite and minimal, at most DER_LENGTH_MAX; the
 * length is checked before anything moves. Pure; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DER_LENGTH_MAX 65535

#define DER_BOOLEAN          0x01
#define DER_INTEGER          0x02
#define DER_BIT_STRING       0x03
#define DER_OCTET_STRING     0x04
#define DER_OID              0x06
#define DER_UTF8_STRING      0x0c
#define DER_UTC_TIME         0x17
#define DER_GENERALIZED_TIME 0x18
#define DER_SEQUENCE         0x30
#define DER_SET              0x31
#define DER_FIELD(n)         (0xa0 | (n)) /* context specific, constructed */
#define DER_PRIMITIVE(n)     (0x80 | (n)) /* context specific, primitive */

/* -- reading --------------------------------------------------------------------------------- */

/* Bytes not read yet, borrowed. at == NULL means absent. */
struct der {
	const uint8_t *at;
	size_t n;
};

/* One element of this tag off the front of *in; its contents into *value. All readers: 0 or
 * -EBADMSG, and then *in is where it was.
 */
int der_read(struct der *in, uint8_t tag, struct der *value);
/* The same, and the whole element with its header into *whole. */
int der_read_whole(struct der *in, uint8_t tag, struct der *whole, struct der *value);
/* One element of any tag below 31. */
int der_read_any(struct der *in, uint8_t *tag, struct der *value);
/* Does an element of this tag come next? */
bool der_is(const struct der *in, uint8_t tag);
bool der_equal(const struct der *a, const void *bytes, size_t n);

/* INTEGER, not negative, minimal; as bytes without leading zeros (zero itself is one byte). */
int der_read_integer(struct der *in, struct der *bytes);
int der_read_uint(struct der *in, uint64_t *v);
int der_read_bool(struct der *in, bool *v);
/* BIT STRING of whole bytes. */
int der_read_bits(struct der *in, struct der *bytes);
/* UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 restricts them; seconds since 1970. */
int der_read_time(struct der *in, int64_t *t);

/* -- writing --------------------------------------------------------------------------------- */

/* The first fault sticks in err (-E2BIG full, -EINVAL not representable); look at it once, at the
 * end. Nothing is written past max.
 */
struct der_out {
	uint8_t *buf;
	size_t max, n;
	int err;
};

void der_out_init(struct der_out *o, uint8_t *buf, size_t max);
void der_put(struct der_out *o, const void *bytes, size_t n); /* as they are */
void der_put_element(struct der_out *o, uint8_t tag, const void *bytes, size_t n);
/* Everything put between the two becomes the contents of one element. */
size_t der_open(struct der_out *o, uint8_t tag);
void der_close(struct der_out *o, size_t opened);
void der_put_uint(struct der_out *o, uint64_t v);
/* INTEGER from big-endian unsigned bytes, of which leading zeros are dropped. */
void der_put_integer(struct der_out *o, const uint8_t *bytes, size_t n);
void der_put_true(struct der_out *o);
/* BIT STRING of whole bytes. */
void der_put_bits(struct der_out *o, const void *bytes, size_t n);
/* UTCTime for 1950 to 2049, else GeneralizedTime; -EINVAL outside years 0 to 9999. */
void der_put_time(struct der_out *o, int64_t t);
