"""Descendant h6-l4 on the digits: as wide as the ancestry, which methods that keep the width need."""

_base_ = ["./des_h6_l8.py"]

model = dict(backbone=dict(arch=dict(num_layers=4)))
