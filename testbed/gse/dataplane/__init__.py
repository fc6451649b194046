"""GSE2.0's data plane as pure code: containers, DGSQ, grants, spreading, order. See docs/gse2.md.

Frames and ``now_s`` (monotonic seconds) come in, frames go out; ``testbed.agent`` moves them.
"""
