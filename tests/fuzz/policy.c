/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/policy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SUBJECTS 12

/* Subjects are made of the document's own words, so that rules meet them: a word is a label's key,
 * the next its value.
 */
struct words {
	const uint8_t *at, *end;
};

static size_t next_word(struct words *w, char out[64])
{
	size_t n = 0;

	while (w->at < w->end && strchr("{}[]:, \n", *w->at))
		w->at++;
	while (w->at < w->end && !strchr("{}[]:, \n", *w->at) && n < 63)
		out[n++] = (char)*w->at++;
	out[n] = '\0';
	return n;
}

static void take_labels(struct words *w, struct cert_labels *own, struct cert_labels *node,
                        unsigned max)
{
	char key[64], value[64], text[160];

	own->n = node->n = 0;
	while (max-- && next_word(w, key) && next_word(w, value)) {
		bool of_node = !strncmp(key, "node.", 5);

		snprintf(text, sizeof(text), "%s=%s", key + (of_node ? 5 : 0), value);
		cert_labels_add(of_node ? node : own, text);
	}
}

static void judge_all(struct policy *p, const uint8_t *data, size_t size)
{
	static const uint8_t protos[] = {6, 17, 132, 1, 58, 47};
	static const uint16_t ports[] = {0, 1, 53, 80, 443, 5432, 8000, 65535};
	static struct cert_labels own[SUBJECTS], node[SUBJECTS];
	struct policy_subject s[SUBJECTS];
	struct words w = {data, data + size};
	uint32_t class[SUBJECTS];
	struct policy_verdict fast, slow;
	char name[SUBJECTS][64];

	for (unsigned i = 0; i < SUBJECTS; i++) {
		take_labels(&w, &own[i], &node[i], 1 + i % 4);
		next_word(&w, name[i]);
		s[i] = (struct policy_subject){
			.kind = i % 5 == 4 ? SUBJECT_NODE : SUBJECT_WORKLOAD,
			.name = *name[i] ? name[i] : NULL,
			.labels = &own[i],
			.node_labels = &node[i],
		};
		class[i] = policy_class(p, &s[i]);
		policy_placement(p, &own[i], &node[i]);
	}
	if (policy_seal(p))
		abort();
	for (unsigned i = 0; i < SUBJECTS * SUBJECTS * 48; i++) {
		unsigned a = i % SUBJECTS, b = i / SUBJECTS % SUBJECTS;
		uint8_t proto = protos[i / SUBJECTS / SUBJECTS % 6];
		uint16_t port = ports[i / SUBJECTS / SUBJECTS / 6];

		fast = policy_judge(p, class[a], class[b], proto, port);
		slow = policy_walk(p, &s[a], &s[b], proto, port);
		if (fast.rule != slow.rule || fast.action != slow.action ||
		    !*policy_rule_name(p, fast.rule))
			abort();
	}
}

/* A fault is a line with its place, and what is judged by class is what the rules say one by one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config_faults f;
	struct policy *p = NULL;
	int err = policy_parse(&p, "f.yaml", (const char *)data, size, &f);

	if ((err != 0) != (f.n > f.warnings) || (f.warnings && f.n != f.warnings))
		abort();
	for (unsigned i = 0; i < f.n && i < CONFIG_FAULTS_MAX; i++)
		if (strncmp(f.text[i], "f.yaml:", 7) || strpbrk(f.text[i], "\n\r\033"))
			abort();
	if (!err)
		judge_all(p, data, size);
	policy_free(p);
	return 0;
}
