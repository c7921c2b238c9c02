/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An entry is a tag and a state, each one atomic word. The tag stands for the whole flow: 64 bits of a
 * keyed hash of both ends and the protocol, the same from either side. Nobody outside sees it or the
 * key, so that to be taken for a flow that is open is a matter of 2^64 / FLOWS_MAX packets, for one packet to
 * pass.
 *
 * Who may change what, without a lock:
 * - A place is free when its tag is 0. Who swaps 0 for a tag has it, and writes the state last; until
 *   then the state is 0 and others leave the place alone.
 * - An entry is changed by swapping one state for another, and removed by swapping its state for 0;
 *   who did that writes the tag 0.
 * - Who reads looks at the tag, the state, and the tag again: the state was that of the tag.
 * Should an entry be replaced between that look and a swap by one of the very same state, the swap
 * renews or ends that one: an open flow, which the next packet of its own mends.
 * Two workers may enter one flow at once. Then it is there twice, and the second is never looked at.
 */
#include "gateway/tables/flows.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (FLOWS_MAX / FLOWS_BUCKET)

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

#define SCTP_INIT 1

enum phase {
	PHASE_NEW = 1,  /* the opener alone was heard */
	PHASE_OPEN,     /* both were */
	PHASE_FIN,      /* TCP: the opener's FIN */
	PHASE_FIN_BACK, /* the other's */
	PHASE_ENDED,    /* both */
	PHASE_FRAGMENT, /* no flow: a first fragment has passed */
};

enum kind { KIND_FLOW = 1, KIND_ECHO, KIND_FRAGMENT };

/* Its two halves are a cache line each: a look that finds nothing touches the first alone. */
struct bucket {
	_Alignas(64) _Atomic uint64_t tags[FLOWS_BUCKET];
	_Atomic uint64_t states[FLOWS_BUCKET];
};

struct flows {
	uint64_t key[2];
	void *memory; /* of the buckets: zero, and not touched before it is needed */
	struct bucket *buckets;
	_Atomic uint32_t *shares; /* entries of each owner */
	_Atomic int64_t young;    /* until then */
	_Atomic int64_t swept;    /* all was, up to this time */
	_Atomic uint32_t hand;    /* the next bucket to sweep */
};

/* -- an entry's state -------------------------------------------------------------------------- */

#define GENERATION_BITS 24
#define END_BITS        20 /* of seconds, going round */
#define OWNER_BITS      16
#define PHASE_BITS      3

#define END_AT   GENERATION_BITS
#define OWNER_AT (END_AT + END_BITS)
#define PHASE_AT (OWNER_AT + OWNER_BITS)
#define LOW_AT   (PHASE_AT + PHASE_BITS)

#define MASK(bits) ((1ULL << (bits)) - 1)

_Static_assert(LOW_AT == 63, "an entry's state is one word");
_Static_assert(FLOWS_OWNERS == 1U << OWNER_BITS, "owners fit");
_Static_assert(FLOWS_TCP_OPEN < 1 << (END_BITS - 2), "an end is never far enough to seem past");

/* Of a fragment the generation shares its place with where the first one ended, in units of 8 bytes:
 * in 5 s there are less than 2^11 generations.
 */
#define FRAGMENT_GENERATION_BITS 11

struct entry {
	uint32_t generation, end, owner;
	enum phase phase;
	bool low; /* the lower end has opened it */
};

static uint64_t entry_pack(const struct entry *e)
{
	return (e->generation & MASK(GENERATION_BITS)) | (e->end & MASK(END_BITS)) << END_AT |
	       (uint64_t)e->owner << OWNER_AT | (uint64_t)e->phase << PHASE_AT |
	       (uint64_t)e->low << LOW_AT;
}

static struct entry entry_of(uint64_t state)
{
	return (struct entry){
		.generation = (uint32_t)(state & MASK(GENERATION_BITS)),
		.end = (uint32_t)(state >> END_AT & MASK(END_BITS)),
		.owner = (uint32_t)(state >> OWNER_AT & MASK(OWNER_BITS)),
		.phase = (enum phase)(state >> PHASE_AT & MASK(PHASE_BITS)),
		.low = state >> LOW_AT != 0,
	};
}

/* Seconds from now until it ends; less than 0: it has. */
static int32_t seconds_left(uint64_t state, uint32_t now)
{
	uint32_t left = (uint32_t)(state >> END_AT) - now;

	return (int32_t)(left << (32 - END_BITS)) >> (32 - END_BITS);
}

static uint32_t seconds(int64_t now)
{
	return (uint32_t)((uint64_t)now / FLOWS_SECOND);
}

