"""A learngene in its Aux-Net, distilled from a teacher's tokens by Proteus' losses, without labels.

A config adds the learngene and the teacher. The learngene has no classes: in training its head is the projection to the
teacher's width, which its file is written without.
"""

model = dict(
    type="mmlearngene.LearngeneDistiller",
    student=dict(type="mmlearngene.AuxNet", learngene=dict(num_classes=0, img_size=224, patch_size=16)),
    features=[dict(type="mmlearngene.ProteusLoss", mask_probability=0.5, mask_ratio=0.5)],
)
