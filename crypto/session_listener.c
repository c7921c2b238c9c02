/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One session is kept ready. It is shown the hellos of strangers until one of them brings a good
 * cookie; then it is that one's, and another is made. A datagram that spoils it costs a new one.
 */
#include <errno.h>
#include <stdlib.h>

#include "crypto/datagram.h"
#include "crypto/secret.h"
#include "crypto/session.h"

struct session_listener {
	struct wolf *w;
	struct session *next; /* knows nothing of any client */
};

int session_listener_new(struct session_listener **out, struct wolf *w)
{
	struct session_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->w = wolf_get(w);
	*out = l;
	return 0;
}

void session_listener_free(struct session_listener *l)
{
	if (!l)
		return;
	session_free(l->next);
	wolf_put(l->w);
	free(l);
}

/* The hello with one of the cookie secrets: as session_server_hello. */
static int try_secret(struct session_listener *l, const struct session_accept *a,
                      const uint8_t secret[WOLF_COOKIE_SECRET], const uint8_t *d, size_t len)
{
	bool spoilt = false;
	int r;

	if (!l->next) {
		r = session_server_new(&l->next, l->w);
		if (r)
			return r;
	}
	r = session_server_hello(l->next, a, secret, d, len, &spoilt);
	if (spoilt) {
		session_free(l->next);
		l->next = NULL;
	}
	return r;
}

int session_listener_feed(struct session_listener *l, const struct session_accept *a,
                          const uint8_t *d, size_t len, int64_t now, struct session **out)
{
	uint8_t secrets[2][WOLF_COOKIE_SECRET];
	const uint8_t *random = datagram_hello(d, len);
	int r = -EAGAIN;
	unsigned n;

	if (!random || len > SESSION_DATAGRAM_MAX || !a->address_len ||
	    a->address_len > SESSION_ADDRESS_MAX)
		return 0;
	n = wolf_cookie_secrets(l->w, secrets);
	for (unsigned i = 0; i < n && r == -EAGAIN; i++)
		r = try_secret(l, a, secrets[i], d, len);
	secret_wipe(secrets, sizeof(secrets));
	if (r <= 0)
		return r == -EAGAIN ? 0 : r;
	session_server_start(l->next, random, now);
	*out = l->next;
	l->next = NULL;
	return 1;
}
