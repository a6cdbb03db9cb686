"""How large a sketch of samples is, which one half writes and the other reads."""

SKETCH_SIZE = 4096  # hashes; one that holds fewer knows its set in full
CODED_SIZE = 2048  # samples of a set whose codes are kept
CODE_WORDS = 2  # of 64 bits each
