"""Features -> grades: one file for each box of the paper's figure 2. Knows no video and no Hugging Face.

Letters in shapes: B routines, T clips, d hidden width, M actions, N grades, P prompts, D_v, D_a, D_t feature widths.
Masks are (B, T) bool, true where a clip is real and false where it is padding; None means that all are real.
"""
