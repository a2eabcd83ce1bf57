"""Linux's page allocator over the buddy: one module per mechanism, and what kernels do differently in `kernels`.

From the ground up: `gfp` (flags) and `kernels` (policies: pure functions of small values), `zonetable` (what a zone
knows of itself, and the free counter that drifts), `pageblocks` (migratetypes by pageblock), `watermark`, `fallback`
(stealing from other types), `percpu` (per-CPU lists), `highatomic` (the reserve), `machine` (the
allocation and free paths that join them); then what takes frames by their address, `isolation`, `contig`, `cma`,
`hwpoison` and `compaction`; and `script` (whole traces).
"""
