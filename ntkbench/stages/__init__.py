"""The stages of a study, in the order of the data: prepare, measure, crosscheck, analyse, collect.

Each is one function, from files to files, that a script of the workflow calls.
"""
