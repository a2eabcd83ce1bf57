/*
 * The C twin of the core with its free lists in a side table: a measuring stick, and no part of the package.
 *
 * It reads the same six columns of requests, keeps the same words, links and counts at the same places, makes the same
 * checks and answers with the same numbers as structpage/core, so that after the same requests all buffers are equal
 * byte by byte. It is written as one would write it in C for speed, not translated line by line. Only ALLOC and FREE
 * rows are known; others are refused.
 *
 * Terminology: see structpage/core/buddy.py. A "place" is the index of a node's record in `link`, twice the node.
 */
#include <stdint.h>

enum { ALLOC, FREE_BLOCK };
enum { NO_MEMORY = -1, REFUSED = -2, CORRUPT = -3 };

/* The word `allocator`, as in structpage/core/words.py. */
enum { FREE = 1, REPORTED = 2, ALLOCATED = 2, TAIL = 4, TAG_MASK = 15 };
enum { ORDER_AT = 4, ORDER_MASK = 63 << ORDER_AT, LANE_AT = 10, LANE_MASK = 0xffff, HEAD_AT = 32 };
enum { TYPE_BITS = 3, TYPE_MASK = 7 };

struct page {
	uint64_t allocator;
	uint64_t allocatee;
};

struct link {
	uint64_t next;
	uint64_t prev;
};

struct machine {
	struct page *page;		/* one a frame */
	struct link *link;		/* one a frame, then one a list */
	int64_t *nr_free;		/* orders a zone */
	const int64_t *zone_start;
	const int64_t *zone_end;
	const int64_t *zonelist;	/* zones + 1 for each zone that may be wanted, ended by -1 */
	int64_t frames;
	int64_t orders;
	int64_t zones;
	int64_t lists;
	int64_t stamp;			/* whether tails are written too */
};

struct requests {
	const int64_t *kind, *order, *slot, *offset, *migratetype, *zone;
	int64_t rows;
};

#define INLINE static inline __attribute__((always_inline))

/* Free lists: circular, the head of list `lst` is node `frames + lst`. */

INLINE struct link *at(const struct machine *m, uint64_t place)
{
	return (struct link *)((uint64_t *)m->link + place);
}

INLINE void insert(const struct machine *m, int64_t pfn, uint64_t prev, uint64_t next)
{
	m->link[pfn].next = next;
	m->link[pfn].prev = prev;
	at(m, next)->prev = 2 * pfn;
	at(m, prev)->next = 2 * pfn;
}

INLINE void push_front(const struct machine *m, int64_t lst, int64_t pfn)
{
	insert(m, pfn, 2 * (m->frames + lst), m->link[m->frames + lst].next);
}

INLINE void push_back(const struct machine *m, int64_t lst, int64_t pfn)
{
	insert(m, pfn, m->link[m->frames + lst].prev, 2 * (m->frames + lst));
}

INLINE int unlink_block(const struct machine *m, int64_t pfn)
{
	uint64_t next = m->link[pfn].next, prev = m->link[pfn].prev, size = 2 * (m->frames + m->lists);

	if (__builtin_expect(next >= size || prev >= size, 0))
		return CORRUPT;
	at(m, prev)->next = next;
	at(m, next)->prev = prev;
	return 0;
}

/* Descriptors. */

INLINE int is_free_block(const struct machine *m, int64_t pfn, int64_t order)
{
	return (m->page[pfn].allocator & (ORDER_MASK | (TAG_MASK & ~REPORTED))) == (uint64_t)(FREE | order << ORDER_AT);
}

INLINE void mark_free(const struct machine *m, int64_t pfn, int64_t order, int64_t lane)
{
	m->page[pfn].allocator = FREE | order << ORDER_AT | lane << LANE_AT;
}

INLINE void mark_allocated(const struct machine *m, int64_t pfn, int64_t order, int64_t lane, uint64_t owner)
{
	uint64_t state = order << ORDER_AT | lane << LANE_AT;
	struct page *page = m->page + pfn;

	page->allocator = ALLOCATED | state;
	page->allocatee = owner;
	if (m->stamp) {
		uint64_t tail = TAIL | state | (uint64_t)pfn << HEAD_AT;

		for (struct page *end = page++ + (1L << order); page < end; page++) {
			page->allocator = tail;
			page->allocatee = owner;
		}
	}
}

