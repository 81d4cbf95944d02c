"""The command line: parse, call one function below, render. Heavy imports sit inside the commands."""
