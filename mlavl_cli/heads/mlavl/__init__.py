"""MLAVL: one file for each box of the paper's figure 2, which model.py puts together."""
