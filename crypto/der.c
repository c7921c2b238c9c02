/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/der.h"

#include <errno.h>
#include <string.h>

/* -- reading --------------------------------------------------------------------------------- */

/* The header at the front of *in: how long it is, and how long the contents are. */
static int header_read(const struct der *in, size_t *header, size_t *len)
{
	const uint8_t *p = in->at;

	if (in->n < 2 || (p[0] & 0x1f) == 0x1f)
		return -EBADMSG; /* tags above 30 occur in nothing that we read */
	if (p[1] < 0x80) {
		*header = 2;
		*len = p[1];
	} else if (p[1] == 0x81 && in->n >= 3 && p[2] >= 0x80) {
		*header = 3;
		*len = p[2];
	} else if (p[1] == 0x82 && in->n >= 4 && p[2] != 0) {
		*header = 4;
		*len = (size_t)p[2] << 8 | p[3];
	} else {
		return -EBADMSG; /* indefinite, not minimal, too long, or cut */
	}
	return *len <= in->n - *header ? 0 : -EBADMSG;
}

int der_read_any(struct der *in, uint8_t *tag, struct der *value)
{
	size_t header, len;

	if (header_read(in, &header, &len) < 0)
		return -EBADMSG;
	*tag = in->at[0];
	value->at = in->at + header;
	value->n = len;
	in->at += header + len;
	in->n -= header + len;
	return 0;
}

bool der_is(const struct der *in, uint8_t tag)
{
	return in->n > 0 && in->at[0] == tag;
}

int der_read(struct der *in, uint8_t tag, struct der *value)
{
	uint8_t got;

	if (!der_is(in, tag))
		return -EBADMSG;
	return der_read_any(in, &got, value);
}

int der_read_whole(struct der *in, uint8_t tag, struct der *whole, struct der *value)
{
	struct der start = *in;

	if (der_read(in, tag, value) < 0)
		return -EBADMSG;
	whole->at = start.at;
	whole->n = start.n - in->n;
	return 0;
}

bool der_equal(const struct der *a, const void *bytes, size_t n)
{
	return a->at && a->n == n && memcmp(a->at, bytes, n) == 0;
}

int der_read_integer(struct der *in, struct der *bytes)
{
	struct der rest = *in;
	struct der v;

	if (der_read(&rest, DER_INTEGER, &v) < 0 || v.n == 0 || v.at[0] & 0x80)
		return -EBADMSG;
	if (v.n > 1 && v.at[0] == 0) {
		if (!(v.at[1] & 0x80))
			return -EBADMSG; /* the zero was not needed */
		v.at++;
		v.n--;
	}
	*bytes = v;
	*in = rest;
	return 0;
}

int der_read_uint(struct der *in, uint64_t *v)
{
	struct der rest = *in;
	struct der bytes;
	uint64_t sum = 0;

	if (der_read_integer(&rest, &bytes) < 0 || bytes.n > sizeof(sum))
		return -EBADMSG;
	for (size_t i = 0; i < bytes.n; i++)
		sum = sum << 8 | bytes.at[i];
	*v = sum;
	*in = rest;
	return 0;
}

int der_read_bool(struct der *in, bool *v)
{
	struct der rest = *in;
	struct der value;

	if (der_read(&rest, DER_BOOLEAN, &value) < 0 || value.n != 1)
		return -EBADMSG;
	if (value.at[0] != 0x00 && value.at[0] != 0xff)
		return -EBADMSG;
	*v = value.at[0] != 0;
	*in = rest;
	return 0;
}

int der_read_bits(struct der *in, struct der *bytes)
{
	struct der rest = *in;
	struct der value;

	if (der_read(&rest, DER_BIT_STRING, &value) < 0 || value.n < 1 || value.at[0] != 0)
		return -EBADMSG;
	bytes->at = value.at + 1;
	bytes->n = value.n - 1;
	*in = rest;
	return 0;
}

/* n decimal digits; -1 if one is none. */
static int digits_read(const uint8_t *p, unsigned n)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v;
}

