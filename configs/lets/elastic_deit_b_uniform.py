"""LeTs, stage 1, elastic: one random size a step and twice the epochs, for about the cost of aux_deit_b.py.

On CIFAR-10 more steps were a better use of a computation than the Aux-Net beside the random size (docs/elastic.md).
"""

_base_ = ["./elastic_deit_b.py"]

model = dict(
    student=dict(sizes=dict(type="mmlearngene.UniformSizes", heads=[6, 12], layers=[8, 16], count=1, _delete_=True))
)
train_cfg = dict(max_epochs=600)
