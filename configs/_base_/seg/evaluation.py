"""mIoU, mAcc and aAcc on whole passes over the validation set."""

val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
tta_model = dict(type="SegTTAModel")
