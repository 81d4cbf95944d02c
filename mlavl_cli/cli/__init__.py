"""The command line: parse, call one function below, render. Heavy imports are inside the commands."""
