"""Pre-labels for many pictures: a frozen plan, shards that are the checkpoints, and data sets merged from them.

- `inputs`: what the user named -> pictures, in a fixed order
- `buckets`, `pictures`: folders of object stores beside those of a disk, and a picture of either, decoded
- `plan`: pictures, model and options, frozen and written down; cut into shards
- `worker`: one loaded model -> rows of one shard after the other, each shard a file that appears whole or not at all
- `runner`: who works on which shard; a `Map` is all that differs between this process and a cluster
- `ray_runner`, with `ray_cluster` and `ray_actor`: that cluster; nothing else imports Ray
- `folder`, `bucket_folder`: where a job keeps its files
- `outputs`: finished shards -> COCO, panoptic COCO, semantic PNGs
- `job`: all of it, in a folder that only one job works in at a time
"""
