/* SPDX-License-Identifier: BSD-3-Clause */
#include "refusals.h"

#define OPT_COMMENT 1
#define COMMENT_BYTES (sizeof(REFUSED_COMMENT) - 1)
#define OPTION_BYTES (4 + ((COMMENT_BYTES + 3) & ~3U))
#define END_BYTES 8 /* opt_endofopt and the second length */

static uint32_t
place_of(uint32_t burst, uint16_t thread)
{
	return (burst ^ (uint32_t)thread << 7) % REFUSALS_KEPT;
}

void
refusals_add(struct refusals *refusals, const struct uprobe_refusal *refusal)
{
	refusals->kept[place_of(refusal->burst, refusal->thread)] = *refusal;
}

bool
refusals_has(const struct refusals *refusals, const struct uprobe_record *record)
{
	const struct uprobe_refusal *found = &refusals->kept[place_of(record->burst, record->thread)];

	return found->burst == record->burst && found->thread == record->thread && record->index >= found->taken;
}

/*
 *	before: | ... options | endofopt | length |
 *	after:  | ... options | comment ... | endofopt | length |
 */
bool
refusals_put(struct dpcap_ring_writer *w, const struct dpcap_epb *epb, const void *packet)
{
	const uint64_t size = dpcap_epb_size(w, epb);
	const uint32_t whole = (uint32_t)(size + OPTION_BYTES);
	uint8_t *block, *p;

	block = dpcap_ring_reserve(w, whole);
	if (!dpcap_epb_put(w, epb, packet) || block == NULL)
		return false;
	dpcap_put32(block + 4, whole);
	p = block + size - END_BYTES;
	memset(p, 0, OPTION_BYTES);
	dpcap_put_option(p, OPT_COMMENT, COMMENT_BYTES);
	memcpy(p + 4, REFUSED_COMMENT, COMMENT_BYTES);
	p += OPTION_BYTES;
	dpcap_put_option(p, DPCAP_OPT_ENDOFOPT, 0);
	dpcap_put32(p + 4, whole);
	dpcap_ring_commit(w, OPTION_BYTES);
	return true;
}