static int days_in_month(int year, int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01 in the Gregorian calendar, year 0 to 9999. Years begin in March here, so
 * that the leap day is the last of its year.
 */
static int64_t days_from_date(int year, int month, int day)
{
	int y = month <= 2 ? year - 1 : year;
	int m = month <= 2 ? month + 9 : month - 3;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * m + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int der_read_time(struct der *in, int64_t *t)
{
	struct der rest = *in;
	struct der v;
	uint8_t tag;
	int year, month, day, hour, minute, second;
	const uint8_t *p;

	if (der_read_any(&rest, &tag, &v) < 0)
		return -EBADMSG;
	p = v.at;
	if (tag == DER_UTC_TIME && v.n == 13) {
		year = digits_read(p, 2);
		if (year < 0)
			return -EBADMSG;
		year += year >= 50 ? 1900 : 2000;
		p += 2;
	} else if (tag == DER_GENERALIZED_TIME && v.n == 15) {
		year = digits_read(p, 4);
		if (year < 0)
			return -EBADMSG;
		p += 4;
	} else {
		return -EBADMSG;
	}
	month = digits_read(p, 2);
	day = digits_read(p + 2, 2);
	hour = digits_read(p + 4, 2);
	minute = digits_read(p + 6, 2);
	second = digits_read(p + 8, 2);
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return -EBADMSG;
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return -EBADMSG;
	if (p[10] != 'Z')
		return -EBADMSG;
	*t = ((days_from_date(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
	*in = rest;
	return 0;
}

/* -- writing --------------------------------------------------------------------------------- */

void der_out_init(struct der_out *o, uint8_t *buf, size_t max)
{
	o->buf = buf;
	o->max = max;
	o->n = 0;
	o->err = 0;
}

void der_put(struct der_out *o, const void *bytes, size_t n)
{
	if (o->err)
		return;
	if (n > o->max - o->n) {
		o->err = -E2BIG;
		return;
	}
	if (n > 0)
		memcpy(o->buf + o->n, bytes, n);
	o->n += n;
}

size_t der_open(struct der_out *o, uint8_t tag)
{
	const uint8_t header[2] = {tag, 0};

	der_put(o, header, sizeof(header));
	return o->n;
}

void der_close(struct der_out *o, size_t opened)
{
	uint8_t *at = o->buf + opened;
	size_t len, more;

	if (o->err)
		return;
	len = o->n - opened;
	more = len < 0x80 ? 0 : len < 0x100 ? 1 : 2;
	if (len > DER_LENGTH_MAX || more > o->max - o->n) {
		o->err = -E2BIG;
		return;
	}
	memmove(at + more, at, len);
	o->n += more;
	if (more == 0) {
		at[-1] = (uint8_t)len;
	} else if (more == 1) {
		at[-1] = 0x81;
		at[0] = (uint8_t)len;
	} else {
		at[-1] = 0x82;
		at[0] = (uint8_t)(len >> 8);
		at[1] = (uint8_t)len;
	}
}

void der_put_element(struct der_out *o, uint8_t tag, const void *bytes, size_t n)
{
	size_t opened = der_open(o, tag);

	der_put(o, bytes, n);
	der_close(o, opened);
}

void der_put_integer(struct der_out *o, const uint8_t *bytes, size_t n)
{
	size_t opened = der_open(o, DER_INTEGER);

	while (n > 0 && bytes[0] == 0) {
		bytes++;
		n--;
	}
	if (n == 0 || bytes[0] & 0x80)
		der_put(o, "", 1);
	der_put(o, bytes, n);
	der_close(o, opened);
}

void der_put_uint(struct der_out *o, uint64_t v)
{
	uint8_t bytes[sizeof(v)];

	for (size_t i = 0; i < sizeof(v); i++)
		bytes[i] = (uint8_t)(v >> (8 * (sizeof(v) - 1 - i)));
	der_put_integer(o, bytes, sizeof(bytes));
}

void der_put_true(struct der_out *o)
{
	der_put_element(o, DER_BOOLEAN, "\xff", 1);
}

void der_put_bits(struct der_out *o, const void *bytes, size_t n)
{
	size_t opened = der_open(o, DER_BIT_STRING);

	der_put(o, "", 1);
	der_put(o, bytes, n);
	der_close(o, opened);
}

/* v as n decimal digits. */
static void digits_write(uint8_t *p, int v, unsigned n)
{
	for (unsigned i = n; i-- > 0; v /= 10)
		p[i] = (uint8_t)('0' + v % 10);
}

void der_put_time(struct der_out *o, int64_t t)
{
	const int64_t last = days_from_date(9999, 12, 31);
	int64_t days = t / 86400 - (t % 86400 < 0);
	int second = (int)(t - days * 86400);
	int year = 0, month = 1;
	uint8_t text[15];

	if (days < days_from_date(0, 1, 1) || days > last) {
		if (!o->err)
			o->err = -EINVAL;
		return;
	}
	year = (int)((days - days_from_date(0, 1, 1)) / 366); /* never too late, and then close */
	while (days >= days_from_date(year + 1, 1, 1))
		year++;
	while (month < 12 && days >= days_from_date(year, month + 1, 1))
		month++;
	digits_write(text, year, 4);
	digits_write(text + 4, month, 2);
	digits_write(text + 6, (int)(days - days_from_date(year, month, 1)) + 1, 2);
	digits_write(text + 8, second / 3600, 2);
	digits_write(text + 10, second / 60 % 60, 2);
	digits_write(text + 12, second % 60, 2);
	text[14] = 'Z';
	if (year >= 1950 && year <= 2049)
		der_put_element(o, DER_UTC_TIME, text + 2, sizeof(text) - 2);
	else
		der_put_element(o, DER_GENERALIZED_TIME, text, sizeof(text));
}
