"""Scope, hooks and logging that every classification run shares."""

default_scope = "mmpretrain"
custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine"], allow_failed_imports=False)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="mmlearngene.SafeCheckpointHook", interval=1, max_keep_ckpts=3, save_best="auto"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    seed=dict(type="mmlearngene.SeedHook"),
    budget=dict(type="mmlearngene.BudgetHook"),
    finite=dict(type="mmlearngene.FiniteHook"),
    resumed_val=dict(type="mmlearngene.ResumedValHook"),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(type="UniversalVisualizer", vis_backends=[dict(type="LocalVisBackend")])
train_share = 1.0  # of the training images of every class; 0.25 and 0.5 show what a start saves in data
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
