"""LeTs on the digits, elastic: as aux_lets.py, but every step trains one random size of h3 to h6 by l4 to l8."""

_base_ = ["./aux_lets.py"]

model = dict(student=dict(sizes=dict(type="mmlearngene.UniformSizes", heads=[3, 6], layers=[4, 8])))
