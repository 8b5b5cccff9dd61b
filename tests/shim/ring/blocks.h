/* SPDX-License-Identifier: BSD-3-Clause */
/* A second opinion on EPBs: read field by field, sharing nothing with epb.h. */
#ifndef DPCAP_TEST_BLOCKS_H
#define DPCAP_TEST_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct block {
	uint32_t size;
	uint32_t interface_id;
	uint64_t ts;
	uint32_t caplen;
	uint32_t origlen;
	const uint8_t *data;
	uint32_t flags;
	uint32_t queue;
	int64_t hash; /* -1: none */
	uint64_t dropcount;
	const char *comment; /* NULL: none; not terminated */
	uint16_t comment_len;
};

static inline uint32_t
u32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static inline uint16_t
u16_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return v;
}

/* Parse one EPB of at most bytes; false when anything about it is not as it should be. */
static inline bool
parse_block(const uint8_t *p, uint64_t bytes, struct block *b)
{
	const uint8_t *o, *end;
	bool ended = false;

	memset(b, 0, sizeof(*b));
	b->hash = -1;
	if (bytes < 32 || u32_at(p) != 6)
		return false;
	b->size = u32_at(p + 4);
	if (b->size > bytes || b->size % 4 != 0 || u32_at(p + b->size - 4) != b->size)
		return false;
	b->interface_id = u32_at(p + 8);
	b->ts = (uint64_t)u32_at(p + 12) << 32 | u32_at(p + 16);
	b->caplen = u32_at(p + 20);
	b->origlen = u32_at(p + 24);
	b->data = p + 28;
	if (b->caplen > b->origlen || b->caplen > b->size - 32)
		return false;
	for (o = p + 28 + b->caplen; (o - p) % 4 != 0; o++)
		if (*o != 0)
			return false; /* padding */
	end = p + b->size - 4;
	while (o + 4 <= end && !ended) {
		const uint16_t code = u16_at(o), len = u16_at(o + 2);

		if (o + 4 + len > end)
			return false;
		o += 4;
		if (code == 0 && len == 0)
			ended = true;
		else if (code == 1) {
			b->comment = (const char *)o;
			b->comment_len = len;
		} else if (code == 2 && len == 4)
			b->flags = u32_at(o);
		else if (code == 6 && len == 4)
			b->queue = u32_at(o);
		else if (code == 3 && len == 5 && o[0] == 5)
			b->hash = (int64_t)o[1] << 24 | o[2] << 16 | o[3] << 8 | o[4];
		else if (code == 4 && len == 8)
			memcpy(&b->dropcount, o, 8);
		else
			return false;
		o += (len + 3) & ~3;
	}
	return ended && o == end;
}

#endif /* DPCAP_TEST_BLOCKS_H */