/* -- tags ---------------------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 of n words: whose output is never seen needs no more rounds. */
static uint64_t sip(const uint64_t key[2], const uint64_t *words, unsigned n)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
	                 key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	uint64_t last = (uint64_t)n << 59;

	for (unsigned i = 0; i <= n; i++) {
		uint64_t word = i < n ? words[i] : last;

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* a and b in this order; what else tells them apart in 32 bits. */
static uint64_t tag_make(const struct flows *f, enum kind kind, uint8_t proto, uint32_t rest,
                         const struct addr *a, const struct addr *b)
{
	uint64_t words[5] = {(uint64_t)rest << 32 | (uint64_t)kind << 16 |
	                     (uint64_t)a->family << 8 | proto};
	unsigned n = 2;
	uint64_t tag;

	if (a->family == 4) {
		memcpy(words + 1, a->b, 4);
		memcpy((uint8_t *)(words + 1) + 4, b->b, 4);
	} else {
		memcpy(words + 1, a->b, 16);
		memcpy(words + 3, b->b, 16);
		n = 5;
	}
	tag = sip(f->key, words, n);
	return tag ? tag : 1;
}

/* The same tag from either side; low: src is the lower end. */
static uint64_t tag_flow(const struct flows *f, const struct ip_view *ip, bool *low)
{
	int order = memcmp(ip->src.b, ip->dst.b, ip->version == 4 ? 4 : 16);

	*low = order < 0 || (order == 0 && ip->sport <= ip->dport);
	if (*low)
		return tag_make(f, KIND_FLOW, ip->proto, (uint32_t)ip->sport << 16 | ip->dport,
		                &ip->src, &ip->dst);
	return tag_make(f, KIND_FLOW, ip->proto, (uint32_t)ip->dport << 16 | ip->sport, &ip->dst,
	                &ip->src);
}

/* Who asks counts as the lower end. */
static uint64_t tag_echo(const struct flows *f, const struct ip_view *ip, bool request)
{
	if (request)
		return tag_make(f, KIND_ECHO, ip->proto, ip->echo, &ip->src, &ip->dst);
	return tag_make(f, KIND_ECHO, ip->proto, ip->echo, &ip->dst, &ip->src);
}

/* What they are put together by (RFC 791, 8200: there a later one need not name the upper layer). */
static uint64_t tag_fragment(const struct flows *f, const struct ip_view *ip)
{
	return tag_make(f, KIND_FRAGMENT, ip->version == 4 ? ip->proto : 0, ip->ident, &ip->src,
	                &ip->dst);
}

uint32_t flows_owner(const struct flows *f, const char *name)
{
	uint64_t words[16] = {0};
	size_t len = strnlen(name, sizeof(words));

	memcpy(words, name, len);
	return (uint32_t)(sip(f->key, words, sizeof(words) / sizeof(*words)) % FLOWS_OWNERS);
}

/* -- places -------------------------------------------------------------------------------------- */

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static bool swap(_Atomic uint64_t *word, uint64_t old, uint64_t new)
{
	return atomic_compare_exchange_strong_explicit(word, &old, new, memory_order_acq_rel,
	                                               memory_order_relaxed);
}

static uint32_t share(const struct flows *f, uint32_t owner)
{
	return atomic_load_explicit(&f->shares[owner], memory_order_relaxed);
}

/* Which place of its bucket has this tag and has not ended; -1: none. */
static int place_find(const struct bucket *b, uint64_t tag, uint32_t now, uint64_t *state)
{
	for (int i = 0; i < FLOWS_BUCKET; i++) {
		if (load(&b->tags[i]) != tag)
			continue;
		*state = load(&b->states[i]);
		if (*state && load(&b->tags[i]) == tag && seconds_left(*state, now) >= 0)
			return i;
	}
	return -1;
}

static bool place_empty(struct flows *f, struct bucket *b, int i, uint64_t state)
{
	if (!swap(&b->states[i], state, 0))
		return false;
	atomic_store_explicit(&b->tags[i], 0, memory_order_release);
	atomic_fetch_sub_explicit(&f->shares[entry_of(state).owner], 1, memory_order_relaxed);
	return true;
}

static bool place_fill(struct flows *f, struct bucket *b, int i, uint64_t tag, uint64_t state)
{
	if (!swap(&b->tags[i], 0, tag))
		return false;
	atomic_fetch_add_explicit(&f->shares[entry_of(state).owner], 1, memory_order_relaxed);
	atomic_store_explicit(&b->states[i], state, memory_order_release);
	return true;
}

/* Who has most gives way to one who has less, even then; else one's own that would end first does. */
static int place_victim(const struct flows *f, const struct bucket *b, uint32_t owner, uint32_t now,
                        uint64_t *state)
{
	uint64_t own_state = 0;
	uint32_t most = 0;
	int victim = -1, own = -1;

	for (int i = 0; i < FLOWS_BUCKET; i++) {
		uint64_t s = load(&b->states[i]);
		uint32_t has = share(f, entry_of(s).owner);

		if (!s)
			continue;
		if (victim < 0 || has > most ||
		    (has == most && seconds_left(s, now) < seconds_left(*state, now))) {
			victim = i;
			most = has;
			*state = s;
		}
		if (entry_of(s).owner == owner &&
		    (own < 0 || seconds_left(s, now) < seconds_left(own_state, now))) {
			own = i;
			own_state = s;
		}
	}
	if (victim >= 0 && most > share(f, owner) + 1)
		return victim;
	*state = own_state;
	return own;
}

static bool place_take(struct flows *f, uint64_t tag, uint64_t state, uint32_t now)
{
	struct bucket *b = &f->buckets[tag % BUCKETS];
	uint64_t old = 0;
	int i;

	for (i = 0; i < FLOWS_BUCKET; i++) {
		if (load(&b->tags[i])) {
			old = load(&b->states[i]);
			if (!old || seconds_left(old, now) >= 0 || !place_empty(f, b, i, old))
				continue;
		}
		if (place_fill(f, b, i, tag, state))
			return true;
	}
	i = place_victim(f, b, entry_of(state).owner, now, &old);
	return i >= 0 && place_empty(f, b, i, old) && place_fill(f, b, i, tag, state);
}

/* -- fragments ----------------------------------------------------------------------------------- */

static uint32_t fragment_generation(uint32_t generation, uint32_t end)
{
	return (generation & MASK(FRAGMENT_GENERATION_BITS)) | end / 8 << FRAGMENT_GENERATION_BITS;
}

/* A first one has passed: so may those that follow it. One that comes again moves their beginning up and
 * never down.
 */
static bool fragment_note(const struct flow_look *l, uint32_t owner)
{
	struct flows *f = l->flows;
	uint64_t tag = tag_fragment(f, l->ip), state;
	struct bucket *b = &f->buckets[tag % BUCKETS];
	struct entry e = {.owner = owner, .phase = PHASE_FRAGMENT, .end = l->now + FLOWS_FRAGMENT};
	int i = place_find(b, tag, l->now, &state);
	uint32_t end = l->ip->end;

	if (i >= 0) {
		uint32_t before = entry_of(state).generation >> FRAGMENT_GENERATION_BITS;

		e.owner = entry_of(state).owner;
		if (before * 8 > end)
			end = before * 8;
	}
	e.generation = fragment_generation(l->generation, end);
	if (i >= 0)
		return swap(&b->states[i], state, entry_pack(&e));
	return place_take(f, tag, entry_pack(&e), l->now);
}

static enum flow fragment_follows(const struct flow_look *l)
{
	const struct flows *f = l->flows;
	uint64_t tag = tag_fragment(f, l->ip), state;
	uint32_t generation, mask = MASK(FRAGMENT_GENERATION_BITS);

	if (place_find(&f->buckets[tag % BUCKETS], tag, l->now, &state) < 0)
		return FLOW_NONE;
	generation = entry_of(state).generation;
	if ((generation & mask) != (l->generation & mask))
		return FLOW_NONE;
	return l->ip->offset >= (generation & ~mask) >> FRAGMENT_GENERATION_BITS << 3 ? FLOW_KNOWN
	                                                                              : FLOW_NONE;
}

/* -- what a packet does to its flow -------------------------------------------------------------- */

/* It asks for a new one, whatever is open already. */
static bool opens(const struct ip_view *ip)
{
	if (ip->proto == IPPROTO_TCP)
		return (ip->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	return ip->proto == IPPROTO_SCTP && ip->flags == SCTP_INIT;
}

static bool is_icmp(const struct ip_view *ip)
{
	return ip->proto == IPPROTO_ICMP || ip->proto == IPPROTO_ICMPV6;
}

static enum phase phase_next(enum phase phase, const struct ip_view *ip, bool forward)
{
	if (is_icmp(ip))
		return PHASE_NEW;
	if (opens(ip) && phase >= PHASE_FIN)
		return PHASE_NEW; /* the same ports again */
	if (ip->proto == IPPROTO_TCP && (ip->flags & TCP_FIN)) {
		enum phase other = forward ? PHASE_FIN_BACK : PHASE_FIN;

		if (phase == other || phase == PHASE_ENDED)
			return PHASE_ENDED;
		return forward ? PHASE_FIN : PHASE_FIN_BACK;
	}
	return phase == PHASE_NEW && !forward ? PHASE_OPEN : phase;
}

static uint32_t phase_seconds(enum phase phase, uint8_t proto)
{
	switch (phase) {
	case PHASE_NEW:
		return proto == IPPROTO_TCP ? FLOWS_TCP_NEW : FLOWS_NEW;
	case PHASE_OPEN:
		return proto == IPPROTO_TCP   ? FLOWS_TCP_OPEN
		       : proto == IPPROTO_UDP ? FLOWS_UDP_OPEN
		                              : FLOWS_OTHER_OPEN;
	case PHASE_ENDED:
		return FLOWS_TCP_ENDED;
	default:
		return FLOWS_TCP_FIN;
	}
}

static bool is_reset(const struct ip_view *ip)
{
	return ip->proto == IPPROTO_TCP && (ip->flags & TCP_RST);
}

/* The entry after this packet, which has passed. An end that moves by little is left, so that a busy
 * flow's entry is mostly read.
 */
static void renew(const struct flow_look *l)
{
	struct bucket *b = &l->flows->buckets[l->bucket];
	struct entry e = entry_of(l->state);
	enum phase before = e.phase;
	uint32_t life;

	if (is_reset(l->ip)) {
		place_empty(l->flows, b, l->slot, l->state);
		return;
	}
	e.phase = phase_next(before, l->ip, l->forward);
	life = phase_seconds(e.phase, l->ip->proto);
	if (e.phase != before ||
	    (e.phase != PHASE_ENDED && (uint32_t)seconds_left(l->state, l->now) < life - life / 16))
		e.end = l->now + life;
	e.generation = l->generation;
	if (entry_pack(&e) != l->state)
		swap(&b->states[l->slot], l->state, entry_pack(&e)); /* else another worker did */
}

/* -- looking ------------------------------------------------------------------------------------- */

/* false: nothing that has a flow. */
static bool look_tag(struct flow_look *l)
{
	const struct ip_view *ip = l->ip;
	unsigned type = ip->sport >> 8;

	if (!is_icmp(ip)) {
		l->tag = tag_flow(l->flows, ip, &l->low);
		return true;
	}
	l->low = type == (ip->proto == IPPROTO_ICMP ? ICMP_ECHO : ICMP6_ECHO_REQUEST);
	if (!l->low && type != (ip->proto == IPPROTO_ICMP ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY))
		return false;
	l->tag = tag_echo(l->flows, ip, l->low);
	return true;
}

/* false: no entry. */
static bool look(struct flow_look *l, struct flows *f, const struct ip_view *ip,
                 uint32_t generation, int64_t now)
{
	l->flows = f;
	l->ip = ip;
	l->generation = generation & FLOWS_GENERATION;
	l->now = seconds(now);
	l->slot = -1;
	l->forward = true;
	l->kind = FLOW_OF_PACKET;
	if (!ip->first || !look_tag(l)) {
		l->kind = FLOW_OF_NOTHING;
		return false;
	}
	l->bucket = (uint32_t)(l->tag % BUCKETS);
	l->slot = place_find(&f->buckets[l->bucket], l->tag, l->now, &l->state);
	if (l->slot < 0)
		return false;
	l->forward = l->low == entry_of(l->state).low;
	return true;
}

/* Nothing is known of it, so it opens a flow; but TCP says so by a SYN, or has done it before. */
static enum flow look_new(struct flow_look *l, int64_t now)
{
	const struct ip_view *ip = l->ip;

	if (ip->proto != IPPROTO_TCP || opens(ip))
		return FLOW_ASK;
	if (!(ip->flags & TCP_SYN) && ip->sport > ip->dport)
		return FLOW_ASK;
	if (now < atomic_load_explicit(&l->flows->young, memory_order_relaxed)) {
		l->forward = false;
		return FLOW_ASK_REPLY;
	}
	l->kind = FLOW_OF_NOTHING;
	return FLOW_ASK;
}

enum flow flows_look(struct flow_look *l, struct flows *f, const struct ip_view *ip,
                     uint32_t generation, int64_t now)
{
	bool found = look(l, f, ip, generation, now);

	if (!ip->first)
		return fragment_follows(l);
	if (!found)
		return look_new(l, now);
	if (opens(ip) && !l->forward)
		return FLOW_ASK;
	if (entry_of(l->state).generation != l->generation)
		return l->forward ? FLOW_ASK : FLOW_ASK_REPLY;
	renew(l);
	if (ip->fragment)
		fragment_note(l, entry_of(l->state).owner);
	return FLOW_KNOWN;
}

enum flow flows_look_quoted(struct flow_look *l, struct flows *f, const struct ip_view *quoted,
                            uint32_t generation, int64_t now)
{
	if (!look(l, f, quoted, generation, now))
		return FLOW_NONE;
	l->kind = FLOW_OF_QUOTE;
	if (entry_of(l->state).generation == l->generation)
		return FLOW_KNOWN;
	return l->forward ? FLOW_ASK : FLOW_ASK_REPLY;
}

/* -- verdicts ------------------------------------------------------------------------------------ */

static void agree(const struct flow_look *l)
{
	struct entry e = entry_of(l->state);

	e.generation = l->generation;
	swap(&l->flows->buckets[l->bucket].states[l->slot], l->state, entry_pack(&e));
}

static bool enter(const struct flow_look *l, uint32_t owner)
{
	struct entry e = {.generation = l->generation, .owner = owner, .low = l->low == l->forward};

	if (is_reset(l->ip) || (is_icmp(l->ip) && !l->low))
		return true; /* the end of nothing; the answer to nothing */
	e.phase = phase_next(PHASE_NEW, l->ip, l->forward);
	e.end = l->now + phase_seconds(e.phase, l->ip->proto);
	return place_take(l->flows, l->tag, entry_pack(&e), l->now);
}

/* A new one in the place of that which the other side had opened. */
static bool turn(struct flow_look l, uint32_t owner)
{
	place_empty(l.flows, &l.flows->buckets[l.bucket], l.slot, l.state);
	l.forward = true;
	return enter(&l, owner);
}

static bool allow_packet(const struct flow_look *l, uint32_t owner)
{
	if (l->slot < 0)
		return enter(l, owner);
	if (opens(l->ip) && !l->forward)
		return turn(*l, owner);
	renew(l);
	return true;
}

bool flows_allow(const struct flow_look *l, uint32_t owner)
{
	if (l->kind == FLOW_OF_QUOTE) {
		agree(l);
		return true;
	}
	if (l->kind == FLOW_OF_PACKET && !allow_packet(l, owner))
		return false;
	return !l->ip->fragment || fragment_note(l, owner);
}

/* -- the table ----------------------------------------------------------------------------------- */

void flows_begin(struct flows *f, int64_t now)
{
	atomic_store_explicit(&f->young, now + FLOWS_YOUNG * FLOWS_SECOND, memory_order_relaxed);
}

static void sweep_bucket(struct flows *f, struct bucket *b, uint32_t now)
{
	for (int i = 0; i < FLOWS_BUCKET; i++) {
		uint64_t state;

		if (!load(&b->tags[i]))
			continue;
		state = load(&b->states[i]);
		if (state && seconds_left(state, now) < 0)
			place_empty(f, b, i, state);
	}
}

void flows_sweep(struct flows *f, int64_t now)
{
	const int64_t each = FLOWS_SWEEP / BUCKETS;
	int64_t last = atomic_load_explicit(&f->swept, memory_order_relaxed);
	int64_t due = (now - last) / each, next = last + due * each;
	uint32_t at;

	if (due <= 0)
		return;
	if (due > BUCKETS)
		due = BUCKETS;
	if (!atomic_compare_exchange_strong_explicit(&f->swept, &last, next, memory_order_relaxed,
	                                             memory_order_relaxed))
		return; /* another worker does it */
	at = atomic_fetch_add_explicit(&f->hand, (uint32_t)due, memory_order_relaxed);
	for (uint32_t i = 0; i < due; i++)
		sweep_bucket(f, &f->buckets[(at + i) % BUCKETS], seconds(now));
}

int flows_new(struct flows **out, const uint8_t key[16])
{
	struct flows *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	memcpy(f->key, key, sizeof(f->key));
	f->memory = calloc(BUCKETS + 1, sizeof(*f->buckets));
	f->shares = calloc(FLOWS_OWNERS, sizeof(*f->shares));
	if (!f->memory || !f->shares) {
		flows_free(f);
		return -ENOMEM;
	}
	f->buckets = (struct bucket *)(((uintptr_t)f->memory + sizeof(*f->buckets) - 1) &
	                               ~(sizeof(*f->buckets) - 1));
	*out = f;
	return 0;
}

void flows_free(struct flows *f)
{
	if (!f)
		return;
	free(f->shares);
	free(f->memory);
	free(f);
}

uint32_t flows_count(const struct flows *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < FLOWS_OWNERS; i++)
		n += share(f, i);
	return n;
}

uint32_t flows_share(const struct flows *f, uint32_t owner)
{
	return share(f, owner);
}
