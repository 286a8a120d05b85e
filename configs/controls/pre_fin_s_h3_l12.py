"""Control h3-l12, 384 wide: Pre-Fin with half the heads in every layer, the ancestry's first ones."""

_base_ = "./pre_fin_h6_l12.py"

model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=3, head_dims=64))
