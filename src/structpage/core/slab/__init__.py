"""The slab layer: caches of objects of one size, on pages of any page allocator.

===============  ==========================================================================
`rows`           the record of a slab, and what else is kept in rows of words
`freepointer`    free pointers as they stand in free objects: plain or hardened
`sources`        where slabs get their pages: a buddy allocator, or a machine
`slabs`          slabs: made, listed by node, and given back
`slub61`         the layer per CPU, of Linux 6.1: one slab to allocate from, and a few to go on with
`script`         the loop over arrays of requests
===============  ==========================================================================
"""
