"""Scope, hooks and logging that every segmentation run shares."""

default_scope = "mmseg"
custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine"], allow_failed_imports=False)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="mmlearngene.SafeCheckpointHook", by_epoch=False, interval=4000, max_keep_ckpts=2, save_best="mIoU"
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    seed=dict(type="mmlearngene.SeedHook"),
    finite=dict(type="mmlearngene.FiniteHook"),
    resumed_val=dict(type="mmlearngene.ResumedValHook"),
    visualization=dict(type="SegVisualizationHook"),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer")
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
