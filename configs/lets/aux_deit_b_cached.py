"""LeTs, stage 1, as aux_deit_b.py, but the teacher's ten largest outputs are kept, and replayed in a further run.

The further run must have the same seed, data, batch size and augmentation; its learngene may be another one.
"""

_base_ = ["./aux_deit_b.py"]

model = dict(
    teacher=dict(
        _delete_=True,
        type="mmlearngene.CachedTeacher",
        folder="work_dirs/levit_384",
        top_k=10,
        teacher=dict(type="mmlearngene.TimmTeacher", model_name="levit_384", pretrained=True),
    ),
)
