"""The algorithms: plain Python over flat 64-bit buffers, written once and run by every engine.

The rule of this layer: it imports nothing but itself and the standard library, keeps its state in
`NamedTuple`s of buffers and ints, and never raises. A failure is a negative int (see `status`),
which the layer above turns into an exception. Modules, from plain facts up:

==============  ==========================================================================
`field`         what a bit field is: masks, getters, setters, pictures of a word
`words`         the two layouts of a frame's descriptor, as tables of fields
`status`        the negative numbers
`buffers`       what the algorithms ask of a buffer, and what a placement declares
`memmap`        reading and writing descriptors: `TwoWord`, `OneWord`
`placements/`   where the links of the free lists live
`buddy`         split, merge, allocate and free
`ranges`        blocks and runs of frames at chosen addresses
`slab/`         slabs of objects on pages, and the layer per CPU above them
`script`        the replay loop over arrays of requests
==============  ==========================================================================
"""