INLINE int64_t unmark_allocated(const struct machine *m, int64_t pfn, int64_t order)
{
	struct page *page = m->page + pfn;
	uint64_t word = page->allocator;

	if ((word & (ORDER_MASK | TAG_MASK)) != (uint64_t)(ALLOCATED | order << ORDER_AT))
		return REFUSED;
	page->allocator = 0;
	if (m->stamp)
		for (struct page *end = page++ + (1L << order); page < end; page++)
			page->allocator = 0;
	return word >> LANE_AT & LANE_MASK;
}

/* The allocator. */

INLINE int64_t rmqueue(const struct machine *m, int64_t lane, int64_t order)
{
	int64_t *nr_free = m->nr_free + (lane >> TYPE_BITS) * m->orders;
	int64_t lst = lane * m->orders;

	for (int64_t current = order; current < m->orders; current++) {
		uint64_t first;
		int64_t pfn;

		if (!nr_free[current])
			continue;
		first = m->link[m->frames + lst + current].next;
		if (first >= 2 * (uint64_t)m->frames)
			continue;
		pfn = first >> 1;
		if (!is_free_block(m, pfn, current) || unlink_block(m, pfn))
			return CORRUPT;
		nr_free[current]--;
		while (current > order) {
			int64_t upper = pfn + (1L << --current);

			mark_free(m, upper, current, lane);
			push_front(m, lst + current, upper);
			nr_free[current]++;
		}
		return pfn;
	}
	return NO_MEMORY;
}

INLINE int64_t alloc_block(const struct machine *m, int64_t order, int64_t type, int64_t wanted, uint64_t owner)
{
	for (const int64_t *zone = m->zonelist + wanted * (m->zones + 1); *zone >= 0; zone++) {
		int64_t lane = *zone << TYPE_BITS | type;
		int64_t pfn = rmqueue(m, lane, order);

		if (pfn >= 0)
			mark_allocated(m, pfn, order, lane, owner);
		if (pfn != NO_MEMORY)
			return pfn;
	}
	return NO_MEMORY;
}

INLINE int merge_likely(const struct machine *m, int64_t pfn, int64_t order, int64_t start, int64_t end)
{
	int64_t uncle = (pfn & ~(1L << order)) ^ 2L << order;

	return order < m->orders - 2 && start <= uncle && uncle < end && is_free_block(m, uncle, order + 1);
}

INLINE int64_t free_block(const struct machine *m, int64_t pfn, int64_t order, int64_t type)
{
	int64_t lane, zone, start, end, *nr_free, status = 0;

	if ((uint64_t)pfn >= (uint64_t)m->frames)
		return REFUSED;
	lane = unmark_allocated(m, pfn, order);
	if (lane < 0)
		return REFUSED;
	lane = (lane & ~TYPE_MASK) | type;
	zone = lane >> TYPE_BITS;
	start = m->zone_start[zone];
	end = m->zone_end[zone];
	nr_free = m->nr_free + zone * m->orders;
	while (order < m->orders - 1) {
		int64_t buddy = pfn ^ 1L << order;

		if (buddy < start || buddy >= end || !is_free_block(m, buddy, order))
			break;
		status = unlink_block(m, buddy);
		if (status)
			break;
		nr_free[order]--;
		m->page[buddy].allocator = 0;
		pfn &= buddy;
		order++;
	}
	mark_free(m, pfn, order, lane);
	if (merge_likely(m, pfn, order, start, end))
		push_back(m, lane * m->orders + order, pfn);
	else
		push_front(m, lane * m->orders + order, pfn);
	nr_free[order]++;
	return status;
}

/* Run requests; `where[slot]` takes PFNs, `answer`, of zeros, takes PFNs and statuses. Returns the rows run. */
int64_t twin_replay(const struct machine *given, const struct requests *r, int64_t *restrict where,
		    int64_t *restrict answer)
{
	const struct machine local = *given, *m = &local;
	int64_t rows = r->rows;

	for (int64_t i = 0; i < rows; i++) {
		int64_t slot = r->slot[i], status;

		if (r->kind[i] == ALLOC) {
			status = alloc_block(m, r->order[i], r->migratetype[i], r->zone[i], 0);
			where[slot] = status;
		} else if (r->kind[i] != FREE_BLOCK) {
			status = REFUSED;
		} else if (where[slot] < 0) {
			status = NO_MEMORY;
		} else {
			status = free_block(m, where[slot] + r->offset[i], r->order[i], r->migratetype[i]);
		}
		if (status) {
			answer[i] = status;
			if (status < NO_MEMORY)
				return i + 1;
		}
	}
	return rows;
}
