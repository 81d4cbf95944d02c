"""Features -> grades: a file for each method, a folder for MLAVL. Knows no video and no Hugging Face.

Letters in shapes: B routines, T clips, d hidden width, M actions, N grades, P prompts, D_v, D_a, D_t feature widths.
Masks are (B, T) bool, true where a clip is real and false where it is padding; None means that all are real.
"""
